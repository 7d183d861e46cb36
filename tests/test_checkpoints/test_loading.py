import json
import os
import pickle
import random
import struct
import zipfile
from argparse import Namespace
from collections import Counter

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader

from mmconvnext.checkpoints import load_checkpoint
from mmconvnext.errors import UserError
from mmconvnext.zoo.mmengine_loader import safe_loading


class RunsCode:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), 'w'))


@pytest.fixture
def checkpoint(tmp_path):
    """Return a checkpoint as mmengine writes it: weights, history and config texts."""
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
    with safe_loading():
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
    named = 'it calls (io|_io).open, which can run arbitrary code'
    for load in (load_checkpoint, CheckpointLoader.load_checkpoint):
        with safe_loading(), pytest.raises(UserError, match=named):
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
    with safe_loading(), pytest.raises(UserError, match='only files, http'):
        CheckpointLoader.load_checkpoint(f'{scheme}resnet50', map_location='cpu')


def expanded():
    return torch.ones(1).expand(4000, 4000)


def shared():
    value = ['x']
    for _ in range(40):
        value = [value] * 10
    return value


def deep():
    value = []
    for _ in range(100):
        value = [value]
    return value


@pytest.mark.parametrize('legacy', [False, True])
@pytest.mark.parametrize(
    ('make', 'reason'),
    [
        (expanded, r'an expanded tensor: shape \(4000, 4000\) with 1 stored elements'),
        (shared, r'its values contain [\d,]+ references to each other'),
        (deep, 'nested more than 64 levels deep'),
        (lambda: np.array(['a'], dtype=object), "it contains an array of dtype 'O"),
        (lambda: np.zeros(2, 'f4,i4'), "it contains an array of dtype 'V"),
        (lambda: bytearray(b'12'), 'it calls bytearray'),
        (lambda: {2**70: 1}, 'a key that is not a short string or number'),
        (lambda: {'y' * 5000: 1}, 'a key that is not a short string or number'),
        (lambda: 1 << 1000, 'it contains an integer of 126 bytes'),
        (lambda: torch.ones(2).to_sparse(), 'it calls torch'),
        (lambda: torch.ones(2, device='meta'), 'it calls torch._utils._rebuild_meta_tensor'),
    ],
)
def test_more_than_plain_values_is_refused_before_it_is_unpickled(
    tmp_path, monkeypatch, make, reason, legacy
):
    file = tmp_path / 'odd.pth'
    torch.save(
        dict(state_dict=dict(a=torch.ones(3)), odd=make()), file, _use_new_zipfile_serialization=not legacy
    )
    monkeypatch.setattr(torch, 'load', None)  # calling it would give another message
    with pytest.raises(UserError, match=reason):
        load_checkpoint(file)


@pytest.mark.parametrize('legacy', [False, True])
def test_what_trainers_store_beside_weights_is_loaded(tmp_path, legacy):
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(4, 2)).sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5, 5])
    content = dict(
        model=model.state_dict(),
        ema=model.state_dict(),
        optimizer=optimizer.state_dict(),
        schedule=schedule.state_dict(),
        args=Namespace(lr=1e-3, betas=[0.9, 0.999], resume=None, device=torch.device('cuda', 1)),
        random=random.getstate(),
        plain=[{1, 2}, 1j, b'bytes', torch.Size([1, 2]), torch.float16, 2**100, -1, np.float16(2)],
        arrays=[np.arange(6).reshape(2, 3), np.ones((2, 2), '>f4', order='F')],
        views=[torch.ones(4, 5).t(), torch.ones(0, 3), torch.arange(10)[3:5], torch.tensor(1.0).half()],
        parameter=torch.nn.Parameter(torch.ones(2)),
    )
    file = tmp_path / 'last.pth'
    torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    loaded = load_checkpoint(file)
    assert loaded['schedule']['milestones'] == Counter({5: 2, 3: 1})
    assert loaded['args'] == content['args']
    assert loaded['plain'] == content['plain']
    assert loaded['random'] == content['random']
    assert all(np.array_equal(*pair) for pair in zip(loaded['arrays'], content['arrays'], strict=True))
    assert all(torch.equal(*pair) for pair in zip(loaded['views'], content['views'], strict=True))
    assert torch.equal(loaded['model']['0.weight'], content['model']['0.weight'])


def test_array_that_numpy_1_wrote_is_loaded(tmp_path):
    file = tmp_path / 'old.pth'
    torch.save(dict(a=np.arange(3.0), b=np.float32(2)), file)
    rezipped(file, lambda name, content: content.replace(b'numpy._core.', b'numpy.core.'))
    assert load_checkpoint(file)['a'].tolist() == [0, 1, 2]


def test_pickles_own_history_cannot_exchange_the_methods_of_others(tmp_path):
    file = tmp_path / 'swapped.pth'
    torch.save(dict(history=HistoryBuffer([1.0], [1])), file)
    rezipped(file, lambda name, content: content.replace(b'\x00min', b'\x00avg', 1))
    with pytest.raises(UserError, match='it contains a loss history that mmengine did not write'):
        load_checkpoint(file)


def rezipped(file, change, **options):
    with zipfile.ZipFile(file) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, 'w', **options) as archive:
        for name in content:
            archive.writestr(name, change(name, content[name]))


def deflated(file):
    rezipped(file, lambda name, content: content, compression=zipfile.ZIP_DEFLATED)


def shorter(file):
    rezipped(file, lambda name, content: content[:4] if '/data/' in name else content)


def named_twice(file):
    with zipfile.ZipFile(file) as archive:
        name = next(name for name in archive.namelist() if name.endswith('data.pkl'))
    with zipfile.ZipFile(file, 'a') as archive:
        archive.writestr(name.upper().replace(name.split('/')[0].upper(), name.split('/')[0]), b'\x80\x02}.')


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        (deflated, r'its entry \S+ is compressed'),
        (shorter, 'should have 12 bytes, not 4'),
        (named_twice, 'it contains data.pkl twice'),
    ],
)
def test_archive_that_torch_would_not_write_is_refused(checkpoint, change, reason):
    change(checkpoint)
    with pytest.raises(UserError, match=reason):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize(
    ('header', 'reason'),
    [
        (b'[' * 100_000, 'is truncated or not a checkpoint'),
        (
            b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}',
            'its tensor a has an invalid shape',
        ),
        (b'{"a": {}, "a": {}}', 'it contains a name twice'),
        (b'{"__metadata__": {"a": 3}}', 'its metadata is not a dict of strings'),
        (b' ' * 2**25, 'its header has 33,554,432 bytes'),
        (b'{"a": [' + b'[[[]]],' * 300_000 + b'0]}', 'it has more than 1,000,000 values'),
    ],
)
def test_header_of_safetensors_is_bounded(tmp_path, header, reason):
    file = tmp_path / 'model.safetensors'
    file.write_bytes(struct.pack('<Q', len(header)) + header + bytes(4))
    with pytest.raises(UserError, match=reason):
        load_checkpoint(file)


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors', '.h5'])
def test_pipe_is_not_waited_for(tmp_path, suffix):
    file = tmp_path / f'pipe{suffix}'
    os.mkfifo(file)
    with pytest.raises(UserError, match='is a pipe; expected a regular file'):
        load_checkpoint(file)


@pytest.mark.parametrize(
    'header',
    [[1, 2], 'text', 3, None, {'a': [1]}, {'a': None}, {'a': {'shape': 3}}, {'a': {}}, {'a': {'shape': {}}}],
    ids=str,
)
def test_a_header_of_another_form_is_no_header(tmp_path, header):
    text = json.dumps(header).encode()
    (tmp_path / 'odd.safetensors').write_bytes(len(text).to_bytes(8, 'little') + text)
    with pytest.raises(
        UserError, match='its header is not a dict of tensors|its tensor a has an invalid shape'
    ):
        load_checkpoint(tmp_path / 'odd.safetensors')
