"""The cases of tools/benchmarks/kernels.py at a tiny size."""

import pytest
import torch
from kernels import build, check


@pytest.mark.parametrize('op', ['depthwise_conv', 'layer_norm', 'gelu_backward', 'grn'])
def test_case_passes_its_check(op, monkeypatch):
    monkeypatch.setenv('MMCONVNEXT_TRITON', '0')  # as in measure_kernels
    case = build(op, 2, 8, 2, torch.device('cpu'))
    assert check(case, dict(triton=case.ours, torch=case.plain))['torch'] > 0
