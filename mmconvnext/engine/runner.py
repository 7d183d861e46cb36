"""mmengine's Runner, with checkpoints that are whole or absent and hold all that a run needs to go on."""

import shutil
from pathlib import Path

import mmengine.runner
from mmengine.dist import is_main_process

from ..checkpoints.files import put_in_place


class Runner(mmengine.runner.Runner):
    """Saves the progress of the loop too; a checkpoint appears under its name once it is on the disk."""

    def save_checkpoint(self, out_dir: str, filename: str, *args, meta: dict | None = None, **kwargs) -> None:
        """As mmengine's; every process has to call it."""
        # mmengine's FlexibleRunner writes over the epoch in meta.
        meta = dict(meta or {})
        meta['replay'] = self.train_loop.progress() | {key: meta[key] for key in ('epoch', 'iter')}
        if '://' in out_dir:  # such storage shows an object when it is whole
            super().save_checkpoint(out_dir, filename, *args, meta=meta, **kwargs)
            return
        unfinished = Path(out_dir, '.unfinished')
        try:
            super().save_checkpoint(str(unfinished), filename, *args, meta=meta, **kwargs)
            if is_main_process():
                put_in_place(unfinished / filename, Path(out_dir, filename))
        finally:
            if is_main_process():
                shutil.rmtree(unfinished, ignore_errors=True)
