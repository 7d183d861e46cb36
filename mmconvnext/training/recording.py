"""Record a training with TensorBoard or Weights & Biases."""

import os
import uuid
from importlib.util import find_spec
from pathlib import Path

from mmengine.config import Config, ConfigDict

from ..engine.backends import TensorboardBackend, WandbBackend
from ..errors import UserError

# Values of --log -> our backend, and the one of mmengine that it replaces.
BACKENDS = {'tensorboard': TensorboardBackend, 'wandb': WandbBackend}


def add_loggers(cfg: Config, names: list[str]) -> None:
    """Also record the run with TensorBoard or Weights & Biases.

    A resumed run continues in the same folder or W&B run.

    Args:
        cfg: config with the final ``work_dir`` and ``resume``.
        names: names in ``BACKENDS``.

    Raises:
        UserError: a package is not installed.
    """
    for name in names:
        if find_spec(name) is None:
            raise UserError(f'--log {name}: the package is not installed; pip install "mmconvnext[{name}]"')
    settings = dict(
        tensorboard=lambda: dict(save_dir=str(Path(cfg.work_dir, 'tensorboard'))),
        wandb=lambda: wandb_settings(cfg),
    )
    visualizer = cfg.get('visualizer') or ConfigDict(
        type='Visualizer', vis_backends=[dict(type='LocalVisBackend')]
    )
    replaced = {BACKENDS[name].__base__.__name__ for name in names}
    kept = [backend for backend in visualizer.get('vis_backends') or [] if backend['type'] not in replaced]
    added = [dict(type=f'mmconvnext.{BACKENDS[name].__name__}', **settings[name]()) for name in names]
    visualizer.vis_backends = kept + added
    cfg.visualizer = visualizer


def wandb_settings(cfg: Config) -> dict:
    """Return the arguments of ``WandbBackend``, with the W&B run of this work dir when resuming."""
    file = Path(cfg.work_dir, 'wandb_id')
    going_on = cfg.get('resume') and file.is_file()
    init = dict(
        project=os.environ.get('WANDB_PROJECT', 'mmconvnext'),
        name=Path(cfg.work_dir).name,
        id=file.read_text().strip() if going_on else uuid.uuid4().hex[:8],
        resume='allow',
        dir=cfg.work_dir,
        # A resumed run may have another config, for example more epochs.
        allow_val_change=True,
    )
    return dict(
        save_dir=cfg.work_dir,
        id_file=str(file),
        init_kwargs=init,
        # Validation has no iteration; W&B assigns it to the last one.
        define_metric_cfg=[dict(name='*', step_metric='iter')],
    )
