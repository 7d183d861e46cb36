"""mmengine's Runners, with checkpoints that are whole or absent and a screen that people can read."""

import os
import shutil
from itertools import count
from pathlib import Path

import mmengine.runner
from mmengine.dist import barrier, is_main_process
from mmengine.optim import OptimWrapper
from mmengine.visualization import Visualizer

from ..config.data_root import with_absolute_paths
from ..config.description import describe_training
from ..errors import UserError
from ..files import put_in_place
from ..hooks.checkpoint import is_checkpoint, is_own, run_id
from ..registry import RUNNERS
from .loops import Replayable
from .resuming import CheckedResume
from .screen import ReadableScreen


class WholeCheckpoints:
    """For a Runner: a checkpoint holds the loop's progress too, and has its name once it is on the disk."""

    saved = frozenset()  # paths of the checkpoints so far

    def save_checkpoint(self, out_dir: str, filename: str, *args, meta: dict | None = None, **kwargs) -> None:
        """Write a checkpoint that also describes the network and its images; every process calls this."""
        description = describe_training(self.cfg)
        if description is not None:
            meta = (meta or {}) | dict(mmconvnext=description.to_meta())
        if isinstance(self.train_loop, Replayable):
            # mmengine's FlexibleRunner writes over the place in meta, and fills it in if there is none.
            by_epoch = kwargs.get('by_epoch', True)
            place = dict(epoch=self.epoch + by_epoch, iter=self.iter + (not by_epoch)) | (meta or {})
            meta = place | dict(replay=self.train_loop.progress() | {k: place[k] for k in ('epoch', 'iter')})
            if is_main_process():
                meta['run'] = self.run_record()
        if '://' in out_dir:  # such storage shows an object when it is whole
            super().save_checkpoint(out_dir, filename, *args, meta=meta, **kwargs)
            return
        run_id(self)
        unfinished = Path(out_dir, '.unfinished')
        try:
            super().save_checkpoint(str(unfinished), filename, *args, meta=meta, **kwargs)
            barrier()  # some engines write a part in each process
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
        """Keep a file of somebody else under another name."""
        names = (file.with_name(f'{file.name}.old{number or ""}') for number in count())
        kept = next(name for name in names if not os.path.lexists(name))
        file.rename(kept)
        self.logger.warning(f'{file} was not written by this run, or is damaged: it is kept as {kept.name}')


class OwnVisualizer:
    """For a Runner: its visualizer is a new one, though an earlier run of this process used the same name.

    Configs of MMDetection and MMSegmentation name theirs ``visualizer``. mmengine would hand out the earlier
    one, which writes into the folder of its own run, or leave another the current one.
    """

    def build_visualizer(self, visualizer: Visualizer | dict | None = None) -> Visualizer:
        if isinstance(visualizer, dict) and 'name' in visualizer:
            for cls in (Visualizer, *Visualizer.__subclasses__()):
                cls._instance_dict.pop(visualizer['name'], None)
        return super().build_visualizer(visualizer)


class ConfigForAnyFolder:
    """For a Runner: the config that it writes finds the data from other folders than that of the run, too."""

    def dump_config(self) -> None:
        given = self.cfg
        self.cfg = with_absolute_paths(given)
        try:
            super().dump_config()
        finally:
            self.cfg = given


@RUNNERS.register_module()
class Runner(
    ConfigForAnyFolder,
    WholeCheckpoints,
    CheckedResume,
    OwnVisualizer,
    ReadableScreen,
    mmengine.runner.Runner,
):
    """mmengine's Runner."""

    def scale_lr(self, optim_wrapper: OptimWrapper, auto_scale_lr: dict | None = None) -> None:
        """Scale the rate that is logged as ``base_lr``, too: its settings belong to no parameter."""
        groups = optim_wrapper.optimizer.param_groups
        logged = getattr(optim_wrapper, 'base_param_settings', None)
        groups += [logged] if logged else []
        try:
            super().scale_lr(optim_wrapper, auto_scale_lr)
        finally:
            if logged:
                groups.pop()


@RUNNERS.register_module()
class FlexibleRunner(ConfigForAnyFolder, WholeCheckpoints, CheckedResume, mmengine.runner.FlexibleRunner):
    """mmengine's Runner for its strategies, of which ``configs/_base_/distributed`` uses DeepSpeed's."""
