"""mmengine's Runners, with atomic checkpoints and a readable screen."""

import os
import shutil
from itertools import count
from pathlib import Path

import mmengine.runner
from mmengine.config import Config
from mmengine.dist import barrier, is_main_process
from mmengine.optim import OptimWrapper
from mmengine.runner import BaseLoop
from mmengine.visualization import Visualizer

from ..config.data_root import with_absolute_paths
from ..config.description import describe_training
from ..config.printing import PrintedConfig
from ..errors import UserError
from ..files import put_in_place
from ..hooks.checkpoint import is_checkpoint, is_own, run_id
from ..registry import RUNNERS
from .isolation import IsolatedRun
from .loops import Replayable
from .resuming import CheckedResume
from .screen import ReadableScreen


class WholeCheckpoints:
    """Mixin for a Runner whose checkpoints are written atomically and contain the progress of the loop."""

    saved = frozenset()  # paths of the checkpoints so far

    def save_checkpoint(self, out_dir: str, filename: str, *args, meta: dict | None = None, **kwargs) -> None:
        """Write a checkpoint with a description of the network; every process must call this."""
        description = describe_training(self.cfg)
        if description is not None:
            meta = (meta or {}) | dict(mmconvnext=description.to_meta())
        if isinstance(self.train_loop, Replayable):
            # mmengine's FlexibleRunner overwrites the position in meta, and adds it if there is none.
            by_epoch = kwargs.get('by_epoch', True)
            place = dict(epoch=self.epoch + by_epoch, iter=self.iter + (not by_epoch)) | (meta or {})
            meta = place | dict(replay=self.train_loop.progress() | {k: place[k] for k in ('epoch', 'iter')})
            if is_main_process():
                meta['run'] = self.run_record()
                meta['all_moments'] = True  # see ``note_missing_moments``
        if '://' in out_dir:  # such storage writes objects atomically
            super().save_checkpoint(out_dir, filename, *args, meta=meta, **kwargs)
            return
        run_id(self)
        unfinished = Path(out_dir, '.unfinished')
        try:
            super().save_checkpoint(str(unfinished), filename, *args, meta=meta, **kwargs)
            barrier()  # in some engines, each process writes a part
            if is_main_process():
                target = Path(out_dir, filename)
                if target.is_dir() and not is_checkpoint(target):
                    raise UserError(
                        f'{target} is a folder of something else; move it, the checkpoint goes there'
                    )
                if target.is_file() and not is_own(self, target):
                    self.set_aside(target)
                put_in_place(unfinished / filename, target)
                self.saved |= {target}
        finally:
            if is_main_process():
                shutil.rmtree(unfinished, ignore_errors=True)

    def set_aside(self, file: Path) -> None:
        """Rename a file that this run did not write."""
        names = (file.with_name(f'{file.name}.old{number or ""}') for number in count())
        kept = next(name for name in names if not os.path.lexists(name))
        file.rename(kept)
        self.logger.warning(f'{file} was not written by this run, or is damaged: it is kept as {kept.name}')


class OwnVisualizer:
    """Mixin for a Runner with a new visualizer, even if an earlier run of this process used the same name.

    Configs of MMDetection and MMSegmentation name theirs ``visualizer``. mmengine would return the earlier
    one, which writes to the folder of its own run.
    """

    def build_visualizer(self, visualizer: Visualizer | dict | None = None) -> Visualizer:
        if isinstance(visualizer, dict) and 'name' in visualizer:
            for cls in (Visualizer, *Visualizer.__subclasses__()):
                cls._instance_dict.pop(visualizer['name'], None)
        return super().build_visualizer(visualizer)


class ConfigForAnyFolder:
    """Mixin for a Runner that formats its config once, and writes it with absolute paths of the data."""

    @classmethod
    def from_cfg(cls, cfg: Config) -> mmengine.runner.Runner:
        return super().from_cfg(PrintedConfig.of(cfg) if isinstance(cfg, Config) else cfg)

    def dump_config(self) -> None:
        given = self.cfg
        self.cfg = with_absolute_paths(given)
        try:
            super().dump_config()
        finally:
            self.cfg = given


@RUNNERS.register_module()
class Runner(
    IsolatedRun,
    ConfigForAnyFolder,
    WholeCheckpoints,
    CheckedResume,
    OwnVisualizer,
    ReadableScreen,
    mmengine.runner.Runner,
):
    """mmengine's Runner with exact resuming, atomic checkpoints and a readable screen."""

    # Each is called when its dataloader or evaluator is first asked for, perhaps from outside of the run.
    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        with self.isolated():
            return super().build_train_loop(loop)

    def build_val_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        with self.isolated():
            return super().build_val_loop(loop)

    def build_test_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        with self.isolated():
            return super().build_test_loop(loop)

    def scale_lr(self, optim_wrapper: OptimWrapper, auto_scale_lr: dict | None = None) -> None:
        """Also scale the rate that is logged as ``base_lr``, which belongs to no parameter."""
        groups = optim_wrapper.optimizer.param_groups
        logged = getattr(optim_wrapper, 'base_param_settings', None)
        groups += [logged] if logged else []
        try:
            super().scale_lr(optim_wrapper, auto_scale_lr)
        finally:
            if logged:
                groups.pop()


@RUNNERS.register_module()
class FlexibleRunner(
    IsolatedRun, ConfigForAnyFolder, WholeCheckpoints, CheckedResume, mmengine.runner.FlexibleRunner
):
    """mmengine's FlexibleRunner, which ``configs/_base_/distributed`` uses for DeepSpeed."""
