import http.server
import pickle
import threading
from functools import partial

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader

from mmconvnext.checkpoints import load_checkpoint, use_safe_loading
from mmconvnext.errors import UserError


class RunsCode:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), 'w'))


@pytest.fixture
def checkpoint(tmp_path):
    """As mmengine writes them: weights, history, and config texts."""
    history = HistoryBuffer([1.0, 0.5], [1, 1])
    content = dict(
        state_dict={'weight': torch.randn(3)},
        message_hub=dict(
            log_scalars={'loss': history}, runtime_info={'iter': np.int64(7), 'lr': np.float32(0.1)}
        ),
        meta=dict(epoch=2, cfg='model = dict()', config='raise SystemExit("config text was executed")'),
    )
    file = tmp_path / 'epoch_2.pth'
    torch.save(content, file)
    return file


@pytest.mark.parametrize('mmap', [False, True])
def test_checkpoint_of_mmengine_loads_with_its_history(checkpoint, mmap):
    content = load_checkpoint(checkpoint, mmap=mmap)
    assert content['message_hub']['log_scalars']['loss'].current() == 0.5
    assert content['message_hub']['runtime_info']['iter'] == 7


def test_mmengine_itself_loads_safely_and_sees_no_config_text_to_execute(checkpoint):
    use_safe_loading()
    content = CheckpointLoader.load_checkpoint(str(checkpoint), map_location='cpu')
    assert 'config' not in content['meta']
    assert content['meta']['epoch'] == 2


@pytest.mark.parametrize('legacy', [False, True])
def test_code_in_a_checkpoint_is_named_and_not_run(tmp_path, legacy):
    file, marker = tmp_path / 'evil.pth', tmp_path / 'was_run'
    torch.save(
        {'state_dict': {'w': torch.ones(1)}, 'extra': RunsCode(marker)},
        file,
        _use_new_zipfile_serialization=not legacy,
    )
    use_safe_loading()
    for load in (load_checkpoint, CheckpointLoader.load_checkpoint):
        with pytest.raises(UserError, match='wants to call (io|_io).open, which can run foreign code'):
            load(str(file))
    assert not marker.exists()


def truncated(file):
    file.write_bytes(file.read_bytes()[:-200])


def text(file):
    file.write_text('<html>404 Not Found</html>')


def empty(file):
    file.write_bytes(b'')


def plain_pickle(file):
    file.write_bytes(pickle.dumps({'state_dict': 3}))


@pytest.mark.parametrize('damage', [truncated, text, empty, plain_pickle])
def test_damaged_file_is_named_with_its_size(checkpoint, damage):
    damage(checkpoint)
    with pytest.raises(
        UserError, match=rf'{checkpoint.name} \([\d,]+ bytes\) is truncated or not a checkpoint'
    ):
        load_checkpoint(checkpoint)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match='nothing.pth does not exist'):
        load_checkpoint(tmp_path / 'nothing.pth')


def test_file_that_holds_no_dict_says_what_it_holds(tmp_path):
    torch.save(torch.ones(2), tmp_path / 'tensor.pth')
    with pytest.raises(UserError, match='holds a Tensor; a checkpoint is a dict of weights'):
        load_checkpoint(tmp_path / 'tensor.pth')


@pytest.fixture
def server(tmp_path):
    """A folder over HTTP on this machine, and torch.hub's cache in a folder of its own."""
    folder = tmp_path / 'served'
    folder.mkdir()
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield folder, f'http://127.0.0.1:{httpd.server_port}'
        httpd.shutdown()
        thread.join()


def test_url_is_downloaded_once_and_checked_by_the_hash_in_its_name(
    server, checkpoint, tmp_path, monkeypatch
):
    import hashlib

    folder, url = server
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()[:8]
    good = folder / f'net_20260101-{digest}.pth'
    good.write_bytes(checkpoint.read_bytes())
    assert load_checkpoint(f'{url}/{good.name}')['meta']['epoch'] == 2
    good.unlink()
    assert load_checkpoint(f'{url}/{good.name}')['meta']['epoch'] == 2  # from the cache

    wrong = folder / 'net_20260101-00000000.pth'
    wrong.write_bytes(checkpoint.read_bytes())
    with pytest.raises(UserError, match='cannot download'):
        load_checkpoint(f'{url}/{wrong.name}')
    assert not list((tmp_path / 'cache').rglob('*00000000*'))


def test_urls_with_the_same_last_part_are_kept_apart(server, tmp_path, monkeypatch):
    folder, url = server
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    for name in ('a', 'b'):
        (folder / name).mkdir()
        torch.save({'weight': torch.ones(1), 'name': name}, folder / name / 'model.pth')
    assert [load_checkpoint(f'{url}/{name}/model.pth')['name'] for name in ('a', 'b')] == ['a', 'b']


@pytest.mark.parametrize('scheme', ['torchvision://', 'open-mmlab://', 's3://bucket/', 'mmcls://'])
def test_schemes_that_unpickle_blindly_are_refused(scheme):
    use_safe_loading()
    with pytest.raises(UserError, match='only files and http'):
        CheckpointLoader.load_checkpoint(f'{scheme}resnet50', map_location='cpu')


def test_unreachable_url_says_where_to_put_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    with pytest.raises(UserError, match=r'put the file at .*cache.*net\.pth'):
        load_checkpoint('http://127.0.0.1:9/net.pth')
