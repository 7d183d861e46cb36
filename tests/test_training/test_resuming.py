"""A resumed run follows its config, and refuses or logs what differs from before."""

import math
import os
import re
import shutil
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook

from mmconvnext.apis import train
from mmconvnext.apis.convert import convert
from mmconvnext.errors import UserError
from mmconvnext.registry import HOOKS
from mmconvnext.training.resuming import newest_checkpoint
from tests.checkpoint_changes import ONE_EPOCH, changed, drop
from tests.conftest import resumed
from tests.processes import run
from tests.test_training.test_finetune_folder import coloured, epochs

REFUSED = {
    'train_dataloader.batch_size': 32,
    'optim_wrapper.accumulative_counts': 2,
    'train_dataloader.dataset.indices': 63,  # the same number of batches
    'train_dataloader.sampler.shuffle': False,
    'randomness.seed': 7,
}


@pytest.mark.parametrize('option', REFUSED)
def test_other_data_or_batches_are_refused(saved, work_dir, option):
    before = (work_dir / 'epoch_1.pth').read_bytes()
    with pytest.raises(UserError, match='start a new run from its weights'):
        resumed(saved, work_dir, **{option: REFUSED[option]})
    assert (work_dir / 'epoch_1.pth').read_bytes() == before
    assert not (work_dir / '.lock').exists()


@HOOKS.register_module()
class RatesHook(Hook):
    """Record the settings of the optimizer in each iteration."""

    def before_train(self, runner):
        self.rates = {}

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        groups = runner.optim_wrapper.optimizer.param_groups
        self.rates[runner.iter] = [
            [group[name] for name in ('lr', 'weight_decay', 'betas')] for group in groups
        ]


SCHEDULES = {
    'steps': [dict(type='MultiStepLR', milestones=[1, 2], gamma=0.1, by_epoch=True)],
    'warm-up and cosine': [
        dict(type='LinearLR', start_factor=0.1, begin=0, end=3, by_epoch=False),
        dict(type='CosineAnnealingLR', begin=3, end=12, T_max=9, by_epoch=False),
    ],
    'one cycle': [dict(type='OneCycleLR', eta_max=0.01, total_steps=12, by_epoch=False)],
    'ours': dict(type='mmconvnext.WarmupCosineLR', convert_to_iter_based=True, epochs=3, warmup_epochs=1),
    'weight decay': [
        dict(type='CosineAnnealingParamScheduler', param_name='weight_decay', T_max=12, by_epoch=False)
    ],
    'none': None,
}


@pytest.mark.parametrize('before', ['ours', 'one cycle'])
@pytest.mark.parametrize('after', SCHEDULES)
def test_changed_rates_are_those_of_a_run_that_had_them_from_the_start(tiny_config, tmp_path, before, after):
    def rates(work_dir, schedule, epochs, resume=None, **options):
        hook = {'custom_hooks': [dict(type='mmconvnext.RatesHook')], 'train_cfg.max_epochs': epochs}
        options = hook | options | {'param_scheduler': deepcopy(SCHEDULES[schedule])}
        runner = train(
            tiny_config, work_dir=str(tmp_path / work_dir), resume=resume, cfg_options=options,
            no_validate=True, rehearsal=False,
        )  # fmt: skip
        return next(hook.rates for hook in runner.hooks if isinstance(hook, RatesHook))

    settings = {'optim_wrapper.optimizer.lr': 0.004, 'optim_wrapper.optimizer.weight_decay': 0.1}
    rates('w', before, 1)
    found = rates('w', after, 3, resume='latest', **settings)
    expected = rates('whole', after, 3, **settings)
    assert found == {iteration: expected[iteration] for iteration in range(4, 12)}


def test_the_log_names_every_changed_setting(saved, work_dir):
    resumed(saved, work_dir, **{'optim_wrapper.optimizer.lr': 0.001, 'default_hooks.checkpoint.interval': 2})
    log = sorted(work_dir.glob('*/*.log'))[-1].read_text()
    assert 'optim_wrapper.optimizer.lr: 0.002 -> 0.001' in log
    assert 'default_hooks.checkpoint.interval: 1 -> 2' in log
    assert 'holds from iteration 5 on' in log


def test_the_log_names_the_rate_that_is_used(tiny_config, tmp_path):
    scaled = {'auto_scale_lr': dict(enable=True, base_batch_size=64), 'param_scheduler': None}
    options = {'resume': None, 'work_dir': str(tmp_path / 'w'), 'rehearsal': False}
    train(tiny_config, **options, cfg_options=ONE_EPOCH | deepcopy(scaled))
    options['resume'] = 'latest'
    changes = {'optim_wrapper.optimizer.lr': 0.01}
    schedule = {'param_scheduler': dict(SCHEDULES['ours'], warmup_epochs=0, min_lr=0.0)}
    runner = train(tiny_config, **options, cfg_options=deepcopy(scaled) | changes | schedule)
    log = sorted((tmp_path / 'w').glob('*/*.log'))[-1].read_text()
    used = 0.0025 * (1 + math.cos(math.pi * 4 / 12)) / 2  # 16 images of 64, after 4 of 12 iterations
    assert f'the learning rate is {used:g}\n' in log
    rates = runner.optim_wrapper.get_lr()
    assert rates['base_lr'][0] == max(rates['lr']) < used


def test_a_checkpoint_without_a_record_goes_on(saved, work_dir):
    changed(work_dir, drop('meta', 'run'))
    assert resumed(saved, work_dir).epoch == 2


def test_a_complete_run_is_left_as_it_is(saved, work_dir):
    before = (work_dir / 'epoch_1.pth').read_bytes()
    runner = resumed(saved, work_dir, **ONE_EPOCH)
    assert (runner.epoch, (work_dir / 'epoch_1.pth').read_bytes()) == (1, before)
    log = sorted(work_dir.glob('*/*.log'))[-1].read_text()
    assert 'is of a complete run: 4 of 4 iterations' in log


@pytest.mark.parametrize('kind', [Path.mkdir, os.mkfifo])
def test_files_of_the_run_are_not_folders_or_pipes(saved, work_dir, kind):
    for name in (saved[0].name, 'classes.csv', 'last_checkpoint', 'broken_images.txt'):
        (work_dir / name).unlink(missing_ok=True)
        kind(work_dir / name)
        with pytest.raises(UserError, match=f'{name} is a .*choose another folder'):
            resumed(saved, work_dir)
        (work_dir / name).rmdir() if kind is Path.mkdir else (work_dir / name).unlink()


def test_added_pictures_are_counted(tmp_path):
    photos = coloured(tmp_path / 'photos')
    options = dict(data_root=str(photos), work_dir=str(tmp_path / 'w'), rehearsal=False)
    train('convnext-v2-atto_ft_folder', **options, cfg_options=epochs(1))
    shutil.copy(photos / 'red/0.png', photos / 'red/another.png')
    with pytest.raises(UserError, match=r'number of training images: 16 -> 17\)') as error:
        train('convnext-v2-atto_ft_folder', **options, resume='latest', cfg_options=epochs(2))
    assert not re.search('[0-9a-f]{12}', str(error.value))


def test_a_run_whose_average_is_left_out_goes_on_from_the_weights_themselves(tiny_config, tmp_path):
    average = {'custom_hooks': [dict(type='mmconvnext.EMAHook', momentum=0.1)]}
    train(tiny_config, work_dir=str(tmp_path / 'w'), cfg_options=ONE_EPOCH | average, rehearsal=False)
    train(tiny_config, work_dir=str(tmp_path / 'plain'), cfg_options=dict(ONE_EPOCH), rehearsal=False)
    ends = [
        train(
            tiny_config,
            work_dir=str(tmp_path / name),
            resume='latest',
            rehearsal=False,
            cfg_options={'custom_hooks': []},
        )
        for name in ('w', 'plain')
    ]
    torch.testing.assert_close(ends[0].model.state_dict(), ends[1].model.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize('kind', ['pipe', 'device', 'link to a pipe'])
def test_only_files_are_resumed(saved, tmp_path, kind):
    file = tmp_path / 'epoch_1.pth'
    if kind == 'pipe':
        os.mkfifo(file)
    elif kind == 'device':
        file = '/dev/zero'
    else:
        os.mkfifo(tmp_path / 'pipe')
        file.symlink_to(tmp_path / 'pipe')
    with pytest.raises(UserError, match='expected a regular file'):
        train(saved[0], work_dir=str(tmp_path / 'w'), resume=str(file))
    assert not (tmp_path / 'w').exists()


@pytest.mark.parametrize('kind', ['transformers', 'published', 'other', 'work dir'])
def test_weights_and_folders_are_not_resumed(saved, tmp_path, kind):
    source, message = str(tmp_path / 'folder'), 'holds weights, but not the state.*load_from=.*folder'
    if kind == 'transformers':
        convert(saved[1] / 'epoch_1.pth', source, target_format='transformers')
    elif kind == 'published':
        source, message = 'convnext_atto.d2_in1k', 'not the state.*load_from=convnext_atto.d2_in1k'
    elif kind == 'other':
        Path(source).mkdir()
        message = 'is a folder; name a checkpoint'
    else:
        source, message = str(saved[1]), f'--resume --work-dir {saved[1]}'
    with pytest.raises(UserError, match=message):
        train(saved[0], work_dir=str(tmp_path / 'w'), resume=source)
    assert not (tmp_path / 'w').exists()


def test_the_pointer_of_a_work_dir_leads_nowhere(saved, work_dir, tmp_path):
    other = tmp_path / 'other'
    other.mkdir()
    (work_dir / 'epoch_1.pth').rename(other / 'epoch_1.pth')
    (work_dir / 'last_checkpoint').write_text(str(other / 'epoch_1.pth'))
    assert newest_checkpoint(Config(dict(work_dir=str(work_dir)))) is None


def folder_of_deepspeed(path):
    path.mkdir(parents=True)
    (path / 'mp_rank_00_model_states.pt').write_bytes(b'x')
    return path


def test_a_folder_of_deepspeed_is_never_gone_on_from(saved, work_dir, tmp_path):
    """It is skipped if there are files, named in an error if there are none, and protected from a new run."""
    folder = folder_of_deepspeed(work_dir / 'epoch_7.pth')
    cfg = Config(dict(work_dir=str(work_dir)))
    assert newest_checkpoint(cfg) == str(work_dir / 'epoch_1.pth')
    with pytest.raises(UserError, match=r'epoch_7\.pth is a folder'):
        train(saved[0], work_dir=str(work_dir), resume=str(folder))
    (work_dir / 'epoch_1.pth').unlink()
    with pytest.raises(UserError, match='is a folder as DeepSpeed writes it, which cannot be resumed'):
        resumed(saved, work_dir)
    with pytest.raises(UserError, match=r'epoch_7\.pth of an earlier run'):
        train(saved[0], work_dir=str(work_dir))
    # A name whose number is not at the end.
    folder_of_deepspeed(tmp_path / 'other' / 'e7-net.pth')
    hooks = dict(checkpoint=dict(filename_tmpl='e{}-net.pth'))
    with pytest.raises(UserError, match='is a folder as DeepSpeed writes it'):
        newest_checkpoint(Config(dict(work_dir=str(tmp_path / 'other'), default_hooks=hooks)))


def test_another_way_to_make_batches_is_logged(saved, work_dir):
    resumed(saved, work_dir, **{'train_dataloader.collate_fn': dict(type='pseudo_collate')})
    log = sorted(work_dir.glob('*/*.log'))[-1].read_text()
    assert 'train_dataloader.collate_fn.type: default_collate -> pseudo_collate' in log


def test_another_number_of_processes_goes_on_with_the_same_total_batch(tiny_config, tmp_path):
    half = {'train_dataloader.batch_size': 8}
    assert run(tiny_config, tmp_path / 'w', ONE_EPOCH | half, ranks=2) == [0, 0]
    runner = train(tiny_config, work_dir=str(tmp_path / 'w'), resume='latest', rehearsal=False)
    assert runner.iter == 8
    log = sorted((tmp_path / 'w').glob('*/*.log'))[-1].read_text()
    assert 'processes: 2 -> 1' in log
    with pytest.raises(UserError, match='batch size over all processes: 16 -> 8'):
        train(tiny_config, work_dir=str(tmp_path / 'w'), resume='latest', cfg_options=half)
