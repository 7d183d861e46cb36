"""Kernels run only if they are requested and applicable; otherwise plain torch runs, with a warning."""

import sys
import warnings
from importlib import import_module

import pytest
import torch

from mmconvnext.ops import backend
from mmconvnext.ops.backend import use_triton


@pytest.fixture(autouse=True)
def _asked(monkeypatch):
    monkeypatch.setenv('MMCONVNEXT_TRITON', '1')
    monkeypatch.setenv('TRITON_INTERPRET', '1')
    monkeypatch.setattr(backend, 'HAS_TRITON', True)
    monkeypatch.setattr(backend, 'REPORTED', set())


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
def test_kernels_compute_where_they_were_asked_for(dtype):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert use_triton(torch.zeros(1, dtype=dtype))


def test_plain_torch_computes_unasked(monkeypatch):
    monkeypatch.delenv('MMCONVNEXT_TRITON')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert not use_triton(torch.zeros(1, dtype=torch.float64))


@pytest.mark.parametrize(
    ('x', 'interpreted', 'installed', 'obstacle'),
    [
        (torch.zeros(1), False, True, 'do not run on cpu, only on CUDA'),
        (torch.zeros(1, device='meta'), True, True, 'do not run on meta'),
        (torch.zeros(1, dtype=torch.float64), True, True, 'do not support torch.float64, only torch.float32'),
        (torch.zeros(1), True, False, 'need triton, which is not installed'),
    ],
)
def test_fallback_is_named_once(monkeypatch, x, interpreted, installed, obstacle):
    monkeypatch.setenv('TRITON_INTERPRET', '1' if interpreted else '0')
    monkeypatch.setattr(backend, 'HAS_TRITON', installed)
    with pytest.warns(UserWarning, match=f'{obstacle}.* Plain PyTorch is used instead'):
        assert not use_triton(x)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert not use_triton(x)


@pytest.mark.parametrize('name', ['depthwise_conv', 'block_mlp', 'gelu', 'grn', 'layer_norm'])
def test_operators_are_imported_without_triton(monkeypatch, name):
    monkeypatch.setitem(sys.modules, 'triton', None)
    monkeypatch.delitem(sys.modules, f'mmconvnext.ops.{name}', raising=False)
    import_module(f'mmconvnext.ops.{name}')
