#!/usr/bin/env python
"""Time the digits run with and without what protects it: resumption, safe files, guards, watching."""

import argparse
import json
import platform
import statistics
import tempfile
import time
from unittest import mock

import mmengine
import torch

from mmconvnext.apis import runner as building
from mmconvnext.apis import train

CONFIG = 'convnext-atto_1xb48_digits'


def seconds(work_dir: str, epochs: int, *, protected: bool) -> float:
    """From the first iteration to the end of the run, checkpoints and validations included."""
    marks = {}

    class Marks(mmengine.hooks.Hook):
        priority = 'LOWEST'

        def before_train_epoch(self, runner):
            marks.setdefault('start', time.perf_counter())

        def after_run(self, runner):
            marks['end'] = time.perf_counter()

    mmengine.registry.HOOKS.register_module('Marks', force=True, module=Marks)
    options = {'train_cfg.max_epochs': epochs, 'custom_hooks': [dict(type='Marks')]}
    if protected:
        train(CONFIG, work_dir=work_dir, cfg_options=options)
    else:
        options['default_hooks.checkpoint.type'] = 'CheckpointHook'
        plain = mmengine.runner.Runner
        bare = dict(protect=drop_own_hooks, replayed=lambda data, _: data, runner_class=lambda _: plain)
        with mock.patch.multiple(building, **bare):
            train(CONFIG, work_dir=work_dir, cfg_options=options)
    return marks['end'] - marks['start']


def drop_own_hooks(cfg: mmengine.Config) -> None:
    for name in [name for name, hook in cfg.default_hooks.items() if hook.type.startswith('mmconvnext.')]:
        del cfg.default_hooks[name]


def main(pairs: int, epochs: int, threads: int) -> None:
    torch.set_num_threads(threads)
    times = {True: [], False: []}
    for i in range(pairs + 1):
        for protected in (True, False) if i % 2 else (False, True):  # either comes first equally often
            with tempfile.TemporaryDirectory() as work_dir:
                took = seconds(work_dir, epochs, protected=protected)
            if i > 0:  # the first pair warms up
                times[protected].append(took)
    ratios = [a / b for a, b in zip(times[True], times[False], strict=True)]
    row = dict(
        config=CONFIG,
        epochs=epochs,
        pairs=pairs,
        threads=threads,
        median_ratio=round(statistics.median(ratios), 4),
        ratios=[round(ratio, 4) for ratio in sorted(ratios)],
        ratio_of_minima=round(min(times[True]) / min(times[False]), 4),
        seconds_without=round(statistics.median(times[False]), 2),
        processor=platform.processor() or platform.machine(),
        torch=torch.__version__,
        mmengine=mmengine.__version__,
    )
    print(json.dumps(row))


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--pairs', type=int, default=8)
    parser.add_argument('--epochs', type=int, default=2)
    parser.add_argument('--threads', type=int, default=1)
    main(**vars(parser.parse_args()))
