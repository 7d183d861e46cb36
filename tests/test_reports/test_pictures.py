import numpy as np
import pytest
from mmpretrain.structures import DataSample
from PIL import Image

from mmconvnext.apis import train
from mmconvnext.apis.plot_predictions import draw_grid, plot_predictions


def pixels(file):
    return np.asarray(Image.open(file).convert('RGB'))


def is_red(image):
    red, green, blue = np.moveaxis(image.astype(int), -1, 0)
    return ((red > 200) & (green < 80) & (blue < 80)).any()


def test_pictures_of_a_run(tiny_config, tmp_path):
    work_dir = tmp_path / 'work'
    train(tiny_config, work_dir=str(work_dir))
    plot_predictions(tiny_config, work_dir / 'epoch_2.pth', tmp_path / 'grid.png', count=12)
    assert pixels(tmp_path / 'grid.png').shape[0] > 0


@pytest.mark.parametrize('wrong', [False, True])
def test_mistakes_are_red(tmp_path, wrong):
    import torch

    prediction = (
        DataSample().set_pred_score(torch.tensor([0.9, 0.1])).set_pred_label(0).set_gt_label(int(wrong))
    )
    grey = np.full((8, 8, 3), 128, np.uint8)
    draw_grid([grey] * 3, [prediction] * 3, ('cat', 'dog'), tmp_path / 'grid.png')
    assert is_red(pixels(tmp_path / 'grid.png')) == wrong
    for classes in ((r'$\frac{$', '\udcff'), (3, 4)):  # formula, invalid UTF-8, and values of YAML
        draw_grid([grey], [prediction], classes, tmp_path / 'grid.png')
