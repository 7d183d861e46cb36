#!/usr/bin/env python
"""Measure the overhead of protection (resuming, safe files, guards, monitoring) in training on digits.

There are two measures: alternating runs with and without protection, and the time spent in the functions
that protection adds, which varies less on a busy machine.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from pkgutil import resolve_name
from unittest import mock

import mmengine
import torch

from mmconvnext.apis import train
from mmconvnext.engine.isolation import IsolatedRun
from mmconvnext.training import runner as building

ADDED = (
    'mmconvnext.hooks.FiniteHook._check_gradients',
    'mmconvnext.hooks.FiniteHook.after_train_iter',
    'mmconvnext.hooks.BrokenImagesHook.before_train_iter',
    'mmconvnext.hooks.PreemptionHook.after_train_iter',
    'mmconvnext.hooks.ThroughputHook.after_train_iter',
    'mmconvnext.hooks.ProgressHook.after_train_iter',
    'mmconvnext.engine.loops.Replayable.progress',
    'mmconvnext.engine.runner.put_in_place',
    'mmconvnext.files.put_in_place',
    'mmconvnext.datasets.replay.seed_draws',
)


class Marks(mmengine.hooks.Hook):
    """Measure the time from the first iteration to the end of the run, with checkpoints and validation."""

    priority = 'LOWEST'
    seconds = None

    def before_train(self, runner):
        self.start = time.perf_counter()

    def after_run(self, runner):
        Marks.seconds = time.perf_counter() - self.start


class PlainRunner(IsolatedRun, mmengine.runner.Runner):
    """mmengine's Runner with the arguments that ``train`` passes."""


def run(config: str, epochs: int, *, protected: bool) -> float:
    mmengine.registry.HOOKS.register_module('Marks', force=True, module=Marks)
    options = {'train_cfg.max_epochs': epochs, 'custom_hooks': [dict(type='Marks')]}
    bare = dict(protect=drop_own_hooks, replayed=lambda data, _: data, runner_class=lambda _: PlainRunner)
    with tempfile.TemporaryDirectory() as work_dir, ExitStack() as stack:
        if not protected:
            options['default_hooks.checkpoint.type'] = 'CheckpointHook'
            stack.enter_context(mock.patch.multiple(building, **bare))
        train(config, work_dir=work_dir, cfg_options=options, rehearsal=False)
    return Marks.seconds


def drop_own_hooks(cfg: mmengine.Config, **_) -> None:
    for name in [name for name, hook in cfg.default_hooks.items() if hook.type.startswith('mmconvnext.')]:
        del cfg.default_hooks[name]


def timed_shares(config: str, epochs: int) -> dict[str, float]:
    """Return the percentage of a protected run that each added function takes."""
    inside = defaultdict(float)

    def timed(name: str, function):
        def call(*args, **kwargs):
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                inside[name] += time.perf_counter() - start

        return call

    with ExitStack() as stack:
        for name in ADDED:
            stack.enter_context(mock.patch(name, timed(name, resolve_name(name))))
        total = run(config, epochs, protected=True)
    return {name: round(100 * inside[name] / total, 3) for name in ADDED}


def main(config: str, pairs: int, epochs: int, threads: int) -> None:
    torch.set_num_threads(threads)
    times = {True: [], False: []}
    for i in range(pairs + 1):
        for protected in (True, False) if i % 2 else (False, True):  # each comes first equally often
            seconds = run(config, epochs, protected=protected)
            if i > 0:  # the first pair warms up
                times[protected].append(seconds)
    shares = timed_shares(config, epochs)
    ratios = [a / b for a, b in zip(times[True], times[False], strict=True)]
    row = dict(
        config=config,
        epochs=epochs,
        pairs=pairs,
        threads=threads,
        ratio_with_to_without=round(statistics.median(ratios), 4),
        ratios=[round(ratio, 4) for ratio in sorted(ratios)],
        percent_inside=round(sum(shares.values()), 3),
        percents=shares,
        machine=platform.machine(),
        torch=torch.__version__,
        mmengine=mmengine.__version__,
    )
    print(json.dumps(row))


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', nargs='?', default='convnext-atto_1xb48_digits')
    parser.add_argument('--pairs', type=int, default=8)
    parser.add_argument('--epochs', type=int, default=2)
    parser.add_argument('--threads', type=int, default=1)
    main(**vars(parser.parse_args()))
