import pickle

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


@pytest.mark.parametrize('scheme', ['torchvision://', 'open-mmlab://', 's3://bucket/', 'mmcls://'])
def test_schemes_that_unpickle_blindly_are_refused(scheme):
    use_safe_loading()
    with pytest.raises(UserError, match='only files, http'):
        CheckpointLoader.load_checkpoint(f'{scheme}resnet50', map_location='cpu')
