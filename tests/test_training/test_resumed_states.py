"""The content of a resumed checkpoint never removes or breaks anything, or changes settings."""

import math
import shutil

import pytest
import torch

from mmconvnext.apis import train
from mmconvnext.errors import UserError
from mmconvnext.models import LinearClsHead
from mmconvnext.registry import MODELS
from tests.checkpoint_changes import ONE_EPOCH, changed, drop, entry_of, first_moment, logs_of, put, retyped
from tests.conftest import resumed


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


@pytest.mark.parametrize('run_id', [5, '', 'x' * 32, ['0' * 32], '0' * 33])
def test_an_id_that_no_run_has_is_refused(saved, work_dir, run_id):
    changed(work_dir, put('message_hub', 'runtime_info', 'run_id', value=run_id))
    with pytest.raises(UserError, match='run_id should be 32 hexadecimal digits'):
        resumed(saved, work_dir)
