"""Result files are complete, safe to open and made of the right classes."""

import csv
import re
from pathlib import Path

import pytest
import torch

from mmconvnext import ImageClassificationInferencer
from mmconvnext.apis.infer import infer
from mmconvnext.inference.results import class_layout, results_file
from tests.classifiers import CLASSES, CONFIG, photo, photos


def test_csv_has_a_line_for_each_image(files, tmp_path, capsys):
    config, checkpoint = map(str, files)
    paths = photos(tmp_path / 'photos', 60)
    infer(
        [str(tmp_path / 'photos')], model=config, checkpoint=checkpoint, topk=6, out=str(tmp_path / 'r.csv')
    )
    assert 'The table shows the first 50 of 60 images; all are in' in capsys.readouterr().out
    with (tmp_path / 'r.csv').open(encoding='utf-8', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['path'] for row in rows] == sorted(paths)
    scores = [float(rows[0][f'score_{k}']) for k in (1, 2, 3, 4)]
    assert scores == sorted(scores, reverse=True)
    assert rows[0]['class_1'] == CLASSES[int(rows[0]['label_1'])]
    assert 'label_5' not in rows[0] and rows[0]['error'] == ''  # the network has four classes


@pytest.mark.parametrize(('bias', 'count'), [((3.0, -3.0, 2.0, -3.0), 2), ((-3.0,) * 4, 0)])
def test_several_labels_are_those_above_the_threshold_or_none(
    files, bias, count, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    config = tmp_path / 'several.py'
    config.write_text(CONFIG + "model['head']['type'] = 'MultiLabelLinearClsHead'\n")
    weights = torch.load(files[1])
    weights['state_dict']['head.fc.weight'].zero_()
    weights['state_dict']['head.fc.bias'] = torch.tensor(bias)
    checkpoint, image, out = 'several.pth', 'a.png', 'r.csv'
    torch.save(weights, checkpoint)
    photo().save(image)
    (result,) = ImageClassificationInferencer(config, checkpoint)(image)
    assert result['pred_labels'] == [0, 2][:count]
    infer([image], model=str(config), checkpoint=checkpoint, out=out)
    row = next(line for line in capsys.readouterr().out.splitlines() if 'a.png' in line)
    names = f'{CLASSES[0]}; {CLASSES[2]}' if count else 'none'
    assert re.split(r' {2,}', row.strip())[1] == names
    with Path(out).open(encoding='utf-8', newline='') as file:
        assert next(csv.DictReader(file))['pred_labels'] == ('0 2' if count else '')


def test_results_appear_whole_or_not_at_all(tmp_path):
    with pytest.raises(KeyboardInterrupt), results_file(tmp_path / 'r.json', class_layout(1)) as write:  # noqa: PT012
        write(dict(path='a', error='b'))
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
