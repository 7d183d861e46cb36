"""The content of a checkpoint never removes or breaks anything, and the config takes precedence."""

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
from mmconvnext.models import LinearClsHead
from mmconvnext.registry import HOOKS, MODELS
from mmconvnext.training.resuming import newest_checkpoint
from tests.conftest import resumed
from tests.processes import run
from tests.test_training.test_finetune_folder import coloured, epochs

ONE_EPOCH = {'train_cfg.max_epochs': 1}


def changed(work_dir, change):
    """Change the content of the checkpoint."""
    file = work_dir / 'epoch_1.pth'
    checkpoint = torch.load(file, weights_only=False)
    change(checkpoint)
    torch.save(checkpoint, file)


@pytest.mark.parametrize('field', ['inside_epoch', 'keep_ckpt_ids', 'best_ckpt', 'last_ckpt'])
def test_names_in_a_resumed_file_remove_nothing(saved, work_dir, field):
    kept = [work_dir.parent / 'folder', work_dir / 'folder', work_dir.parent / 'epoch_7.pth']
    for folder in kept:
        folder.mkdir()
        (folder / 'mine.txt').write_text('mine')
    (work_dir / 'iter_2.pth').mkdir()  # named like a checkpoint, but not one
    (work_dir / 'iter_2.pth/mine.txt').write_text('mine')
    (work_dir / 'iter_3.pth').symlink_to(kept[0])
    (work_dir / 'notes.txt').write_text('mine')
    names = ['../folder', str(kept[0]), '../epoch_7.pth', 'folder', '.', '..', '', 'notes.txt', 'iter_3.pth']
    value = names if field in ('inside_epoch', 'keep_ckpt_ids') else str(kept[0])

    def add(checkpoint):
        checkpoint['message_hub']['runtime_info'][field] = value
        checkpoint['message_hub']['resumed_keys'][field] = True

    changed(work_dir, add)
    options = {'default_hooks.checkpoint.max_keep_ckpts': 1, 'default_hooks.checkpoint.every_iters': 1}
    resumed(saved, work_dir, **options)
    assert all((folder / 'mine.txt').is_file() for folder in [*kept, work_dir / 'iter_2.pth'])
    assert (work_dir / 'notes.txt').is_file()
    assert (work_dir / 'iter_3.pth').is_symlink()
    assert (work_dir / 'epoch_2.pth').is_file()
    assert not (work_dir / 'epoch_1.pth').exists()


def put(*path, value):
    """Return a change that sets a nested value of a checkpoint."""

    def change(checkpoint):
        node = checkpoint
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = value

    return change


def drop(*path):
    def change(checkpoint):
        node = checkpoint
        for key in path[:-1]:
            node = node[key]
        del node[path[-1]]

    return change


def first_moment(value, name='exp_avg'):
    def change(checkpoint):
        state = checkpoint['optimizer']['state']
        state[next(iter(state))][name] = value

    return change


def retyped(dtype, name='exp_avg'):
    def change(checkpoint):
        state = checkpoint['optimizer']['state']
        first = state[next(iter(state))]
        first[name] = first[name].to(dtype)

    return change


NUMPY = ('meta', 'replay', 'random_states', 0, 'numpy')
ODD = {
    'negative iteration': put('meta', 'iter', value=-4),
    'huge iteration': put('meta', 'iter', value=10**30),
    'iteration as text': put('meta', 'iter', value='4'),
    'epoch that is no number': put('meta', 'epoch', value=math.nan),
    'epoch as bool': put('meta', 'epoch', value=True),
    'no place': drop('meta', 'iter'),
    'no meta': drop('meta'),
    'meta as text': put('meta', value='epoch 1'),
    'negative seed': put('meta', 'seed', value=-1),
    'seed as list': put('meta', 'seed', value=[1]),
    'progress as list': put('meta', 'replay', value=[1]),
    'progress elsewhere': put('meta', 'replay', 'iter', value=3),
    'no batches': put('meta', 'replay', 'batches_per_epoch', value=0),
    'no states': put('meta', 'replay', 'random_states', value=[]),
    'state as text': put('meta', 'replay', 'random_states', value=['x']),
    'numpy place behind the end': put(
        *NUMPY, value=('MT19937', torch.zeros(624, dtype=torch.int64), 10**6, 0, 0.0)
    ),
    'numpy of another kind': put(*NUMPY, value=('PCG64', torch.zeros(624, dtype=torch.int64), 0, 0, 0.0)),
    'short torch state': put(
        'meta', 'replay', 'random_states', 0, 'torch', value=torch.zeros(3, dtype=torch.uint8)
    ),
    'python state as dict': put('meta', 'replay', 'random_states', 0, 'python', value={}),
    'more processes than states': put('meta', 'replay', 'processes', value=4),
    'validated as text': put('meta', 'replay', 'validated', value='x'),
    'no hub': drop('message_hub'),
    'hub as list': put('message_hub', value=[]),
    'numbers as keys': put('message_hub', 'runtime_info', 5, value=5),
    'history as text': put('message_hub', 'log_scalars', 'train/loss', value='x'),
    'score that is no number': put('message_hub', 'runtime_info', 'best_score', value=math.nan),
    'score as text': put('message_hub', 'runtime_info', 'best_score', value='high'),
    'best as list': put('message_hub', 'runtime_info', 'best_ckpt', value=['x']),
    'steps as text': put('message_hub', 'runtime_info', 'steps_skipped', value='x'),
    'no weights': drop('state_dict'),
    'weights as list': put('state_dict', value=[1]),
    'optimizer as text': put('optimizer', value='AdamW'),
    'no groups': put('optimizer', 'param_groups', value=[]),
    'groups as text': put('optimizer', 'param_groups', value=['x']),
    'group without parameters': put('optimizer', 'param_groups', 0, value={}),
    'moment of another shape': first_moment(torch.zeros(3)),
    'moment as text': first_moment('x'),
    'no moment': first_moment(None),
    'no second moment': first_moment(None, 'exp_avg_sq'),
    'moment as number': first_moment(0.5),
    'complex moment': retyped(torch.complex64),
    'whole moment': retyped(torch.int8, 'exp_avg_sq'),
    'moment of bools': retyped(torch.bool),
    'step as complex number': first_moment(torch.tensor(1j), 'step'),
    'negative step': first_moment(torch.tensor(-1.0), 'step'),
    'infinite step': first_moment(torch.tensor(math.inf), 'step'),
    'moment of nobody': put('optimizer', 'state', 10**6, value={}),
    'moments as text': put('optimizer', 'state', 0, value='x'),
    'record with another batch': put('meta', 'run', 'batch_size', value=10**30),
    'record with text': put('meta', 'run', 'images', value='many'),
}


@pytest.mark.parametrize('kind', ODD)
def test_a_state_that_no_run_has_ends_in_a_message(saved, work_dir, kind):
    changed(work_dir, ODD[kind])
    before = sorted(work_dir.iterdir())
    with pytest.raises(UserError, match=r'epoch_1\.pth'):
        resumed(saved, work_dir)
    assert {*before} <= {*work_dir.iterdir()}


def entry_of(checkpoint, number=-1):
    """The number of a parameter in the state of an optimizer."""
    return list(checkpoint['optimizer']['state'])[number]


def with_value(moment, value, number=-1):
    """A change of a single value of a moment."""

    def change(checkpoint):
        checkpoint['optimizer']['state'][entry_of(checkpoint, number)][moment].view(-1)[-1] = value

    return change


@pytest.mark.parametrize(
    'moment, value, found',
    [
        ('exp_avg', math.nan, 'finite'),
        ('exp_avg', -math.inf, 'finite'),
        ('exp_avg_sq', math.nan, 'finite'),
        ('exp_avg_sq', -1e-12, 'not negative'),
    ],
)
def test_moments_that_no_step_leaves_are_named(saved, work_dir, moment, value, found):
    changed(work_dir, with_value(moment, value))
    with pytest.raises(UserError, match=rf'epoch_1\.pth.*{moment} of the parameter head\.fc\.bias.*{found}'):
        resumed(saved, work_dir)


def test_the_type_of_a_moment_is_named(saved, work_dir):
    changed(work_dir, retyped(torch.int8))
    with pytest.raises(UserError, match=r'exp_avg of .*of float32, and it has a tensor .* of int8'):
        resumed(saved, work_dir)


@pytest.mark.parametrize('number', [0, 3, -1])
def test_a_missing_entry_of_a_parameter_is_named(saved, work_dir, number):
    names = []

    def change(checkpoint):
        entry = entry_of(checkpoint, number)
        shape = checkpoint['optimizer']['state'].pop(entry)['exp_avg'].shape
        names.extend(name for name, weight in checkpoint['state_dict'].items() if weight.shape == shape)

    changed(work_dir, change)
    with pytest.raises(UserError, match=r'epoch_1\.pth.* has no entry for the parameter \S*') as error:
        resumed(saved, work_dir)
    assert any(f'parameter {name} ' in str(error.value) for name in names)


def test_a_parameter_without_gradients_has_no_moments_to_miss(tiny_config, tmp_path):
    """One that the loss does not depend on, another that is frozen."""
    options = {'model.backbone.frozen_stages': 0, 'model.head.type': 'mmconvnext.HeadWithMore'}
    train(tiny_config, work_dir=str(tmp_path / 'w'), cfg_options=ONE_EPOCH | options, rehearsal=False)
    assert resumed((tiny_config,), tmp_path / 'w', **options).iter == 8
    assert 'holds no moments of head.unused: they start at zero' in logs_of(tmp_path / 'w')


@MODELS.register_module()
class HeadWithMore(LinearClsHead):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.unused = torch.nn.Parameter(torch.zeros(3))


def logs_of(work_dir):
    return ''.join(file.read_text() for file in work_dir.glob('*/*.log'))


@pytest.mark.parametrize('known', [['all_moments', 'run'], ['all_moments']])
def test_a_file_that_does_not_promise_entries_goes_on(saved, work_dir, known):
    """mmengine and earlier versions leave out what had no gradient; nothing tells that from damage."""

    def change(checkpoint):
        for key in known:
            del checkpoint['meta'][key]
        del checkpoint['optimizer']['state'][entry_of(checkpoint)]

    changed(work_dir, change)
    resumed(saved, work_dir)
    assert 'holds no moments of head.fc.bias: they start at zero' in logs_of(work_dir)


FOREIGN_SCHEDULE = {
    'text': 'x',
    'a method': [{'step': 'x', '_get_value': 'x', '_global_step': 4, 'last_step': 4, 'base_values': [1.0]}],
    'numbers': [{'_global_step': 10**30, 'last_step': math.nan, 'base_values': ['x']}],
    'none': [],
}


@pytest.mark.parametrize('kind', FOREIGN_SCHEDULE)
def test_a_foreign_state_of_a_schedule_changes_no_rate(saved, work_dir, kind):
    honest = shutil.copytree(work_dir, work_dir.parent / 'honest')
    changed(work_dir, put('param_schedulers', value=FOREIGN_SCHEDULE[kind]))
    expected, runner = resumed(saved, honest), resumed(saved, work_dir)
    torch.testing.assert_close(runner.model.state_dict(), expected.model.state_dict(), rtol=0, atol=0)


def test_settings_in_the_optimizer_of_a_file_are_not_used(saved, work_dir):
    def change(checkpoint):
        for group in checkpoint['optimizer']['param_groups']:
            group.update(lr='x', weight_decay=10.0, betas=(0.0, 0.0), maximize=True)

    honest = shutil.copytree(work_dir, work_dir.parent / 'honest')
    changed(work_dir, change)
    expected, runner = resumed(saved, honest), resumed(saved, work_dir)
    torch.testing.assert_close(runner.model.state_dict(), expected.model.state_dict(), rtol=0, atol=0)


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


def test_optimizers_with_other_moments_go_on(tiny_config, tmp_path):
    """RMSprop stores square_avg; SGD without momentum stores nothing and can start later."""
    for optimizer, later in (
        (dict(type='RMSprop', centered=True, momentum=0.9), {}),
        (dict(type='SGD'), dict(momentum=0.9)),
    ):
        options = {'optim_wrapper.optimizer': dict(_delete_=True, lr=1e-3, weight_decay=0.0, **optimizer)}
        work_dir = tmp_path / optimizer['type']
        train(tiny_config, work_dir=str(work_dir), cfg_options=ONE_EPOCH | options, rehearsal=False)
        options['optim_wrapper.optimizer'].update(later)
        options |= {'train_cfg.max_epochs': 2}
        assert resumed((tiny_config,), work_dir, **options).iter == 8
    changed(tmp_path / 'RMSprop', first_moment(torch.zeros(2), 'square_avg'))
    (tmp_path / 'RMSprop/epoch_2.pth').unlink()
    options = {'optim_wrapper.optimizer': dict(_delete_=True, type='RMSprop', lr=1e-3, weight_decay=0.0)}
    with pytest.raises(UserError, match='square_avg'):
        resumed((tiny_config,), tmp_path / 'RMSprop', **options)


def test_added_pictures_are_counted(tmp_path):
    photos = coloured(tmp_path / 'photos')
    options = dict(data_root=str(photos), work_dir=str(tmp_path / 'w'), rehearsal=False)
    train('convnext-v2-atto_ft_folder', **options, cfg_options=epochs(1))
    shutil.copy(photos / 'red/0.png', photos / 'red/another.png')
    with pytest.raises(UserError, match=r'number of training images: 16 -> 17\)') as error:
        train('convnext-v2-atto_ft_folder', **options, resume='latest', cfg_options=epochs(2))
    assert not re.search('[0-9a-f]{12}', str(error.value))


def test_moments_of_another_optimizer_are_refused(saved, work_dir):
    options = {'optim_wrapper.optimizer': dict(_delete_=True, type='Adam', lr=0.1, weight_decay=0.05)}
    changed(
        work_dir,
        lambda checkpoint: [
            s.clear() or s.update(momentum_buffer=None) for s in checkpoint['optimizer']['state'].values()
        ],
    )
    with pytest.raises(UserError, match='Adam needs step, exp_avg'):
        resumed(saved, work_dir, **options)


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


@pytest.mark.parametrize('run_id', [5, '', 'x' * 32, ['0' * 32], '0' * 33])
def test_an_id_that_no_run_has_is_refused(saved, work_dir, run_id):
    changed(work_dir, put('message_hub', 'runtime_info', 'run_id', value=run_id))
    with pytest.raises(UserError, match='run_id should be 32 hexadecimal digits'):
        resumed(saved, work_dir)


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
