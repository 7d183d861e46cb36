"""TensorBoard and Weights & Biases for runs that are interrupted and resumed."""

from pathlib import Path

from mmengine.config import Config
from mmengine.visualization import TensorboardVisBackend, WandbVisBackend
from mmengine.visualization.vis_backend import force_init_env

from ..registry import VISBACKENDS


@VISBACKENDS.register_module()
class TensorboardBackend(TensorboardVisBackend):
    """mmengine's TensorBoard backend, for a folder to which several parts of a run write.

    A killed run has logged iterations after its last checkpoint. The next part marks where it resumes, and
    TensorBoard drops the values after this point.
    """

    def __init__(self, save_dir: str) -> None:
        super().__init__(save_dir)
        self._has_marked_start = False

    @force_init_env
    def add_scalars(self, scalar_dict: dict, step: int = 0, file_path: str | None = None, **kwargs) -> None:
        # Only training always counts iterations; validation may count epochs.
        if 'iter' in scalar_dict and not self._has_marked_start:
            self._mark_start(step)
            self._has_marked_start = True
        super().add_scalars(scalar_dict, step, file_path, **kwargs)

    def _mark_start(self, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        start = Event(step=step, session_log=SessionLog(status=SessionLog.START))
        self._tensorboard.file_writer.add_event(start, step)


@VISBACKENDS.register_module()
class WandbBackend(WandbVisBackend):
    """mmengine's Weights & Biases backend, but it stores the id of its run and uploads no code.

    mmengine's uploads every Python file below the current folder, including virtual environments.

    Args:
        save_dir: folder for the files of W&B.
        id_file: file for the id of the run.
        init_kwargs, define_metric_cfg: see ``WandbVisBackend``.
    """

    def __init__(self, save_dir: str, id_file: str, init_kwargs: dict, define_metric_cfg: list) -> None:
        super().__init__(save_dir, init_kwargs=init_kwargs, define_metric_cfg=define_metric_cfg)
        self._id_file = Path(id_file)

    def _init_env(self) -> None:
        super()._init_env()
        self._id_file.write_text(self._wandb.run.id + '\n')

    @force_init_env
    def add_config(self, config: Config, **kwargs) -> None:
        self._wandb.config.update(config.to_dict(), allow_val_change=True)

    def close(self) -> None:
        if hasattr(self, '_wandb'):
            self._wandb.finish()
