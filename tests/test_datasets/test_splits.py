"""Folder layouts of archives from well-known sites."""

import pytest
from PIL import Image

from mmconvnext.datasets import ImageFolder
from mmconvnext.datasets.splits import find_layout
from mmconvnext.errors import UserError


def put(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (4, 4)).save(root / name, 'PNG')
    return root


def both(*splits):
    return [f'{split}/{name}/1.png' for split in splits for name in ('cat', 'dog')]


@pytest.mark.parametrize(
    ('train', 'val', 'test'),
    [
        ('train', 'val', 'test'),
        ('Training', 'Validation', 'Testing'),
        ('TRAIN', 'VALID', 'TEST'),
        ('train_set', 'val_set', 'test_set'),
        ('Train Images', 'Dev Images', 'Test Images'),
        ('train2017', 'val2017', 'test2017'),
        ('seg_train/seg_train', 'seg_val/seg_val', 'seg_test/seg_test'),
        ('train/images', 'valid/images', 'test/images'),
        ('imagesTrain', 'imagesVal', 'imagesTest'),
        ('archive/pets/train', 'archive/pets/val', 'archive/pets/test'),
        ('ILSVRC2012_img_train', 'ILSVRC2012_img_val', 'ILSVRC2012_img_test'),
        ('trainset', 'valset', 'testset'),
        ('dataset-train', 'dataset-dev', 'dataset-test'),
    ],
)
def test_usual_names_of_splits(tmp_path, train, val, test):
    put(tmp_path, *both(train, val, test))
    assert find_layout(tmp_path).splits == {
        'train': tmp_path / train,
        'val': tmp_path / val,
        'test': tmp_path / test,
    }
    for split, folder in (('train', train), ('val', val), ('test', test)):
        dataset = ImageFolder(tmp_path, split)
        assert dataset.metainfo['classes'] == ('cat', 'dog')
        assert dataset.get_data_info(0)['img_path'].startswith(f'{tmp_path}/{folder}/cat/')


@pytest.mark.parametrize(
    'files',
    [
        ['bus/1.png', 'train/1.png'],
        ['bullet train/1.png', 'test tube/1.png'],
        ['strainer/1.png', 'contest/1.png'],
        ['steam train/1.png', 'toy train/1.png'],
        ['cat/train ride/1.png', 'dog/1.png'],
        ['pets/cat/1.png', 'pets/dog/1.png'],
    ],
)
def test_classes_that_are_no_splits(tmp_path, files):
    put(tmp_path, *files)
    assert not find_layout(tmp_path).splits
    assert len(ImageFolder(tmp_path, 'train').metainfo['classes']) == 2


@pytest.mark.parametrize(
    ('files', 'message'),
    [
        ([*both('train', 'val', 'valid')], r'has 2 folders for val \(val, valid\)'),
        ([*both('train', 'Train', 'test')], r'has 2 folders for train \(Train, train\)'),
        ([*both('pets_train', 'pets_test', 'cars_train', 'cars_test')], 'several sets of folders'),
        (['cat/1.png', 'dog/1.png', 'test/1.png'], r'a folder for test \(test\) beside cat, dog'),
        ([*both('Testing'), 'other/1.png'], r'a folder for test \(Testing\) beside other'),
        (['cat/train/1.png', 'cat/test/1.png', 'dog/train/1.png'], 'for test and train inside cat/'),
    ],
)
def test_unclear_layouts_show_what_is_there(tmp_path, files, message):
    put(tmp_path, *files)
    with pytest.raises(UserError, match=message) as error:
        ImageFolder(tmp_path, 'train')
    assert all(f'    {name.split("/")[0]}/' in str(error.value) for name in files)


def test_the_tree_in_a_message_is_bounded(tmp_path):
    put(tmp_path, 'train/x/1.png', 'Train/x/1.png', 'val/x/1.png')
    for i in range(1000):
        (tmp_path / f'train/{i}').mkdir()
    with pytest.raises(UserError, match='and 989 more') as error:
        ImageFolder(tmp_path, 'train')
    assert str(error.value).count('\n') < 30


def test_a_test_folder_without_validation_shares_nothing_with_it(tmp_path):
    put(tmp_path, *(f'Train/{name}/{i}.png' for name in 'ab' for i in range(5)), 'Test/a/9.png')
    paths = {
        split: {d.get_data_info(i)['img_path'] for i in range(len(d))}
        for split in ('train', 'val', 'test')
        for d in [ImageFolder(tmp_path, split)]
    }
    assert [len(paths[split]) for split in paths] == [8, 2, 1]
    assert len(paths['train'] | paths['val'] | paths['test']) == 11
