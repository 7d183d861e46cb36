"""Pictures of samples with their predictions."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmpretrain.structures import DataSample
from PIL import Image

from mmconvnext.apis import train
from mmconvnext.apis.plot_predictions import plot_predictions, save_grid
from mmconvnext.errors import UserError
from mmconvnext.hooks.pictures import PicturesHook
from mmconvnext.reports.annotated import PictureFolder, annotate_sample


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


def grey(label):
    sample = DataSample().set_pred_score(torch.tensor([0.9, 0.1])).set_gt_label(label)
    return torch.full((3, 8, 8), 128, dtype=torch.uint8), sample


@pytest.mark.parametrize('label', [0, 1, [0, 1]])
def test_mistakes_are_red(label):
    plain, others = (np.asarray(annotate_sample(*grey(each), ('cat', 'dog'))) for each in (0, label))
    assert not is_red(plain)
    assert is_red(others) == (label == 1)
    assert (others.shape[0] > plain.shape[0]) == (label == 1)  # the true class is named below
    assert (plain[:320] == 128).all()


def test_a_value_is_no_mistake_whatever_the_true_one_is():
    inputs, sample = grey(torch.tensor([3.5]))
    sample.set_field(torch.tensor([1.25]), 'pred_score')
    drawn = np.asarray(annotate_sample(inputs, sample, None, percent=False))
    assert not is_red(drawn)
    assert drawn.shape[0] == np.asarray(annotate_sample(*grey(0), ('cat', 'dog'), topk=1)).shape[0]


def test_any_names_are_drawn():
    for classes in ((r'$\frac{$', '\udcff'), (3, 4), None):  # formula, invalid UTF-8, values of YAML
        assert annotate_sample(*grey(1), classes).width == 320


def test_grid_holds_every_picture(tmp_path):
    pictures = [Image.new('RGB', (20, 10 + i), 'red' if i == 9 else 'blue') for i in range(10)]
    for suffix in ('png', 'pdf', 'svg'):
        save_grid(pictures, tmp_path / f'grid.{suffix}')
    drawn = pixels(tmp_path / 'grid.png')
    assert drawn.shape == (2 * 27, 8 * 28, 3)
    assert is_red(drawn[27:, 28:48])
    assert not is_red(drawn[:27])


def runner_of(rank):
    loader = SimpleNamespace(dataset=SimpleNamespace(metainfo={}))
    return SimpleNamespace(model=SimpleNamespace(), world_size=2, rank=rank, test_dataloader=loader)


def test_pictures_of_a_test_have_names_of_their_own(tmp_path):
    """Images of one name in different folders, and those that come out of no file, have a picture each."""
    hook = PicturesHook(tmp_path / 'shown')
    runner = runner_of(rank=1)
    inputs, samples = zip(*(grey(0) for _ in range(4)), strict=True)
    for sample, path in zip(samples, ('/data/cat/1.jpg', '/data/dog/1.jpg'), strict=False):
        sample.set_metainfo(dict(img_path=path))
    hook.after_test_iter(runner, 0, dict(inputs=inputs, data_samples=samples), samples)
    names = sorted(str(path.relative_to(tmp_path / 'shown')) for path in (tmp_path / 'shown').rglob('*.jpg'))
    assert names == ['cat/1.jpg', 'dog/1.jpg', 'image-5.jpg', 'image-7.jpg']


def test_pictures_of_several_processes_have_names_of_their_own(tmp_path):
    """Two processes show images of one parent folder and name; each found the folder empty."""
    hooks = [PicturesHook(tmp_path / 'shown') for _ in range(2)]
    runner = runner_of(rank=0)
    inputs, sample = grey(0)
    for hook, path in zip(hooks, ('/one/cat/1.jpg', '/two/cat/1.jpg'), strict=True):
        sample.set_metainfo(dict(img_path=path))
        hook.after_test_iter(runner, 0, dict(inputs=[inputs], data_samples=[sample]), [sample])
    pictures = sorted((tmp_path / 'shown/cat').iterdir())
    assert [picture.name for picture in pictures] == ['1-2.jpg', '1.jpg']
    assert all(pixels(picture).shape[1] == 320 for picture in pictures)


def test_a_file_in_place_of_the_folder_of_a_picture_is_named(tmp_path):
    folder = PictureFolder(tmp_path / 'shown')
    folder.place('cat.jpg')
    with pytest.raises(UserError, match='1.jpg cannot be written: .*cat.jpg is a file'):
        folder.place('cat.jpg/1.jpg')
