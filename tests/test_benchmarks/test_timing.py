"""Contenders are timed in alternating order."""

import timing
import torch
from timing import conditions_on, speed, time_interleaved


def test_cases_take_turns_in_changing_order(monkeypatch):
    monkeypatch.setattr(timing, 'SHORTEST_TIMING', 1e-12)
    calls = []
    cases = {name: lambda name=name: calls.append(name) for name in 'abc'}
    times = time_interleaved(cases, rounds=9)
    assert {name: len(seconds) for name, seconds in times.items()} == dict(a=9, b=9, c=9)
    rounds = [''.join(calls[-27:][start : start + 3]) for start in range(0, 27, 3)]
    assert {''.join(sorted(each)) for each in rounds} == {'abc'}
    assert len(set(rounds)) > 3  # each follows each other one


def test_short_calls_are_repeated(monkeypatch):
    monkeypatch.setattr(timing, 'SHORTEST_TIMING', 0.01)
    calls = []
    time_interleaved({'case': lambda: calls.append(1)}, rounds=2)
    assert len(calls) > 100


def test_one_slow_round_does_not_show():
    assert speed([0.5, 0.5, 0.5, 0.5, 50.0], batch_size=4) == dict(
        images_per_second=8.0, lower_quartile=8.0, upper_quartile=8.0
    )


def test_conditions_outside_of_a_checkout(monkeypatch):
    monkeypatch.setenv('PATH', '')  # without git
    assert conditions_on(torch.device('cpu'))['commit'] is None
