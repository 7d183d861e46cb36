import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from mmconvnext.apis import train
from mmconvnext.hooks import ThroughputHook, throughput
from mmconvnext.hooks.throughput import count_images
from tests.conftest import REPO


class World:
    """The parts of a Runner that the hook uses: a loader, hooks and a message hub."""

    def __init__(self, batches, batch_size):
        from mmengine.logging import MessageHub

        data = torch.utils.data.TensorDataset(torch.zeros(batches * batch_size))
        self.train_dataloader = torch.utils.data.DataLoader(data, batch_size=batch_size)
        self.hooks = []
        self.message_hub = MessageHub(f'throughput {id(self)}')


@pytest.fixture
def clock(monkeypatch):
    """Replace the hook's clock by one that stands still and counts how often it is read."""
    clock = SimpleNamespace(now=0.0, read=0)

    def perf_counter():
        clock.read += 1
        return clock.now

    monkeypatch.setattr(throughput, 'time', SimpleNamespace(perf_counter=perf_counter))
    return clock


def rows_of(work_dir):
    log = next(work_dir.glob('*/vis_data/scalars.json'))
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_images_per_second_are_in_the_log_and_in_the_scalars(tiny_config, tmp_path):
    options = {'default_hooks.logger.interval': 2, 'train_cfg.max_epochs': 1}
    train(tiny_config, work_dir=str(tmp_path / 'work'), cfg_options=options)
    training = [row for row in rows_of(tmp_path / 'work') if 'iter' in row]
    assert [row['iter'] for row in training] == [2, 4]
    for row in training:
        assert row['images_per_s'] > 0
    assert next((tmp_path / 'work').glob('*/*.log')).read_text().count('images_per_s: ') == 2


def test_time_between_epochs_and_in_validation_is_left_out(clock):
    runner, hook = World(batches=4, batch_size=8), ThroughputHook()
    hook.before_train(runner)
    clock.now += 300
    hook.before_train_epoch(runner)
    for i in range(4):
        clock.now += 2
        hook.after_train_iter(runner, i, dict(inputs=torch.zeros(8)))
        if i == 1:
            clock.now += 300
            hook.after_val(runner)
    rate = runner.message_hub.get_scalar('train/images_per_s').current()
    assert rate == 8 / 2


@pytest.mark.slow
def test_images_of_all_processes_count(tiny_config, tmp_path):
    """With two real processes, images per second times the seconds of mmengine is the batch size of both."""
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2']
    tool = [str(REPO / 'tools/train.py'), str(tiny_config), '--launcher', 'pytorch', '--no-validate']
    options = ['--cfg-options', 'train_cfg.max_epochs=1', 'default_hooks.logger.interval=2']
    subprocess.run(
        [*command, *tool, '--work-dir', str(tmp_path / 'work'), *options],
        env=dict(os.environ, PYTHONPATH=str(REPO), OMP_NUM_THREADS='1'),
        check=True,
        capture_output=True,
    )
    first = rows_of(tmp_path / 'work')[0]
    assert first['images_per_s'] * first['time'] == pytest.approx(2 * 16, rel=0.4)  # not the 16 of one
    assert '2 processes x 16 images' in next((tmp_path / 'work').glob('*/*.log')).read_text()


@pytest.mark.parametrize(
    ('batch', 'count'),
    [
        (dict(inputs=torch.zeros(3, 1)), 3),
        (dict(inputs=[1, 2]), 2),
        (dict(inputs=dict(a=[1], b=[2])), 7),
        ([1, 2], 7),
        (None, 7),
    ],
)
def test_images_are_counted_in_batches_of_any_library(batch, count):
    assert count_images(batch, 7) == count


def test_scalars_are_written_only_where_they_are_read(clock, monkeypatch):
    """mmengine copies the history of a scalar at every update, which takes longer as a run proceeds."""
    runner, hook = World(batches=1, batch_size=8), ThroughputHook()
    runner.train_dataloader = [None] * 100_000
    hook.interval, hook.batch_size, hook.world_size = 100, 8, 1
    hook._start_window()
    updates = []
    monkeypatch.setattr(runner.message_hub, 'update_scalar', lambda *scalar: updates.append(scalar))
    for i in range(2_000):
        clock.now += 1
        hook.after_train_iter(runner, i, dict(inputs=torch.zeros(8)))
    assert updates == [('train/images_per_s', 8.0)] * 20
    assert clock.read <= 2_100
