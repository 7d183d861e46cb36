"""One training at a time in a work dir."""

import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from mmconvnext.apis import evaluate, train
from mmconvnext.errors import UserError
from mmconvnext.training.locking import LOCK, OWNER, only_run_in
from tests.processes import run


def hold(folder, ready):
    with only_run_in(folder):
        ready.set()
        signal.pause()


@pytest.fixture
def holder(tmp_path):
    """Start a process that locks the work dir ``w``, and return its pid."""
    context = multiprocessing.get_context('fork')
    ready = context.Event()
    process = context.Process(target=hold, args=(tmp_path / 'w', ready))
    process.start()
    assert ready.wait(60)
    yield process
    process.kill()
    process.join()


def test_a_second_training_names_the_first(tiny_config, tmp_path, holder):
    with pytest.raises(UserError, match=f'training that is running .process {holder.pid} on '):
        train(tiny_config, work_dir=str(tmp_path / 'w'))
    assert sorted(path.name for path in (tmp_path / 'w').iterdir()) == ['.lock', OWNER]


def test_a_killed_training_blocks_nobody(tmp_path, holder):
    holder.kill()
    holder.join()
    with only_run_in(tmp_path / 'w'):
        assert json.loads((tmp_path / 'w' / OWNER).read_text())['pid'] == os.getpid()
    assert not list((tmp_path / 'w').glob('*'))


@pytest.mark.parametrize('content', [b'', b'{}', b'[1]', b'{"pid": "x"}', b'\xff' * 100_000, None])
def test_any_owner_file_gives_a_message(tmp_path, holder, content):
    (tmp_path / 'w' / OWNER).unlink()
    if content is None:
        os.mkfifo(tmp_path / 'w' / OWNER)
    else:
        (tmp_path / 'w' / OWNER).write_bytes(content)
    with pytest.raises(UserError, match='it has not said which process'), only_run_in(tmp_path / 'w'):
        pass


def test_a_link_in_place_of_the_owner_file_is_not_followed(tmp_path):
    (tmp_path / 'w').mkdir()
    (tmp_path / 'mine.txt').write_text('mine')
    (tmp_path / 'w' / OWNER).symlink_to(tmp_path / 'mine.txt')
    with only_run_in(tmp_path / 'w'):
        pass
    assert (tmp_path / 'mine.txt').read_text() == 'mine'


def test_unfinished_files_of_a_killed_run_go_and_others_stay(tmp_path):
    for name in ('.unfinished', '.last_checkpoint.a1b2c3d4', '.last_checkpoint.mine', '.mine', 'w.pth'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'file').write_text('x')
    with only_run_in(tmp_path):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ['.last_checkpoint.mine', '.mine', 'w.pth']


def test_a_run_that_is_refused_leaves_no_folder(tmp_path):
    with pytest.raises(KeyError), only_run_in(tmp_path / 'a/b'):
        raise KeyError
    assert not (tmp_path / 'a').exists()


def test_testing_in_the_work_dir_of_a_run_is_not_blocked(tiny_config, tmp_path):
    train(tiny_config, work_dir=str(tmp_path / 'w'), cfg_options={'train_cfg.max_epochs': 1}, rehearsal=False)
    with only_run_in(tmp_path / 'w'):
        evaluate(tiny_config, tmp_path / 'w/epoch_1.pth', work_dir=str(tmp_path / 'w'))


def test_the_folder_of_checkpoints_is_held_and_cleaned_like_the_work_dir(tiny_config, tmp_path, holder):
    """Two runs with different work dirs of the same name write to one ``out_dir``."""
    options = {'default_hooks.checkpoint.out_dir': str(tmp_path), 'train_cfg.max_epochs': 1}
    with pytest.raises(UserError, match=f'training that is running .process {holder.pid} on '):
        train(tiny_config, work_dir=str(tmp_path / 'other/w'), cfg_options=dict(options), rehearsal=False)
    assert not (tmp_path / 'other').exists()
    holder.kill()
    holder.join()
    (tmp_path / 'w/.unfinished').mkdir()
    (tmp_path / 'w/.unfinished/part').write_text('x')
    (tmp_path / 'w/.last_checkpoint.a1b2c3d4').mkdir()
    train(tiny_config, work_dir=str(tmp_path / 'other/w'), cfg_options=dict(options), rehearsal=False)
    assert (tmp_path / 'w/epoch_1.pth').is_file()
    assert not [*tmp_path.rglob('.[!.]*')]


def test_checkpoints_beside_a_relative_work_dir_are_found(tiny_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = {
        'default_hooks.checkpoint.out_dir': 'w',
        'train_cfg.max_epochs': 1,
    }  # not the absolute path of the work dir
    train(tiny_config, work_dir='w', cfg_options=dict(options), rehearsal=False)
    assert Path('w/w/epoch_1.pth').is_file()
    with pytest.raises(UserError, match=r'epoch_1\.pth of an earlier run'):
        train(tiny_config, work_dir='w', cfg_options=dict(options), rehearsal=False)


@pytest.mark.parametrize('name', [LOCK, OWNER])
def test_a_lock_that_cannot_be_written_is_explained_and_nothing_stays_held(tmp_path, name):
    """A folder with this name is refused like the file of another user, also for root."""
    (tmp_path / 'w' / name).mkdir(parents=True)
    opened = len([*Path('/proc/self/fd').iterdir()])
    explained = pytest.raises(UserError, match=f'{name}.*; another user trains there, .*delete that file, or')
    with explained, only_run_in(tmp_path / 'w'):
        pass
    assert len([*Path('/proc/self/fd').iterdir()]) == opened
    assert [path.name for path in (tmp_path / 'w').iterdir()] == [name]
    (tmp_path / 'w' / name).rmdir()
    with only_run_in(tmp_path / 'w'):
        pass


@pytest.mark.skipif(not hasattr(os, 'geteuid') or os.geteuid() != 0, reason='only root can act as two users')
def test_the_lock_of_another_user_is_explained(tmp_path):
    folder = tmp_path / 'w'
    folder.mkdir()
    (folder / LOCK).write_text('')
    (folder / OWNER).write_text('{"pid": 4711, "host": "node7", "since": "yesterday"}')
    for path in (folder, *list(tmp_path.parents)[:3], tmp_path):
        path.chmod(path.stat().st_mode | 0o755)
    folder.chmod(0o777)
    context = multiprocessing.get_context('fork')
    messages = context.SimpleQueue()
    process = context.Process(target=lock_as_nobody, args=(folder, messages))
    process.start()
    process.join()
    assert 'another user trains there' in (message := messages.get())
    assert 'process 4711 on node7' in message
    assert (folder / LOCK).exists()


def lock_as_nobody(folder, messages):
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    try:
        with only_run_in(folder):
            messages.put('was not refused')
    except BaseException as error:
        messages.put(f'{type(error).__name__}: {error}')


@pytest.mark.parametrize('name', ['work_dir', 'last_checkpoint', 'checkpoint'])
def test_an_error_while_the_first_process_looks_ends_all(tiny_config, tmp_path, name):
    """The other processes cannot see the error, and must not wait for a decision."""
    folder = tmp_path / 'w'
    if name == 'work_dir':
        folder.write_text('a file')
    elif name == 'last_checkpoint':
        (folder / name).mkdir(parents=True)
    else:
        folder.mkdir()
        (folder / 'epoch_1.pth').write_bytes(b'')
    assert run(tiny_config, folder, {}, ranks=2, resume='auto') == [1, 1]
