"""The summary of the data that a run prints before it starts."""

import pytest
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from PIL import Image
from torch.utils.data import DataLoader

from mmconvnext.datasets.replay import Replayed
from mmconvnext.engine.summary import describe_data, describe_origin
from mmconvnext.training.datasets import build


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmpretrain')


def put(root, *classes, count=4):
    for name in classes:
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.new('RGB', (4, 4)).save(root / name / f'{i}.png')
    return root


def described(settings):
    loader = DataLoader(Replayed(build(ConfigDict(settings), None), 0))
    assert describe_data(DataLoader(loader.dataset.dataset)) == describe_data(loader)
    return describe_data(loader), describe_origin(loader)


@pytest.mark.parametrize(('split', 'number'), [('train', 12), ('val', 4)])
def test_held_out_images_are_counted(tmp_path, split, number):
    root = put(tmp_path, *'abcd')
    settings = dict(type='mmconvnext.ImageFolder', data_root=str(root), split=split, held_out=0.25)
    assert described(settings) == (
        f'{number} of 16 images (ImageFolder)',
        f'in {root}; 4 classes: a, b, c, ...',
    )


def test_a_folder_of_its_own_is_named(tmp_path):
    put(tmp_path / 'train', *'ab')
    root = put(tmp_path / 'val', *'ab')
    settings = dict(type='mmconvnext.ImageFolder', data_root=str(tmp_path), split='val')
    assert described(settings) == ('8 images (ImageFolder)', f'in {root}; 2 classes: a, b')


def test_joined_folders_are_named(tmp_path):
    roots = [put(tmp_path / name, *'ab') for name in ('one', 'two')]
    inner = [dict(type='CustomDataset', data_root=str(root)) for root in roots]
    settings = dict(type='RepeatDataset', times=2, dataset=dict(type='ConcatDataset', datasets=inner))
    assert described(settings) == (
        '32 images (RepeatDataset)',
        f'in {roots[0]}, {roots[1]}; 2 classes: a, b',
    )


def test_names_that_a_terminal_would_obey_are_escaped(tmp_path):
    root = put(tmp_path, 'a\x1b[31m', 'b' * 250)
    _, origin = described(dict(type='CustomDataset', data_root=str(root)))
    assert origin.endswith(rf'2 classes: a\x1b[31m, {"b" * 199}…')


def test_data_without_a_length_or_folder_is_named_by_its_type():
    class Streamed:
        pass

    loader = DataLoader([1, 2])
    assert (describe_data(loader), describe_origin(loader)) == ('2 images (list)', '')
    loader = type('Loader', (), {'dataset': Streamed()})()
    assert (describe_data(loader), describe_origin(loader)) == ('Streamed', '')
