"""Freed memory is kept for the next tensor, and what large pictures took goes back."""

import subprocess
import sys

import pytest
import torch

from mmconvnext import memory
from mmconvnext.errors import UserError
from mmconvnext.memory import PixelBudget, enough_memory
from tests.conftest import REPO

FAULTS = """
import resource, sys, torch
from mmconvnext.memory import keep_freed_memory
torch.set_num_threads(1)
kept = keep_freed_memory() if sys.argv[1] == 'keep' else None
def use():
    for _ in range(20):
        torch.zeros(16 << 20)  # 64 MiB
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how, **env):
    done = subprocess.run(
        [sys.executable, '-c', FAULTS, how],
        capture_output=True,
        text=True,
        env={'PYTHONPATH': str(REPO), **env},
    )
    kept, count = done.stdout.split()
    return kept, int(count)


def test_tensors_get_the_memory_of_freed_ones():
    kept, few = faults('keep')
    assert kept == 'True'
    assert few < faults('leave')[1] / 10


def test_environment_has_the_last_word():
    assert faults('keep', MALLOC_TRIM_THRESHOLD_='131072')[0] == 'False'


def more_than_there_is():
    torch.empty(1 << 60, dtype=torch.uint8)


def out_of_memory_in_python():
    bytearray(1 << 60)


@pytest.mark.parametrize('ask', [more_than_there_is, out_of_memory_in_python])
def test_too_little_memory_is_a_message(ask):
    with pytest.raises(UserError, match='choose less'), enough_memory('choose less'):
        ask()


def test_other_errors_are_left_alone():
    with pytest.raises(RuntimeError, match='shapes'), enough_memory('choose less'):
        raise RuntimeError('shapes differ')


def test_memory_of_large_pictures_goes_back_to_the_system(monkeypatch):
    calls = []
    monkeypatch.setattr(memory, 'give_back_freed_memory', lambda: calls.append(1))
    shared = PixelBudget(100_000_000)
    for pixels, times in ((memory.MAX_PIXELS_KEPT, 0), (memory.MAX_PIXELS_KEPT + 1, 1)):
        with shared.taken(pixels):
            pass
        assert len(calls) == times
    with shared.kept():
        with shared.taken(20_000_000):
            pass
        assert len(calls) == 1  # the result is still resized
    assert len(calls) == 2
