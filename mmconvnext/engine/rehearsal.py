"""Rehearse a run: one training step and one validation batch with temporary parts."""

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature

import mmengine.runner
import torch
from mmengine.hooks import CheckpointHook
from mmengine.logging import MMLogger
from mmengine.runner import ValLoop
from torch.utils.data import DataLoader, IterableDataset

from ..errors import UserError, did_you_mean
from ..hooks import BrokenImagesHook, FiniteHook, PreemptionHook, ProgressHook
from .loops import Replayable, random_state, set_random_state

# Without a GPU, a batch can take minutes. Mixup needs an even number.
MAX_IMAGES_ON_CPU = 8
# These hooks draw on the terminal, handle signals or count over an epoch.
LEFT_OUT = (BrokenImagesHook, PreemptionHook, ProgressHook)


class Rehearsal:
    """Mixin for a Runner that trains and validates one batch, and saves and logs nothing.

    Subclasses define ``starts_from_weights`` (whether the run starts from weights) and ``check_hooks``, which
    is called before the hooks are built.

    All hooks take part, but at the end of the run only those of this package: a user's own hook might report
    a training that has not started.
    """

    def build_logger(self, *args, **kwargs) -> MMLogger:
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            handler.close()
        logger.handlers = [logging.NullHandler()]  # the run itself logs all of it
        return logger

    def _log_env(self, *args, **kwargs) -> None:
        """Skip the versions of compilers, which take time to query."""

    def dump_config(self) -> None:
        """Write no config: formatting it takes a third of a second."""

    def register_hooks(self, *args, **kwargs) -> None:
        self.check_hooks()
        super().register_hooks(*args, **kwargs)
        left_out = LEFT_OUT
        if self.starts_from_weights:
            left_out = (*LEFT_OUT, FiniteHook)  # random weights say nothing about the loss of trained ones
        self._hooks = [hook for hook in self._hooks if not isinstance(hook, left_out)]

    def load_or_resume(self) -> None:
        """Shorten the loops after everything is built with their full lengths."""
        loop = self.train_loop
        loop.dataloader = OneBatch(loop.dataloader)
        loop._max_epochs = loop._max_iters = 1
        loop.val_begin = loop.val_interval = 1
        loop.dynamic_milestones, loop.dynamic_intervals = [0], [1]
        if self.val_loop is not None:
            self.val_loop.dataloader = OneBatch(self.val_loop.dataloader, spread=True)

    def save_checkpoint(self, *args, **kwargs) -> None:
        """Check the arguments that a hook takes from the config, and save nothing."""
        signature(mmengine.runner.Runner.save_checkpoint).bind(self, *args, **kwargs)

    def call_hook(self, fn_name: str, **kwargs) -> None:
        hooks = self._hooks
        if fn_name in ('after_train', 'after_run'):
            self._hooks = [hook for hook in hooks if type(hook).__module__.startswith('mmconvnext.')]
        elif fn_name == 'after_val_epoch':
            check_monitored(self, kwargs['metrics'])
        try:
            super().call_hook(fn_name, **kwargs)
        finally:
            self._hooks = hooks


class OneBatch:
    """Wrap a dataloader so that only one batch is loaded, in this process.

    Args:
        loader: dataloader to wrap.
        spread: whether to take images from all over the dataset instead of the first ones, which often have
            the same class.
    """

    def __init__(self, loader: DataLoader, *, spread: bool = False):
        self.loader, self.spread = loader, spread

    def __getattr__(self, name: str):
        if name == 'loader':
            raise AttributeError(name)
        return getattr(self.loader, name)

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator:
        dataset, collate = self.loader.dataset, self.loader.collate_fn
        if isinstance(dataset, IterableDataset):
            yield next(iter(self.loader))
            return
        indices = next(iter(self.loader.batch_sampler))
        if self.spread:
            indices = [i * len(dataset) // len(indices) for i in range(len(indices))]
        if not torch.cuda.is_available():
            kept = min(len(indices), MAX_IMAGES_ON_CPU)
            indices = [indices[i * len(indices) // kept] for i in range(kept)]
        yield collate([dataset[i] for i in indices])


def check_monitored(runner: mmengine.runner.Runner, metrics: dict) -> None:
    """Raise UserError if a hook or the schedule needs a metric that validation does not return.

    Validation may return no metric for a single batch, for example if a detector finds nothing.
    """
    for option, key in monitored(runner) if metrics else []:
        if isinstance(key, str) and key not in ('auto', *metrics):
            raise UserError(f"{option}='{key}': validation gives no such metric{did_you_mean(key, metrics)}")


def monitored(runner: mmengine.runner.Runner) -> list[tuple[str, str | None]]:
    """Return the options that name a metric, with its name."""
    found = []
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook):
            keys = hook.key_indicators if hook.save_best else []
            found += [('default_hooks.checkpoint.save_best', key) for key in keys]
        else:
            found.append((f'custom_hooks: {type(hook).__name__}.monitor', getattr(hook, 'monitor', None)))
    schedulers = runner.param_schedulers if isinstance(runner.param_schedulers, list) else []
    return found + [('param_scheduler.monitor', getattr(each, 'monitor', None)) for each in schedulers]


def can_rehearse(runner: type, train_loop: type | None, val_loop: type | None) -> bool:
    """Return whether the loops of a run can be shortened."""
    return (
        hasattr(runner, 'build_train_loop')  # mmengine's FlexibleRunner uses a strategy
        and issubclass(train_loop, Replayable)
        and (val_loop is None or issubclass(val_loop, ValLoop))
    )


@contextmanager
def nothing_kept() -> Iterator[None]:
    """Restore what a Runner leaves changed in this process: random states and memory."""
    states = random_state()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # the run itself repeats them
            yield
    finally:
        set_random_state(states)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def with_own_pipeline(dataset):
    """Return a copy with the same list of images but its own transforms, because some keep earlier images."""
    dataset = copy.copy(dataset)
    fields = vars(dataset)
    if 'pipeline' in fields:
        dataset.pipeline = copy.deepcopy(fields['pipeline'])
    if 'dataset' in fields:
        dataset.dataset = with_own_pipeline(fields['dataset'])
    if 'datasets' in fields:
        dataset.datasets = [with_own_pipeline(each) for each in fields['datasets']]
    return dataset
