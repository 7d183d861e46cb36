"""Descriptions of networks in files are data: invalid values end in a message that names file and field."""

import json

import pytest
import torch

from mmconvnext import get_model
from mmconvnext.apis.convert import convert
from mmconvnext.errors import UserError
from mmconvnext.models.network import Network
from tests.conftest import TINY_ARCH


@pytest.fixture(scope='module')
def file(tmp_path_factory):
    file = tmp_path_factory.mktemp('honest') / 'tiny.pth'
    model = Network(dict(arch=TINY_ARCH), dict(num_classes=2)).build_on_meta().to_empty(device='cpu')
    weights = {name: torch.randn(w.shape) for name, w in model.state_dict().items()}
    torch.save(dict(state_dict=weights, meta=dict(dataset_meta=dict(classes=['a', 'b']))), file)
    return file


@pytest.fixture
def folder(file, tmp_path):
    convert(file, tmp_path / 'folder', target_format='transformers')
    return tmp_path / 'folder'


def say(folder, name, **fields):
    present = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(present | fields))


ODD_CONFIGS = [
    dict(hidden_act=None),
    dict(hidden_act=['gelu']),
    dict(hidden_act='x' * 10**6),
    dict(num_channels=10**9),
    dict(num_channels=4),
    dict(num_channels=3.0),
    dict(depths=[10**9, 1, 1, 1]),
    dict(depths=[1] * 10**5),
    dict(depths=[True, 1, 2, 1]),
    dict(depths=[1, 1, 2]),
    dict(hidden_sizes={'a': 1}),
    dict(hidden_sizes=[8, 16, 24, 10**30]),
    dict(patch_size=[4, 5]),
    dict(patch_size=8),
    dict(layer_norm_eps='tiny'),
    dict(layer_norm_eps=None),
    dict(layer_norm_eps=-1),
    dict(layer_scale_init_value='1'),
    dict(drop_path_rate=1),
    dict(initializer_range=[]),
    dict(architectures='ConvNextForImageClassification'),
    dict(id2label={'0': ['x'], '1': 'b'}),
    dict(id2label={'0': 'a', '00': 'b'}),
    dict(id2label={'0': 'a', '5': 'b'}),
    dict(id2label={'0': 'x' * 5000, '1': 'b'}),
    dict(model_type={'convnext': 1}),
    dict(model_type='convnextv2'),
    dict(image_size=10**9),
    dict(image_size=16384),
    dict(problem_type='other'),
]


@pytest.mark.parametrize('fields', ODD_CONFIGS, ids=lambda fields: str(fields)[:50])
def test_odd_config_is_named(fields, folder):
    say(folder, 'config.json', **fields)
    with pytest.raises(UserError, match='config.json'):
        get_model(folder)


def test_a_dict_for_a_name_calls_nothing(folder, tmp_path):
    command = dict(type='os.system', command=f'touch {tmp_path}/ran')
    say(folder, 'config.json', hidden_act=command)
    with pytest.raises(UserError, match=r'config.json: hidden_act is .*; expected one of gelu, '):
        get_model(folder)
    assert not (tmp_path / 'ran').exists()


ODD_PREPROCESSORS = [
    dict(resample='bilinear'),
    dict(resample=True),
    dict(size=10**9),
    dict(size=4000),
    dict(size=dict(shortest_edge=4096)),
    dict(size=dict(height=4096, width=2048)),
    dict(size=dict(shortest_edge=4097), do_center_crop=True, crop_size=224),
    dict(size=dict(shortest_edge=200), do_center_crop=True, crop_size=224),
    dict(size=dict(shortest_edge=383), crop_pct=0.01),
    dict(crop_pct=10),
    dict(size='224'),
    dict(size=[64, 32]),
    dict(size=dict(height=64)),
    dict(image_mean=['a'] * 3),
    dict(image_mean=[0.5] * 2),
    dict(image_std=[0, 0, 0]),
    dict(image_std=[[1], [1], [1]]),
    dict(crop_pct='x'),
    dict(crop_pct=1e-300),
    dict(do_resize='no'),
    dict(rescale_factor=0),
    dict(do_center_crop=True, crop_size='a'),
]


@pytest.mark.parametrize('fields', ODD_PREPROCESSORS, ids=lambda fields: str(fields)[:50])
def test_odd_preprocessor_is_named(fields, folder):
    say(folder, 'preprocessor_config.json', **fields)
    with pytest.raises(UserError, match='preprocessor_config.json'):
        get_model(folder)


BROKEN_JSON = dict(
    nan='{"layer_norm_eps": NaN}',
    infinite='{"layer_norm_eps": 1e400}',
    long='{"depths": 1' + '0' * 9999 + '}',
    deep='[' * 100_000,
    array='[1, 2]',
    empty='',
    twice='{"model_type": "convnext", "model_type": "convnextv2"}',
    utf16='{"a": 1}'.encode('utf-16'),
    huge='{"a": "' + 'x' * (33 << 20) + '"}',
    lists='{"a": [' + '[[[]]],' * 300_000 + '0]}',
    objects='{"a": [' + '{"":{}},' * 400_000 + '0]}',
    fields='{' + ','.join(f'"{i}":0' for i in range(1_100_000)) + '}',
)


@pytest.mark.parametrize('kind', BROKEN_JSON)
def test_broken_json_is_named(kind, folder):
    content = BROKEN_JSON[kind]
    (folder / 'config.json').write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match='config.json') as caught:
        get_model(folder)
    assert len(str(caught.value)) < 1000
    if kind in ('lists', 'objects', 'fields'):
        assert 'more than 1,000,000 values' in str(caught.value)


def test_byte_order_mark_is_no_fault(folder):
    config = folder / 'config.json'
    config.write_bytes(b'\xef\xbb\xbf' + config.read_bytes())
    assert get_model(folder)._dataset_meta['classes'] == ('a', 'b')


def changed(file, tmp_path, meta=None, **weights):
    content = torch.load(file, weights_only=True)
    content['meta'] = meta or content['meta']
    content['state_dict'] |= weights
    content['state_dict'] = {name: w for name, w in content['state_dict'].items() if w is not None}
    torch.save(content, tmp_path / 'changed.pth')
    return tmp_path / 'changed.pth'


def deep(levels):
    nested = ['x']
    for _ in range(levels):
        nested = [nested] * 10
    return nested


@pytest.mark.parametrize('classes', [[deep(2)], [None, 'a'], [{'a': 1}, 'b'], 'ab', ['x' * 10**6], [1.5, 2]])
def test_odd_class_names_are_named(classes, file, tmp_path):
    with pytest.raises(UserError, match='classes is .*; expected'):
        get_model(changed(file, tmp_path, dict(dataset_meta=dict(classes=classes))))


PREPROCESSING = dict(
    size=64, resize=None, interpolation='bilinear', mean=(0.0,) * 3, std=(1.0,) * 3, crop='round'
)


@pytest.mark.parametrize(
    'description',
    [
        'text',
        dict(backbone=[1]),
        dict(backbone=dict(act_cfg=dict(type='os.system'))),
        dict(backbone=dict(norm_cfg=dict(type='torch.nn.BatchNorm2d', eps=1e-5))),
        dict(backbone=dict(norm_cfg=dict(type='LN2d', eps=-1))),
        dict(backbone=dict(out_norm_cfg=dict(type='LN2d', eps=1e-6, more=1))),
        dict(backbone=dict(gap_before_final_norm='no')),
        dict(backbone=dict(output_stride=9)),
        dict(head='other'),
        dict(head='regression'),
        dict(preprocessing=dict(PREPROCESSING, size=10**9)),
        dict(preprocessing=dict(PREPROCESSING, size=(4096, 2048))),
        dict(preprocessing=dict(PREPROCESSING, size=64, resize=5000)),
        dict(preprocessing=dict(PREPROCESSING, interpolation='other')),
        dict(preprocessing=dict(PREPROCESSING, mean=(0.0,))),
        dict(preprocessing=dict(PREPROCESSING, mean=(float('nan'),) * 3)),
        dict(preprocessing=dict(PREPROCESSING, mean=(0.0,) * 4, std=(1.0,) * 4)),
        dict(preprocessing=dict(PREPROCESSING, std=(0.0,) * 3)),
        dict(preprocessing=dict(PREPROCESSING, color=['rgb'])),
        dict(preprocessing=dict(PREPROCESSING, crop='centre')),
    ],
    ids=str,
)
def test_odd_meta_is_named(description, file, tmp_path):
    with pytest.raises(UserError, match='changed.pth'):
        get_model(changed(file, tmp_path, dict(mmconvnext=description)))


ONE = torch.zeros(1)
BLOCK = 'backbone.stages.0.0'


@pytest.mark.parametrize(
    ('weights', 'message'),
    [
        ({'head.fc.weight': ONE.expand(10**7, 32), 'head.fc.bias': ONE.expand(10**7)}, '1 stored elements'),
        ({'backbone.downsample_layers.0.0.weight': ONE.expand(8, 10**6, 4, 4)}, '1 stored elements'),
        ({f'backbone.stages.2.{i}.gamma': ONE for i in range(5000)}, 'not those of a whole ConvNeXt'),
        ({'backbone.stages.2.7.gamma': ONE}, r'stages.2.2'),
        ({f'backbone.stages.{"1" * 500}.0.gamma': ONE}, '1 name is unknown there'),
        ({f'{BLOCK}.pointwise_conv1.weight': torch.zeros(0, 0)}, 'not those of a whole ConvNeXt'),
        ({f'{BLOCK}.depthwise_conv.weight': torch.zeros(8, 1, 6, 6)}, 'kernel_size'),
        ({'head.fc.weight': torch.tensor(1.0)}, 'not those of a whole ConvNeXt'),
        ({'head.fc.weight': torch.eye(2, 32).to_sparse()}, 'sparse'),
        ({'head.fc.weight': torch.zeros(2, 32, dtype=torch.int8)}, 'int8'),
        ({'head.fc.weight': torch.zeros(0, 32)}, 'head.fc.weight is empty'),
        ({'backbone.downsample_layers.0.0.weight': torch.zeros(8, 0, 4, 4)}, 'weight is empty'),
    ],
)
def test_networks_are_no_larger_than_their_weights(weights, message, file, tmp_path):
    with pytest.raises(UserError, match=message):
        get_model(changed(file, tmp_path, **weights))


@pytest.mark.skipif(not hasattr(torch, 'float4_e2m1fn_x2'), reason='this PyTorch has no float4')
def test_numbers_that_are_packed_are_named(file, tmp_path):
    packed = torch.zeros(2, 32, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
    with pytest.raises(UserError, match=r'head.fc.weight is of torch.float4_e2m1fn_x2; expected'):
        get_model(changed(file, tmp_path, **{'head.fc.weight': packed}))


@pytest.mark.parametrize(
    'weights',
    [
        {'head.bn.weight': ONE},
        {'criterion.weight': ONE},
        {'head.fc.weight': None, 'head.fc.bias': None, 'head.norm_product.weight': torch.zeros(2, 32)},
    ],
)
def test_a_head_that_is_not_understood_is_never_dropped(weights, file, tmp_path):
    with pytest.raises(UserError, match='1 name is unknown there: '):
        get_model(changed(file, tmp_path, **weights))
