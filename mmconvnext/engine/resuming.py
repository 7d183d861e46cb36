"""Resume runs: the checkpoint is checked, and the settings of the config apply."""

import mmengine.runner
from mmengine.optim import OptimWrapper

from ..errors import UserError
from ..models.network import unwrapped
from ..text import listed
from .record import changes, check_unchanged, record_of
from .saved_state import check_optimizer_state, check_state, is_dict, note_missing_moments
from .settings import ContinuedSettings, plain_state

MAX_CHANGES_SHOWN = 20
# Errors that mmengine and torch raise while loading a state that does not fit.
LOAD_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


class CheckedResume:
    """Mixin for a Runner that checks the checkpoint, keeps the settings of the config and logs changes."""

    settings = None  # of optimizer and schedules, restored when the position is known

    def resume(self, filename: str, *args, **kwargs) -> None:
        """Resume like mmengine, after checks.

        Raises:
            UserError: the file does not contain the state of this run.
        """
        self.resumed_from = str(filename)
        try:
            super().resume(filename, *args, **kwargs)
        except UserError:
            raise
        except LOAD_ERRORS as error:
            raise UserError(
                f'{filename} cannot be resumed ({type(error).__name__}: {error}); its state is not that of '
                'this config. Resume with the config it was saved with, or start a new run from its weights: '
                '--cfg-options load_from=FILE and another --work-dir'
            ) from error

    def call_hook(self, fn_name: str, **kwargs) -> None:
        if fn_name == 'after_load_checkpoint' and self._resume:
            self.take_over(kwargs['checkpoint'])
        super().call_hook(fn_name, **kwargs)
        if fn_name == 'before_save_checkpoint':
            leave_out_functions(kwargs['checkpoint'])
            if isinstance(self.optim_wrapper, OptimWrapper) and 'optimizer' in kwargs['checkpoint']:
                note_missing_moments(kwargs['checkpoint']['optimizer'])
        if fn_name == 'before_train' and self.settings is not None:
            self.restore_settings()

    def take_over(self, checkpoint: dict) -> None:
        """Check a checkpoint before any of it is used."""
        source = self.resumed_from
        check_state(checkpoint, source)
        self.compare(checkpoint['meta'].get('run'), source)
        averages = any(isinstance(hook, mmengine.hooks.EMAHook) for hook in self.hooks)
        if 'ema_state_dict' in checkpoint and not averages:
            # mmengine saves the average as state_dict, and the trained weights under the name of the average.
            average = checkpoint.pop('ema_state_dict')
            checkpoint['state_dict'].update(
                {n.removeprefix('module.'): w for n, w in average.items() if n.startswith('module.')}
            )
            self.logger.warning(
                f'{source} has an average of the weights, this config has no EMAHook: it is left out'
            )
        if isinstance(self, mmengine.runner.Runner) and isinstance(self.optim_wrapper, OptimWrapper):
            self.check_optimizer(checkpoint, source)
            schedulers = self.param_schedulers or []
            self.settings = ContinuedSettings(
                self.optim_wrapper, schedulers, checkpoint.pop('param_schedulers', None)
            )

    def check_optimizer(self, checkpoint: dict, source: str) -> None:
        if 'optimizer' not in checkpoint:
            self.logger.warning(f'{source} holds no state of the optimizer: its moments start at zero')
            return
        network = unwrapped(self.model)
        names = {parameter: name for name, parameter in network.named_parameters()}
        optimizer = self.optim_wrapper.optimizer
        without = check_optimizer_state(
            checkpoint['optimizer'],
            optimizer,
            names,
            source,
            complete=checkpoint['meta'].get('all_moments') is True,
        )
        if without:
            self.logger.warning(f'{source} holds no moments of {listed(without)}: they start at zero')

    def compare(self, saved: dict | None, source: str) -> None:
        """Raise UserError for other data or batches, and log each changed setting."""
        if not is_dict(saved):
            self.logger.warning(
                f'{source} does not say with which data and settings its run was made; whether they are '
                'those of this config cannot be checked'
            )
            return
        now = self.run_record()
        check_unchanged(saved, now, source)
        lines = changes(saved, now)
        for line in lines[:MAX_CHANGES_SHOWN]:
            self.logger.warning(f'Changed since the checkpoint, and used from now on: {line}')
        if len(lines) > MAX_CHANGES_SHOWN:
            self.logger.warning(f'... and {len(lines) - MAX_CHANGES_SHOWN} other settings')

    def run_record(self) -> dict:
        """Return the record of this run, see ``record_of``."""
        return record_of(self.cfg, self.train_loop.dataloader.dataset)

    def restore_settings(self) -> None:
        loop = self.train_loop
        place = dict(iterations=loop.iter, epochs=loop.epoch, epoch_length=len(loop.dataloader))
        changed = self.settings.apply(**place)
        self.settings = None
        if loop.iter >= loop.max_iters:
            self.logger.warning(
                f'{self.resumed_from} is of a complete run: {loop.iter} of {loop.max_iters} iterations are '
                'done, nothing is left to train'
            )
        elif changed:
            rate = max(self.optim_wrapper.get_lr()['lr'])
            self.logger.warning(
                'The schedule of the config is not the one of the checkpoint: it holds from iteration '
                f'{loop.iter + 1} on, as if it had from the start; the learning rate is {rate:g}'
            )


def leave_out_functions(checkpoint: dict) -> None:
    """Remove functions from the states of schedules, because checkpoints contain only data."""
    states = checkpoint.get('param_schedulers')
    if isinstance(states, list):
        checkpoint['param_schedulers'] = [plain_state(state) for state in states]
