"""The kernel benchmark says what needs a GPU, and does not time wrong kernels."""

import pytest
import timing
import torch
from kernels import Case, copy_bandwidth, measure, measure_kernels, show

from mmconvnext.errors import UserError


@pytest.fixture(autouse=True)
def _brief(monkeypatch):
    monkeypatch.setattr(timing, 'SHORTEST_TIMING', 1e-4)


def case(ours):
    x = torch.randn(2, 8, dtype=torch.bfloat16).requires_grad_()
    return Case('double', ours, lambda x: x + x, (x,), dict(forward=2, training=4))


def test_rows_hold_time_bandwidth_and_conditions(monkeypatch, capsys):
    monkeypatch.setattr('kernels.version', lambda name: f'{name} 1.0')
    rows = measure(case(lambda x: 2 * x), ('triton', 'torch'), rounds=2, copy=1e9)
    assert [(row['direction'], row['contender']) for row in rows] == [
        (direction, name) for direction in ('forward', 'training') for name in ('triton', 'torch')
    ]
    for row in rows:
        assert row['lower_quartile'] <= row['microseconds'] <= row['upper_quartile']
        passes = 2 if row['direction'] == 'forward' else 4
        assert row['gb_per_second'] == pytest.approx(passes * 32 / row['microseconds'] / 1e3, rel=1e-3)
        assert row['share_of_copy'] == pytest.approx(row['gb_per_second'], rel=1e-3)
        assert row['conditions']['triton'] == 'triton 1.0'
    show(rows)
    assert 'double on 2x8 bfloat16' in capsys.readouterr().out


@pytest.mark.parametrize('wrong', [lambda x: 2.1 * x, lambda x: x / 0, lambda x: 2 * x.detach() + 0 * x])
def test_wrong_kernel_is_not_timed(wrong):
    with pytest.raises(
        UserError, match=r'double on \(2, 8\) has an error of .* not timed until it is correct'
    ):
        measure(case(wrong), ('triton',), rounds=2, copy=1e9)


def test_copy_counts_what_is_read_and_written(monkeypatch):
    monkeypatch.setattr('kernels.COPIED_VALUES', 2**20)
    monkeypatch.setattr('kernels.time_interleaved', lambda calls, rounds: dict(copy=[1, 3, 2]))
    assert copy_bandwidth(torch.device('cpu'), rounds=3) == 2 * 2 * 2**20 / 2


@pytest.mark.skipif(torch.cuda.is_available(), reason='tests the message for machines without a GPU')
def test_missing_gpu_is_told():
    with pytest.raises(UserError, match='finds no CUDA device; timing the kernels needs an NVIDIA GPU'):
        measure_kernels(op=['grn'])
