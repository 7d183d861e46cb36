"""Real images to calibrate and check exported files with."""

import shutil

import pytest

from mmconvnext.errors import UserError
from mmconvnext.export.images import real_images, why_unlabelled
from mmconvnext.zoo.models import get_model


def test_folder_without_classes_is_halved(folder, photos, tmp_path):
    model = get_model(folder / 'v2.pth')
    calibrating, held_out = real_images(model, photos / 'train' / 'cat')
    assert (len(calibrating), len(held_out)) == (6, 6)
    assert not held_out.labelled
    assert held_out.spread(2).batch(0, 9)[0].shape == (2, 3, 40, 40)
    calibrating, held_out = real_images(model, photos)
    assert (len(calibrating), len(held_out)) == (36, 12)
    assert held_out.batch(3, 5)[1] == [0, 1]
    shutil.copy(photos / 'val/cat/0.png', tmp_path)
    calibrating, held_out = real_images(model, tmp_path)
    assert (len(calibrating), len(held_out)) == (1, 1)


def test_a_broken_image_among_classes_is_named(folder, photos, tmp_path):
    shutil.copytree(photos, tmp_path / 'photos')
    broken = tmp_path / 'photos/val/dog/2.png'
    broken.write_bytes(b'no image')
    _, held_out = real_images(get_model(folder / 'v2.pth'), tmp_path / 'photos')
    with pytest.raises(UserError, match=f'{broken} cannot be read as an image'):
        held_out.batch(0, len(held_out))


def test_data_of_a_config_is_used_unless_it_is_missing_or_does_not_fit(folder, photos, recwarn):
    model = get_model(folder / 'v2.pth')
    dataset = model._config.test_dataloader.dataset
    assert len(real_images(model, None)[1]) == 3 and not recwarn  # ImageNet is not here
    pipeline = dataset.pipeline
    model._config.test_dataloader.dataset = dict(
        type='CustomDataset', data_root=str(photos), pipeline=pipeline
    )
    with pytest.warns(UserWarning, match='train.*Three photographs take the place of the data'):
        assert len(real_images(model, None)[1]) == 3  # its folders are splits, not classes
    model._config.test_dataloader.dataset.data_root = str(photos / 'train')
    assert sum(map(len, real_images(model, None))) == 36


def test_folders_are_classes_by_their_names(folder, photos, tmp_path):
    model = get_model(folder / 'v2.pth')
    for name, source in dict(owl='owl', cat='dog').items():  # some of the classes
        shutil.copytree(photos / 'train' / source, tmp_path / 'some' / name)
    _, held_out = real_images(model, tmp_path / 'some')
    assert {label for i in range(len(held_out)) for label in held_out.batch(i, i + 1)[1]} == {0, 2}
    for name, source in dict(ape='cat', bee='dog', owl='owl').items():  # the same number of other classes
        shutil.copytree(photos / 'train' / source, tmp_path / 'others' / name)
    _, held_out = real_images(model, tmp_path / 'others')
    assert not held_out.labelled
    assert why_unlabelled(model, tmp_path / 'others').startswith('ape, bee in')
    model._dataset_meta = {}
    assert real_images(model, tmp_path / 'others')[1].labelled
    assert why_unlabelled(model, tmp_path / 'some').endswith('has 2 folders for 3 classes')
    assert why_unlabelled(model, photos / 'train' / 'cat').endswith('has no folders of classes')
