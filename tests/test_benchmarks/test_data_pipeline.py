"""The benchmark of training pipelines times real images, and its rows state the conditions."""

import json

import data_pipeline
import pytest
import timing
import torch
from data_pipeline import compare_pipelines, make_images, pipelines

from mmconvnext.errors import UserError


@pytest.fixture(autouse=True)
def _brief(monkeypatch):
    monkeypatch.setattr(timing, 'SHORTEST_TIMING', 1e-4)
    monkeypatch.setattr(data_pipeline, 'IMAGES', 2)


def test_files_are_as_large_as_imagenets_and_everybody_makes_images_of_them(tmp_path):
    paths = make_images(tmp_path)
    for path in paths:
        assert 80_000 < (tmp_path / path).stat().st_size < 140_000  # those of ImageNet have 110 kB
        for name, pipeline in pipelines().items():
            assert pipeline(path).shape == ((375, 500, 3) if name == 'decoding alone' else (3, 224, 224))


def test_rows_hold_speed_and_conditions(tmp_path, capsys):
    threads = torch.get_num_threads()
    compare_pipelines(rounds=2, out=tmp_path / 'new/rows.jsonl')
    rows = [json.loads(line) for line in (tmp_path / 'new/rows.jsonl').read_text().splitlines()]
    assert [row['contender'].split()[0] for row in rows] == [
        *('mmconvnext', 'mmconvnext', 'mmpretrain', 'timm', 'timm', 'decoding', 'mmconvnext', 'mmconvnext')
    ]
    assert [row['part'] for row in rows] == ['worker'] * 6 + ['device'] * 2
    for row in rows:
        assert row['lower_quartile'] <= row['images_per_second'] <= row['upper_quartile']
        assert row['conditions']['threads'] == 1
    assert 'ours is' in capsys.readouterr().out
    assert torch.get_num_threads() == threads


def test_spread_takes_two_rounds():
    with pytest.raises(UserError, match='--rounds is 1; expected at least 2'):
        compare_pipelines(rounds=1)
