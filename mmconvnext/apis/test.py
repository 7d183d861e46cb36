"""What tools/test.py does."""

from pathlib import Path

import mmengine
from mmengine.config import Config, ConfigDict
from mmengine.evaluator import DumpResults

from ..errors import UserError
from .config import load_config
from .runner import build_runner
from .train import set_dataloader_defaults


def test(
    config: str | Path,
    checkpoint: str | Path,
    *,
    work_dir: str | None = None,
    out: str | None = None,
    out_item: str | None = None,
    show_dir: str | None = None,
    tta: bool = False,
    amp: bool = False,
    cfg_options: dict | None = None,
    launcher: str = 'none',
) -> dict[str, float]:
    """Evaluate a checkpoint on the test set of its config.

    Args:
        config: path or name, see ``load_config``.
        checkpoint: path or URL; it has to fit the model exactly.
        work_dir: folder for logs; default ``work_dirs/NAME``.
        out: file for the results, .pkl, .json or .yml.
        out_item: ``pred`` (every prediction, the default) or ``metrics``.
        show_dir: folder for every test image with its prediction.
        tta: average the scores of the image and its mirror image.
        amp: mixed precision.
        cfg_options: dotted key to value.
        launcher: ``none``, ``pytorch`` or ``slurm``.

    Returns:
        Metric name to value.

    Raises:
        UserError: what was found, what was expected and what to do.
    """
    if out_item is not None and out is None:
        raise UserError('--out-item chooses what goes into a file; name the file with --out')
    cfg = load_config(config, cfg_options)
    if cfg.get('test_dataloader') is None:
        raise UserError(f'{config} has no test_dataloader, so there is nothing to test on')
    cfg.launcher = launcher
    cfg.work_dir = work_dir or cfg.get('work_dir') or str(Path('work_dirs', Path(config).stem))
    cfg.load_from, cfg.resume = str(checkpoint), False
    set_dataloader_defaults(cfg)
    if amp:
        cfg.test_cfg.fp16 = True
    if show_dir is not None:
        cfg.default_hooks.visualization.update(enable=True, out_dir=show_dir, interval=1)

    if tta:
        use_tta(cfg)

    runner = build_runner(cfg, ('test_dataloader',))
    if out is not None and out_item != 'metrics':
        runner.test_evaluator.metrics.append(DumpResults(out_file_path=out))
    metrics = runner.test()
    if out is not None and out_item == 'metrics':
        mmengine.dump(metrics, out)
    return metrics


def use_tta(cfg: Config) -> None:
    """Average over the config's ``tta_pipeline``, or over the image and its mirror image."""
    if 'tta_pipeline' not in cfg:
        *steps, pack = cfg.test_dataloader.dataset.pipeline
        flips = [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)]
        cfg.tta_pipeline = [*steps, dict(type='TestTimeAug', transforms=[flips, [pack]])]
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
    wrapper = cfg.get('tta_model', dict(type='mmpretrain.AverageClsScoreTTA'))
    cfg.model = ConfigDict(**wrapper, module=cfg.model)
