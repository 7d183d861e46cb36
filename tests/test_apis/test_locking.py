"""One training at a time in a work dir."""

import json
import multiprocessing
import os
import signal

import pytest

from mmconvnext.apis import evaluate, train
from mmconvnext.apis.locking import OWNER, only_run_in
from mmconvnext.errors import UserError


def hold(folder, ready):
    with only_run_in(folder):
        ready.set()
        signal.pause()


@pytest.fixture
def holder(tmp_path):
    """The pid of a process that holds the work dir ``w``."""
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
