"""A run that is killed and resumed gives the same result as one that is not."""

import logging
import multiprocessing
import os
import re
import resource
import signal
import subprocess
import sys
from copy import deepcopy

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MMLogger

from mmconvnext.apis import evaluate, train
from mmconvnext.errors import UserError
from mmconvnext.hooks.preemption import REQUEUE
from mmconvnext.registry import HOOKS
from mmconvnext.training.resuming import newest_checkpoint
from tests.conftest import REPO
from tests.interruptions import KILLS, OPTIONS, kill_and_resume, weights_of_the_end
from tests.processes import run
from tests.signals import signalled


@pytest.mark.parametrize('workers', [0, *(pytest.param(count, marks=pytest.mark.slow) for count in (1, 3))])
def test_killed_and_resumed_run_ends_bit_for_bit_as_the_uninterrupted_one(tiny_config, tmp_path, workers):
    options = OPTIONS | {'train_dataloader.num_workers': workers}
    assert run(tiny_config, tmp_path / 'whole', options) == [0]
    kill_and_resume(tiny_config, tmp_path / 'killed', options, kills=KILLS, seed=workers)
    expected = weights_of_the_end(tmp_path / 'whole')
    torch.testing.assert_close(weights_of_the_end(tmp_path / 'killed'), expected, rtol=0, atol=0)


@pytest.mark.slow
def test_two_ranks_killed_and_resumed_end_as_the_uninterrupted_ones(tiny_config, tmp_path):
    options = OPTIONS | {'train_dataloader.num_workers': 1, 'train_dataloader.batch_size': 8}
    assert run(tiny_config, tmp_path / 'whole', options, ranks=2) == [0, 0]
    kill_and_resume(tiny_config, tmp_path / 'killed', options, kills=KILLS, ranks=2)
    expected = weights_of_the_end(tmp_path / 'whole')
    torch.testing.assert_close(weights_of_the_end(tmp_path / 'killed'), expected, rtol=0, atol=0)


ITERATIONS = {
    'train_cfg': dict(_delete_=True, by_epoch=False, max_iters=17, val_interval=5),
    'default_hooks.checkpoint.by_epoch': False,
    'default_hooks.checkpoint.interval': 2,
    'model.backbone.drop_path_rate': 0.3,
    'param_scheduler': None,
}


@pytest.mark.parametrize(
    'sampler', ['DefaultSampler', pytest.param('InfiniteSampler', marks=pytest.mark.slow)]
)
def test_iterations_without_epochs_killed_and_resumed(tiny_config, tmp_path, sampler):
    options = ITERATIONS | {'train_dataloader.sampler.type': sampler}
    assert run(tiny_config, tmp_path / 'whole', options) == [0]
    kill_and_resume(tiny_config, tmp_path / 'killed', options, kills=KILLS)
    expected = weights_of_the_end(tmp_path / 'whole', 'iter_17.pth')
    torch.testing.assert_close(
        weights_of_the_end(tmp_path / 'killed', 'iter_17.pth'), expected, rtol=0, atol=0
    )


@pytest.mark.parametrize(('number', 'accumulated', 'saved'), [(signal.SIGTERM, 1, 3), (signal.SIGUSR1, 2, 4)])
def test_a_signal_saves_at_the_next_step_and_asks_for_a_requeue(
    tiny_config, tmp_path, number, accumulated, saved
):
    options = {'train_cfg.max_epochs': 2, 'optim_wrapper.accumulative_counts': accumulated}
    handler = signal.getsignal(number)
    with pytest.raises(SystemExit) as left:
        train(tiny_config, work_dir=str(tmp_path / 'w'), cfg_options=options | signalled(number, 3))
    assert left.value.code == REQUEUE == 75
    assert [file.name for file in (tmp_path / 'w').glob('*.pth')] == [f'iter_{saved}.pth']
    assert signal.getsignal(number) is handler

    runner = train(tiny_config, work_dir=str(tmp_path / 'w'), resume='auto', cfg_options=options)
    assert runner.iter == 8
    assert not list((tmp_path / 'w').glob('iter_*.pth'))  # removed when the epoch is saved
    whole = train(tiny_config, work_dir=str(tmp_path / 'whole'), cfg_options=options)
    torch.testing.assert_close(runner.model.state_dict(), whole.model.state_dict(), rtol=0, atol=0)


def test_a_signal_to_one_of_two_ranks_stops_both_at_one_iteration(tiny_config, tmp_path):
    options = {'train_dataloader.batch_size': 8}
    options |= {'custom_hooks': [dict(type='mmconvnext.SignalOnRankOne')]}
    codes = run(
        tiny_config, tmp_path / 'w', options, ranks=2, preload='tests.test_training.test_interruption'
    )
    assert codes == [REQUEUE, REQUEUE]
    assert re.match(r'iter_\d+.pth', next((tmp_path / 'w').glob('*.pth')).name)


@HOOKS.register_module()
class SignalOnRankOne(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.rank == 1 and runner.iter == 1:
            os.kill(os.getpid(), signal.SIGUSR1)


@HOOKS.register_module()
class SignalEverybody(Hook):
    """Send a signal to all processes, including workers of dataloaders, as Slurm does."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 1:
            for process in multiprocessing.active_children():
                os.kill(process.pid, signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)


def test_workers_outlive_a_signal_until_the_run_is_saved(tiny_config, tmp_path):
    options = {'train_dataloader.num_workers': 2, 'train_dataloader.prefetch_factor': 1}
    options |= {'custom_hooks': [dict(type='mmconvnext.SignalEverybody')], 'train_dataloader.batch_size': 2}
    with pytest.raises(SystemExit) as left:
        train(tiny_config, work_dir=str(tmp_path / 'w'), cfg_options=options)
    assert left.value.code == REQUEUE
    assert (tmp_path / 'w/iter_2.pth').is_file()


def test_a_run_without_a_seed_keeps_the_one_it_drew(tiny_config, tmp_path):
    options = {
        'randomness': dict(_delete_=True),
        'train_dataloader.sampler': dict(_delete_=True, type='DefaultSampler'),
    }
    with pytest.raises(SystemExit):
        train(
            tiny_config,
            work_dir=str(tmp_path / 'w'),
            cfg_options=deepcopy(options) | signalled(signal.SIGUSR1, 3),  # mmengine removes _delete_
        )
    seed = torch.load(tmp_path / 'w/iter_3.pth', weights_only=False)['meta']['seed']
    runner = train(tiny_config, work_dir=str(tmp_path / 'w'), resume='latest', cfg_options=options)
    dataset = runner.train_dataloader.dataset
    assert dataset.seed == runner.train_dataloader.batch_sampler.sampler.seed == runner.seed == seed


@HOOKS.register_module()
class SignalTestHook(Hook):
    def before_test_iter(self, runner, batch_idx, data_batch=None):
        SignalTestHook.handler = signal.getsignal(signal.SIGTERM)


def test_a_test_run_has_nothing_to_save_and_ends_when_it_is_told_to(tiny_config, finished, tmp_path):
    options = {'custom_hooks': [dict(type='mmconvnext.SignalTestHook')]}
    evaluate(tiny_config, finished / 'epoch_2.pth', work_dir=str(tmp_path / 't'), cfg_options=options)
    assert SignalTestHook.handler is signal.SIG_DFL


def test_without_a_checkpoint_auto_begins_and_a_plain_resume_asks(tiny_config, tmp_path):
    options = {'train_cfg.max_epochs': 1}
    with pytest.raises(UserError, match='no checkpoint to continue from'):
        train(tiny_config, work_dir=str(tmp_path / 'w'), resume='latest', cfg_options=options)
    assert train(tiny_config, work_dir=str(tmp_path / 'w'), resume='auto', cfg_options=options).epoch == 1


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    from tests.conftest import write_tiny_config

    folder = tmp_path_factory.mktemp('finished')
    train(write_tiny_config(folder), work_dir=str(folder / 'w'), cfg_options={'train_cfg.max_epochs': 2})
    return folder / 'w'


@pytest.mark.parametrize('damage', ['truncated', 'empty', 'one byte'])
def test_damaged_newest_checkpoint_is_named_and_the_one_before_taken(tiny_config, finished, tmp_path, damage):
    work_dir = copied(finished, tmp_path)
    newest = work_dir / 'epoch_2.pth'
    content = bytearray(newest.read_bytes())
    if damage == 'one byte':
        content[len(content) // 2] ^= 1
    newest.write_bytes(content[: {'truncated': len(content) // 2, 'empty': 0}.get(damage)])
    said = []
    listener = logging.Handler()
    listener.emit = lambda record: said.append(record.getMessage())
    MMLogger.get_current_instance().addHandler(listener)
    runner = train(
        tiny_config, work_dir=str(work_dir), resume='latest', cfg_options={'train_cfg.max_epochs': 2}
    )
    assert re.search('epoch_2.pth.* is (truncated|damaged).*Going on from .*epoch_1.pth', '\n'.join(said))
    whole = torch.load(finished / 'epoch_2.pth', weights_only=False)['state_dict']
    torch.testing.assert_close(dict(runner.model.state_dict()), dict(whole), rtol=0, atol=0)


def test_no_checkpoint_that_can_be_read_is_an_error(finished, tmp_path):
    work_dir = copied(finished, tmp_path)
    for file in work_dir.glob('epoch_*.pth'):
        file.write_bytes(b'')
    with pytest.raises(UserError, match='no checkpoint in .* can be read: .*epoch_1.pth.*epoch_2.pth'):
        newest_checkpoint(Config(dict(work_dir=str(work_dir))))


def copied(folder, target):
    import shutil

    return shutil.copytree(folder, target / 'copy')


def test_a_full_disk_leaves_the_former_checkpoint_whole_and_says_so(tiny_config, tmp_path):
    """A limit on the file size makes a write fail halfway, as a full disk would."""
    train(tiny_config, work_dir=str(tmp_path / 'w'), cfg_options={'train_cfg.max_epochs': 1})
    size = (tmp_path / 'w/epoch_1.pth').stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, before[1]))
    try:
        with pytest.raises(UserError, match='epoch_2.pth was not written: File too large'):
            train(tiny_config, work_dir=str(tmp_path / 'w'), resume='latest')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert newest_checkpoint(Config(dict(work_dir=str(tmp_path / 'w')))) == str(tmp_path / 'w/epoch_1.pth')
    assert not list((tmp_path / 'w').glob('.*'))
    assert train(tiny_config, work_dir=str(tmp_path / 'w'), resume='latest').epoch == 2


def test_old_checkpoints_go_when_newer_ones_are_whole(tiny_config, tmp_path):
    options = {'train_cfg.max_epochs': 4, 'default_hooks.checkpoint.max_keep_ckpts': 2}
    options |= {'default_hooks.checkpoint.every_iters': 1, 'train_dataloader.dataset.indices': 80}
    with pytest.raises(SystemExit):
        train(tiny_config, work_dir=str(tmp_path / 'w'), cfg_options=options | signalled(signal.SIGUSR1, 19))
    left = {file.name for file in (tmp_path / 'w').glob('[ei]*.pth')}
    assert left == {'epoch_2.pth', 'epoch_3.pth', 'iter_18.pth', 'iter_19.pth'}


def test_best_of_several_metrics_and_plain_saves_of_a_hook(tiny_config, tmp_path):
    options = {'default_hooks.checkpoint.save_best': ['accuracy/top1', 'accuracy/top5']}
    options |= {'custom_hooks': [dict(type='mmconvnext.PlainSaveHook')]}
    train(tiny_config, work_dir=str(tmp_path / 'w'), cfg_options=options)
    assert len(list((tmp_path / 'w').glob('best_accuracy_top1_*.pth'))) == 1
    assert len(list((tmp_path / 'w').glob('best_accuracy_top5_*.pth'))) == 1
    assert torch.load(tmp_path / 'w/plain.pth', weights_only=False)['meta']['iter'] == 8


@HOOKS.register_module()
class PlainSaveHook(Hook):
    def after_train_epoch(self, runner):
        runner.save_checkpoint(runner.work_dir, 'plain.pth')


def test_a_loop_of_another_library_trains_and_saves(tiny_config, tmp_path):
    from mmengine.registry import LOOPS
    from mmengine.runner import EpochBasedTrainLoop

    @LOOPS.register_module(force=True)
    class OtherLoop(EpochBasedTrainLoop):
        pass

    options = {'train_cfg': dict(_delete_=True, type='OtherLoop', max_epochs=1)}
    assert train(tiny_config, work_dir=str(tmp_path / 'w'), cfg_options=options).epoch == 1
    # A checkpoint of mmengine after a whole epoch with other batches.
    runner = train(
        tiny_config,
        work_dir=str(tmp_path / 'w'),
        resume='latest',
        cfg_options={'train_dataloader.batch_size': 32},
    )
    assert (runner.epoch, runner.iter) == (2, 4)


def test_checkpoints_in_another_folder_are_found(tiny_config, tmp_path):
    options = {'default_hooks.checkpoint.out_dir': str(tmp_path / 'out'), 'train_cfg.max_epochs': 1}
    train(tiny_config, work_dir=str(tmp_path / 'w'), cfg_options=options)
    hooks = dict(checkpoint=dict(out_dir=str(tmp_path / 'out')))
    cfg = Config(dict(work_dir=str(tmp_path / 'w'), default_hooks=hooks))
    assert newest_checkpoint(cfg) == str(tmp_path / 'out/w/epoch_1.pth')


def test_going_on_from_an_earlier_checkpoint_beside_later_ones_is_refused(tiny_config, finished, tmp_path):
    work_dir = copied(finished, tmp_path)
    with pytest.raises(UserError, match='epoch_2.pth beside it is newer'):
        train(tiny_config, work_dir=str(work_dir), resume=str(work_dir / 'epoch_1.pth'))


@pytest.mark.parametrize(('extra', 'code'), [({}, 0), (signalled(signal.SIGTERM, 3), REQUEUE)])
def test_the_tool_ends_though_its_workers_leave_signals_to_it(tiny_config, tmp_path, extra, code):
    options = {'train_dataloader.num_workers': 2, 'val_dataloader.num_workers': 1, **extra}
    script = (
        'import sys; from mmconvnext.apis import train; from mmconvnext.command_line import run_tool\n'
        'import tests.test_training.test_interruption\n'
        'from argparse import Namespace\n'
        f'run_tool(train, Namespace(config={str(tiny_config)!r}, work_dir={str(tmp_path / "w")!r}, '
        f'cfg_options={options!r}))\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', script], cwd=REPO, timeout=200, capture_output=True, text=True
    )
    assert done.returncode == code, done.stderr[-2000:]


def test_another_number_of_batches_cannot_go_on(tiny_config, finished, tmp_path):
    work_dir = copied(finished, tmp_path)
    with pytest.raises(UserError, match='batch size over all processes: 16 -> 8'):
        train(
            tiny_config,
            work_dir=str(work_dir),
            resume='latest',
            cfg_options={'train_dataloader.batch_size': 8},
        )


@HOOKS.register_module()
class LossesHook(Hook):
    """Record the loss of every iteration in this process."""

    def before_train(self, runner):
        self.losses = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append(outputs['loss'].item())

    def after_train(self, runner):
        torch.save(self.losses, f'{runner.work_dir}/losses_{runner.rank}')


def test_two_ranks_with_half_the_batch_have_the_losses_of_one(tiny_config, tmp_path):
    """With augmentation; the tolerance is 1e-4, because sums are computed in another order."""
    options = {'train_dataloader.drop_last': True, 'train_dataloader.dataset.indices': 70}
    options |= {'train_cfg.max_epochs': 3, 'custom_hooks': [dict(type='mmconvnext.LossesHook')]}
    half = options | {'train_dataloader.batch_size': 8}
    hooks = dict(preload='tests.test_training.test_interruption')
    assert run(tiny_config, tmp_path / 'one', options, **hooks) == [0]
    assert run(tiny_config, tmp_path / 'two', half, ranks=2, **hooks) == [0, 0]
    whole = torch.tensor(torch.load(tmp_path / 'one/losses_0'))
    parts = [torch.tensor(torch.load(tmp_path / f'two/losses_{rank}')) for rank in (0, 1)]
    assert len(whole) == 12
    torch.testing.assert_close(sum(parts) / 2, whole, rtol=1e-4, atol=0)
