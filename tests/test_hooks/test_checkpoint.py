"""A run writes its checkpoints and leaves other files in the folder alone."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import HistoryBuffer

from mmconvnext.apis import train
from mmconvnext.errors import UserError
from mmconvnext.hooks.checkpoint import has_stepped
from tests.conftest import resumed, write_tiny_config

ONE_EPOCH = {'train_cfg.max_epochs': 1}


FOREIGN = ['iter_1.pth', 'iter_2.pth', 'best_accuracy_top1_epoch_1.pth', 'epoch_2.pth', 'iter_6.pth']


@pytest.mark.parametrize('kind', ['of another run', 'without an id', 'text'])
def test_checkpoints_that_another_wrote_are_kept(saved, work_dir, kind):
    """They keep their names, unless the run needs the name."""
    own = torch.load(work_dir / 'epoch_1.pth', weights_only=False)
    info = own['message_hub']['runtime_info']
    own['meta']['iter'] = own['meta']['epoch'] = 0  # not the one to resume from
    if kind == 'of another run':
        info['run_id'] = '0' * 32
    else:
        del info['run_id']
    for path in work_dir.glob('best_*'):
        path.unlink()
    for name in FOREIGN:
        if kind == 'text':
            (work_dir / name).write_text('mine')
        else:
            torch.save(own, work_dir / name)
    before = {name: (work_dir / name).read_bytes() for name in FOREIGN}
    hook = 'default_hooks.checkpoint'
    options = {f'{hook}.max_keep_ckpts': 1, f'{hook}.every_iters': 1, f'{hook}.save_best': 'accuracy/top1'}
    resumed(saved, work_dir, **options)
    found = {path.name.removesuffix('.old'): path for path in work_dir.glob('*.pth')}
    found |= {path.name.removesuffix('.old'): path for path in work_dir.glob('*.old')}
    assert {name: found[name].read_bytes() for name in FOREIGN} == before
    names = {path.name for path in work_dir.glob('*_*.pth*')}
    assert {'epoch_2.pth', 'epoch_2.pth.old', 'iter_6.pth.old'} <= names
    assert not names & {'epoch_1.pth', 'iter_5.pth', 'iter_6.pth', 'iter_7.pth'}  # the run deleted its own


def test_a_file_that_is_kept_replaces_no_other_one(saved, work_dir):
    (work_dir / 'epoch_2.pth').write_text('mine')
    (work_dir / 'epoch_2.pth.old').write_text('my older one')
    resumed(saved, work_dir)
    assert (work_dir / 'epoch_2.pth.old').read_text() == 'my older one'
    assert (work_dir / 'epoch_2.pth.old1').read_text() == 'mine'


def test_checkpoints_from_before_an_interruption_are_the_runs_own(tiny_config, tmp_path):
    hook = 'default_hooks.checkpoint'
    options = {f'{hook}.max_keep_ckpts': 3, f'{hook}.save_best': 'accuracy/top1', f'{hook}.every_iters': 3}
    names = []
    for epochs in (1, 2, 5):  # within the limit, until the last part
        train(
            tiny_config, work_dir=str(tmp_path / 'w'), resume='auto', rehearsal=False,
            cfg_options={**options, 'train_cfg.max_epochs': epochs},
        )  # fmt: skip
        names.append(sorted(path.name for path in (tmp_path / 'w').glob('[ei]*.pth*')))
    assert names == [
        ['epoch_1.pth'],
        ['epoch_1.pth', 'epoch_2.pth'],
        ['epoch_3.pth', 'epoch_4.pth', 'epoch_5.pth'],
    ]
    assert len(list((tmp_path / 'w').glob('best_*'))) == 1


POINTERS = {
    'empty': b'',
    'huge': b'x' * 5_000_000,
    'not UTF-8': b'\xff\xfe\x00',
    'outside': b'/etc/passwd',
    'relative': b'../../epoch_9.pth',
    'missing': b'epoch_9.pth',
}


@pytest.mark.parametrize('kind', [*POINTERS, 'a link', 'nothing'])
def test_the_pointer_is_not_read_and_written_anew(saved, work_dir, kind):
    pointer = work_dir / 'last_checkpoint'
    pointer.unlink()
    (work_dir.parent / 'mine.txt').write_text('mine')
    if kind == 'a link':
        pointer.symlink_to(work_dir.parent / 'mine.txt')
    elif kind != 'nothing':
        pointer.write_bytes(POINTERS[kind])
    assert resumed(saved, work_dir).iter == 8
    assert pointer.read_text() == str(work_dir / 'epoch_2.pth') and not pointer.is_symlink()
    assert (work_dir.parent / 'mine.txt').read_text() == 'mine'


@pytest.mark.parametrize('resume', [None, 'auto', 'latest'])
def test_a_folder_in_place_of_the_pointer_is_refused_before_the_start(saved, work_dir, tmp_path, resume):
    folder = tmp_path / 'new' if resume is None else work_dir
    (folder / 'last_checkpoint').unlink(missing_ok=True)
    (folder / 'last_checkpoint').mkdir(parents=True)
    (folder / 'last_checkpoint/mine.txt').write_text('mine')
    before = sorted(folder.rglob('*'))
    with pytest.raises(UserError, match='last_checkpoint is a folder'):
        train(saved[0], work_dir=str(folder), resume=resume, rehearsal=False)
    assert sorted(folder.rglob('*')) == before


@pytest.mark.parametrize('accumulated', [1, 2])
def test_weights_of_the_start_are_not_the_best(tmp_path, accumulated):
    """With a step for each epoch, the warm-up has a rate of 0 in the whole first one."""
    length = dict(iterations=8 * accumulated, warmup_iterations=4 * accumulated)
    options = {
        'train_dataloader.dataset.indices': 16 * accumulated,
        'optim_wrapper.accumulative_counts': accumulated,
        'param_scheduler': [dict(type='mmconvnext.WarmupCosineLR', by_epoch=False, **length)],
        'default_hooks.checkpoint.save_best': 'accuracy/top1',
    }
    config, work_dir = write_tiny_config(tmp_path), tmp_path / 'w'
    train(config, work_dir=str(work_dir), cfg_options={**options, **ONE_EPOCH}, rehearsal=False)
    assert not list(work_dir.glob('best_*'))
    resumed((config,), work_dir, **options)
    assert [path.name for path in work_dir.glob('best_*')] == ['best_accuracy_top1_epoch_2.pth']


@pytest.mark.parametrize(
    ('rates', 'accumulated', 'max_iters', 'max_length', 'expected'),
    [
        ([0, 0, 0.1], 2, 3, 99, True),  # the last step is of one iteration
        ([0, 0, 0.1], 2, 8, 99, False),  # it accumulates still
        ([0, 0.1, 0, 0], 2, 8, 99, True),
        ([0.1, 0, 0.1, 0, 0.1], 2, 8, 99, False),
        ([0.1, 0, 0.1, 0, 0.1], 2, 8, 4, False),  # its first value is gone
        ([0, 0, 0, 0.1, 0], 2, 8, 4, True),
    ],
)
def test_steps_are_counted_from_the_start_of_the_run(rates, accumulated, max_iters, max_length, expected):
    history = HistoryBuffer(max_length=max_length)
    for rate in rates:
        history.update(rate)
    runner = SimpleNamespace(
        iter=len(rates),
        max_iters=max_iters,
        optim_wrapper=SimpleNamespace(_accumulative_counts=accumulated),
        message_hub=SimpleNamespace(log_scalars={'train/lr': history}),
    )
    assert has_stepped(runner) == expected
