import json

import numpy as np
import pytest
from mmpretrain.structures import DataSample
from PIL import Image

from mmconvnext.apis import train
from mmconvnext.errors import UserError
from mmconvnext.visualization.curves import plot_curves, read_scalars
from mmconvnext.visualization.predictions import draw_grid, plot_predictions


def pixels(file):
    return np.asarray(Image.open(file).convert('RGB'))


def is_red(image):
    red, green, blue = np.moveaxis(image.astype(int), -1, 0)
    return ((red > 200) & (green < 80) & (blue < 80)).any()


def test_pictures_of_a_run(tiny_config, tmp_path):
    work_dir = tmp_path / 'work'
    train(tiny_config, work_dir=str(work_dir))
    plot_curves(work_dir, tmp_path / 'curves.png')
    assert pixels(tmp_path / 'curves.png').std() > 0
    plot_predictions(tiny_config, work_dir / 'epoch_2.pth', tmp_path / 'grid.png', count=12)
    assert pixels(tmp_path / 'grid.png').shape[0] > 0


def write_log(folder, rows):
    (folder / 'vis_data').mkdir(parents=True)
    (folder / 'vis_data/scalars.json').write_text('\n'.join(map(json.dumps, rows)))


def test_resumed_run_continues_the_curves_of_the_first(tmp_path):
    write_log(
        tmp_path / '20260101_000000',
        [dict(loss=3.0, lr=0.1, step=1), dict(loss=2.0, lr=0.1, step=2), {'accuracy/top1': 50.0, 'step': 1}],
    )
    write_log(
        tmp_path / '20260102_000000',
        [dict(loss=1.5, lr=0.1, step=2), dict(loss=1.0, lr=0.1, step=3), {'accuracy/top1': 60.0, 'step': 2}],
    )
    training, validation = read_scalars(tmp_path)
    assert {step: row['loss'] for step, row in training.items()} == {1: 3.0, 2: 1.5, 3: 1.0}
    assert {step: row['accuracy/top1'] for step, row in validation.items()} == {1: 50.0, 2: 60.0}


def test_log_cut_off_in_the_middle_of_a_line_is_still_drawn(tmp_path):
    write_log(tmp_path / 'run', [dict(loss=3.0, lr=0.1, step=1)])
    log = tmp_path / 'run/vis_data/scalars.json'
    log.write_text(log.read_text() + '\n{"loss": 2.0, "l')
    assert set(read_scalars(tmp_path)[0]) == {1}


def test_folder_without_a_log_is_an_error(tmp_path):
    with pytest.raises(UserError, match='has no training log'):
        plot_curves(tmp_path, tmp_path / 'out.png')


@pytest.mark.parametrize('wrong', [False, True])
def test_mistakes_are_red(tmp_path, wrong):
    import torch

    prediction = (
        DataSample().set_pred_score(torch.tensor([0.9, 0.1])).set_pred_label(0).set_gt_label(int(wrong))
    )
    grey = np.full((8, 8, 3), 128, np.uint8)
    draw_grid([grey] * 3, [prediction] * 3, ('cat', 'dog'), tmp_path / 'grid.png')
    assert is_red(pixels(tmp_path / 'grid.png')) == wrong
