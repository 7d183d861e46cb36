"""The throughput benchmark: what it times, in which order, and what it records."""

import json
import re
from dataclasses import replace

import pytest
import throughput
import timing
import torch
from measured import read_results
from throughput import measure

from mmconvnext.errors import UserError
from mmconvnext.zoo.entries import imagenet_classifiers, zoo

SMALLEST = [
    replace(entry, resolution=32)
    for entry in zoo().values()
    if entry.architecture.startswith('test_convnext')
]


@pytest.fixture(autouse=True)
def _brief(monkeypatch):
    monkeypatch.setattr(timing, 'SHORTEST_TIMING', 1e-4)


def test_measurement_is_read_back_with_its_conditions(tmp_path):
    threads = torch.get_num_threads()
    measure(tmp_path / 'new/speeds.json', entries=SMALLEST, batch_size=2, rounds=2, threads=1)
    assert torch.get_num_threads() == threads
    conditions, rows = read_results(tmp_path / 'new/speeds.json')
    assert set(rows) == {(entry.architecture, 32) for entry in SMALLEST}
    for row in rows.values():
        assert 0 < row['lower_quartile'] <= row['images_per_second'] <= row['upper_quartile']
    assert conditions.items() >= dict(threads=1, batch_size=2, rounds=2, dtype='float32').items()
    assert conditions['torch'] == torch.__version__
    assert re.fullmatch(r'\d{4}-\d\d-\d\d', conditions['date'])
    assert conditions['device'] and 'commit' in conditions


def test_mixed_precision_is_written_down(tmp_path):
    measure(tmp_path / 'speeds.json', entries=SMALLEST[:1], batch_size=1, rounds=2, threads=1, amp=True)
    assert read_results(tmp_path / 'speeds.json')[0]['dtype'] == 'bfloat16 autocast'


def test_limit_leaves_out_the_costly(tmp_path):
    cheap = min(SMALLEST, key=lambda entry: entry.macs)
    options = dict(entries=SMALLEST, batch_size=1, rounds=2, threads=1)
    measure(tmp_path / 'speeds.json', max_gmacs=cheap.macs / 1e9, **options)
    assert set(read_results(tmp_path / 'speeds.json')[1]) == {(cheap.architecture, 32)}
    with pytest.raises(UserError, match='no classifier of the zoo has at most 0.001 GMACs'):
        measure(tmp_path / 'speeds.json', max_gmacs=0.001, **options)


def test_one_round_has_no_spread(tmp_path):
    with pytest.raises(UserError, match='--rounds is 1'):
        measure(tmp_path / 'speeds.json', entries=SMALLEST, rounds=1)


def test_nothing_measured_yet_is_empty(tmp_path):
    assert read_results(tmp_path / 'none.json') == ({}, {})


def test_committed_measurement_is_of_networks_of_the_zoo():
    conditions, rows = read_results()
    assert set(rows) <= {(e.architecture, e.resolution) for e in imagenet_classifiers(zoo().values())}
    assert len(rows) >= 20
    assert None not in (conditions['device'], conditions['threads'], conditions['commit'])


def test_file_has_a_row_a_line(tmp_path):
    throughput.write_results(dict(a=1), [dict(b=2), dict(c=3)], tmp_path / 'out.json')
    text = (tmp_path / 'out.json').read_text()
    assert json.loads(text) == dict(conditions=dict(a=1), rows=[dict(b=2), dict(c=3)])
    assert '    {"b": 2},\n    {"c": 3}\n' in text
