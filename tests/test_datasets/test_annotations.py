"""Annotation files and folders of mmpretrain's datasets, alone and inside wrappers."""

import json
import math
import tracemalloc
import warnings

import pytest
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from PIL import Image

from mmconvnext.config.inner_datasets import inner_settings
from mmconvnext.datasets.annotations import check_json
from mmconvnext.errors import UserError
from mmconvnext.training.classes import classes_of_data
from mmconvnext.training.datasets import build


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmpretrain')


def put(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (4, 4)).save(root / name, 'PNG')
    return root


def custom(root, **more):
    return ConfigDict(type='CustomDataset', data_root=str(root), **more)


def folders(root, **more):
    return ConfigDict(type='mmconvnext.ImageFolder', data_root=str(root), split='test', held_out=1, **more)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (
            b'a.png cat\n',
            r"ann.txt, line 1: 'a.png cat' is not of the form FILE LABEL .* 0 to 1; replace names",
        ),
        (b'a.png 0\nb.png,1\n', r"line 2: 'b.png,1' .*; separate them by a space, not a comma"),
        (b'a.png 0\n\nb.png 2\n', r"line 3: 'b.png 2' .*; the model has 2 classes"),
        (b'a.png -1\n', r"line 1: 'a.png -1' is not of the form"),
        (b'a.png 1.0\n', r"line 1: 'a.png 1.0' is not of the form"),
        (b'a.png\n', r"line 1: 'a.png' is not of the form"),
        (b'a.png 0\nnone.png 1\n', r'line 2: .*: there is no file .*none.png. Of the first 2 images 1 are'),
        (b'x\\a.png 0\n', r'there is no file .*; write paths with / in place of'),
        (b'\n', 'names no image'),
        (b'a.png ' + b'9' * 5000 + b'\n', "line 1: 'a.png 9999.* is not of the form FILE LABEL"),
        (b'x' * 5000 + b' 0\n', 'there is no file .*xxx'),
        (b'x' * 10**6 + b' 0\n', "line 1: 'xxx.* it has 1,000,002 characters"),
        (b'a\0.png 0\n', 'there is no file'),
        (b'\xff\xfe\x00', 'is not UTF-8 text'),
    ],
)
def test_wrong_lines_are_named(tmp_path, content, message):
    put(tmp_path, 'a.png', 'b.png')
    (tmp_path / 'ann.txt').write_bytes(content)
    with pytest.raises(UserError, match=message):
        build(custom(tmp_path, ann_file='ann.txt'), 2)


def test_tabs_empty_lines_and_byte_order_marks_are_read(tmp_path):
    put(tmp_path, 'a b.png', 'b.png')
    (tmp_path / 'ann.txt').write_bytes(b'\xef\xbb\xbfa b.png\t1\r\n\r\nb.png 0\n\n')
    dataset = build(custom(tmp_path, ann_file='ann.txt'), 2)
    assert dataset.get_gt_labels().tolist() == [1, 0]
    assert dataset.get_data_info(0)['img_path'] == str(tmp_path / 'a b.png')


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ([], 'has no object at its top; expected'),
        ({'images': []}, 'has the keys images at its top'),
        ({'metainfo': {}, 'data_list': [{'img_path': 'a', 'gt_label': [2]}]}, r'data_list\[0\] is .* 0 to 1'),
        ({'metainfo': {}, 'data_list': [{'img_path': 'a', 'gt_label': 'cat'}]}, r'data_list\[0\] is'),
        ({'metainfo': {}, 'data_list': [{'gt_label': 0}]}, r'data_list\[0\] is'),
        ({'metainfo': {}, 'data_list': [{'img_path': 'a', 'gt_score': [0.5]}]}, r'data_list\[0\] is'),
        ({'metainfo': {}, 'data_list': [{'img_path': 'a', 'gt_score': [0.5, math.nan]}]}, r'data_list\[0\]'),
    ],
)
def test_json_of_another_form_is_named(tmp_path, content, message):
    (tmp_path / 'ann.json').write_text(json.dumps(content))
    settings = ConfigDict(type='MultiLabelDataset', data_root=str(tmp_path), ann_file='ann.json')
    with pytest.raises(UserError, match=message):
        build(settings, 2)


@pytest.mark.parametrize('what', [b'{},', b'[[[]]],', b'{"":0},'])
def test_json_of_brackets_is_refused_by_its_text(tmp_path, what):
    content = b'{"metainfo": {}, "data_list": [' + what * 200_000 + b'{}]}'
    (tmp_path / 'ann.json').write_bytes(content)
    tracemalloc.start()
    with pytest.raises(UserError, match='more of it are brackets than in any annotations'):
        check_json(tmp_path / 'ann.json', 2)
    assert tracemalloc.get_traced_memory()[1] < 3 * len(content)
    tracemalloc.stop()


def test_short_samples_of_json_are_read(tmp_path):
    samples = [{'img_path': 'a', 'gt_label': [0]}] * 5000
    (tmp_path / 'ann.json').write_text(
        json.dumps({'metainfo': {}, 'data_list': samples}, separators=(',', ':'))
    )
    check_json(tmp_path / 'ann.json', 2)


def test_folders_are_labelled_by_name(tmp_path):
    put(tmp_path, 'rings/1.png', 'rows/1.png')
    dataset = build(custom(tmp_path, classes=['bars', 'rings', 'rows']), 3)
    assert dataset.get_gt_labels().tolist() == [1, 2]
    assert dataset.metainfo['classes'] == ('bars', 'rings', 'rows')


def test_names_that_are_no_folders_keep_the_order_of_the_folders(tmp_path):
    put(tmp_path, 'n01/1.png', 'n02/1.png')
    assert build(custom(tmp_path, classes=['tench', 'goldfish']), 2).get_gt_labels().tolist() == [0, 1]


def wrapped(kind, *inner):
    return {
        'KFoldDataset': lambda: ConfigDict(type=kind, dataset=inner[0], num_splits=2, fold=0, seed=0),
        'ConcatDataset': lambda: ConfigDict(type=kind, datasets=list(inner)),
        'RepeatDataset': lambda: ConfigDict(type=kind, dataset=inner[0], times=3),
        'ClassBalancedDataset': lambda: ConfigDict(type=kind, dataset=inner[0], oversample_thr=0.9),
    }[kind]()


@pytest.mark.parametrize('outer', ['KFoldDataset', 'ConcatDataset', 'RepeatDataset', 'ClassBalancedDataset'])
@pytest.mark.parametrize('kind', [custom, folders])
def test_wrapped_datasets_are_built_and_named(tmp_path, outer, kind):
    root = put(tmp_path, *(f'{name}/{i}.png' for name in 'ab' for i in range(4)))
    settings = wrapped(outer, kind(root), kind(root))
    before = str(settings)
    assert classes_of_data(settings, 'train_dataloader') == ('a', 'b')
    dataset = build(settings, 2)
    assert dataset.metainfo['classes'] == ('a', 'b')
    assert len(dataset) >= 4
    assert dataset.get_data_info(0)['img_path'].startswith(str(root))
    assert str(settings) == before


def test_joined_folders_can_be_balanced(tmp_path):
    one = put(tmp_path / 'one', *(f'a/{i}.png' for i in range(6)), 'b/1.png')
    two = put(tmp_path / 'two', 'a/1.png', 'b/1.png')
    joined = wrapped('ConcatDataset', custom(one), folders(two))
    balanced = build(wrapped('ClassBalancedDataset', joined), 2)
    labels = [balanced.get_data_info(i)['gt_label'] for i in range(len(balanced))]
    assert (labels.count(0), labels.count(1)) == (7 * 2, 2 * 3)  # ceil(sqrt(0.9 / frequency))


def test_nothing_cannot_be_joined():
    with pytest.raises(UserError, match='ConcatDataset joins an empty list'):
        inner_settings(wrapped('RepeatDataset', wrapped('ConcatDataset')))


def test_folds_of_sorted_images_need_a_seed(tmp_path):
    root = put(tmp_path, *(f'{name}/{i}.png' for name in 'ab' for i in range(4)))
    folds = dict(type='KFoldDataset', dataset=custom(root), num_splits=2)
    with pytest.raises(UserError, match='training has no image of a;.*seed=0'):
        build(ConfigDict(folds), 2)
    with pytest.warns(UserWarning, match='validation has no image of b;.*seed=0'):
        assert len(build(ConfigDict(folds, test_mode=True), 2)) == 4
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert len(build(ConfigDict(folds, num_splits=4), 2)) == 6  # of both classes
        assert len(build(ConfigDict(folds, seed=0), 2)) == 4
    folds['test_mode'] = True
    (root / 'list.txt').write_text('a/0.png 0\nb/0.png 1\na/1.png 0\nb/1.png 1\n')
    mixed = build(ConfigDict(folds, dataset=custom(root, ann_file='list.txt', classes=['a', 'b'])), 2)
    assert sorted(mixed.get_gt_labels().tolist()) == [0, 1]


def test_joined_folders_with_other_classes_have_all_of_them(tmp_path):
    one = put(tmp_path / 'one', 'a/1.png', 'b/1.png')
    two = put(tmp_path / 'two', 'b/1.png', 'c/1.png')
    nested = ConfigDict(
        type='RepeatDataset', times=1, dataset=wrapped('ConcatDataset', custom(one), folders(two))
    )
    classes = classes_of_data(nested, 'train_dataloader')
    assert classes == ('a', 'b', 'c')
    for inner in inner_settings(nested):
        inner['classes'] = list(classes)
    dataset = build(nested, 3)
    assert [dataset.get_data_info(i)['gt_label'] for i in range(4)] == [0, 1, 1, 2]
