"""Files that are no ConvNeXt, and conversions that a format does not support, end in a message."""

import json

import pytest
import torch
from torch import nn

from mmconvnext.apis.convert import convert
from mmconvnext.checkpoints.reading import check_whole
from mmconvnext.errors import UserError
from mmconvnext.zoo.names import load_weights
from tests import peers
from tests.conftest import TINY_ARCH


@pytest.fixture
def tiny_timm_file(tmp_path):
    torch.save(peers.timm_peer(**TINY_ARCH).state_dict(), tmp_path / 'timm.pth')
    return tmp_path / 'timm.pth'


def change(file, **changes):
    weights = torch.load(file, weights_only=True)
    for name, weight in changes.items():
        weights.pop(name.replace('/', '.'), None)
        if weight is not None:
            weights[name] = weight
    torch.save(weights, file)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            {'surprise.weight': torch.ones(1)},
            'looks like timm, but 1 name is unknown there: surprise.weight',
        ),
        ({'stages.2.blocks.1.norm.bias': None}, r'1 missing \(stages.2.blocks.1.norm.bias \(24,\)\)'),
        (
            {'stages.0.blocks.0.conv_dw.weight': None},
            'not those of a whole ConvNeXt .*stages.0.0.depth',
        ),
        (
            {'stages.1.blocks.0.norm.bias': torch.ones(5)},
            r'stages.1.blocks.0.norm.bias: checkpoint \(5,\), model \(16,\)',
        ),
    ],
)
def test_unknown_and_missing_names_are_listed_and_nothing_is_written(
    tiny_timm_file, tmp_path, changes, message
):
    change(tiny_timm_file, **changes)
    with pytest.raises(UserError, match=message):
        convert(tiny_timm_file, tmp_path / 'out.pth')
    assert [f.name for f in tmp_path.iterdir()] == ['timm.pth']


@pytest.mark.parametrize(
    ('target', 'options', 'message'),
    [
        ('out.pth', dict(target_format='caffe'), "format 'caffe' is unknown; choose from openmmlab"),
        (
            'out.pth',
            dict(source_format='torchvision'),
            'no ConvNeXt in the format torchvision: 65 of its 65 names',
        ),
        ('timm.pth', {}, 'exists already'),
        ('timm.pth/out.pth', {}, 'timm.pth is a file and no folder'),
        ('out.txt', {}, "ends in '.txt'; for openmmlab the ending should be .pth"),
        ('out.pth', dict(target_format='transformers'), 'should be none, since it is a directory'),
        ('out.pth', dict(target_format='official-isotropic'), 'has no place for'),
    ],
)
def test_wrong_requests_say_what_to_do(tiny_timm_file, tmp_path, target, options, message):
    with pytest.raises(UserError, match=message):
        convert(tiny_timm_file, tmp_path / target, **options)
    assert [f.name for f in tmp_path.iterdir()] == ['timm.pth']


def test_network_that_a_format_cannot_build_is_refused_with_what_is_different(tmp_path):
    torch.save(peers.timm_peer(**TINY_ARCH, stem_type='overlap').state_dict(), tmp_path / 'ols.pth')
    for target, out in (('official', 'out.pth'), ('torchvision', 'out.pth'), ('transformers', 'out')):
        with pytest.raises(UserError, match=f"{target} has no such network: stem_type is 'overlap'"):
            convert(tmp_path / 'ols.pth', tmp_path / out, target_format=target)


def test_weights_of_another_model_are_no_convnext(tmp_path):
    torch.save(nn.Sequential(nn.Linear(2, 2)).state_dict(), tmp_path / 'mlp.pth')
    with pytest.raises(UserError, match='holds no ConvNeXt in any known format: 2 of its 2 names'):
        load_weights(tmp_path / 'mlp.pth')


def test_config_of_other_sizes_than_the_weights_is_an_error(tmp_path):
    peers.transformers_peer(**TINY_ARCH).save_pretrained(tmp_path)
    config = json.loads((tmp_path / 'config.json').read_text())
    (tmp_path / 'config.json').write_text(json.dumps(config | {'depths': [10**9, 1, 1, 1]}))
    with pytest.raises(UserError, match='config.json: depths is .1000000000, 1, 1, 1.; expected'):
        load_weights(tmp_path)


@pytest.mark.parametrize(
    ('file', 'fields'),
    [
        ('preprocessor_config.json', dict(resample=99)),
        ('preprocessor_config.json', dict(size=dict(longest_edge=3))),
        ('preprocessor_config.json', dict(image_mean=0.5)),
        ('preprocessor_config.json', dict(size=224, crop_pct=0)),
        ('preprocessor_config.json', dict(do_normalize=False)),
        ('config.json', dict(id2label=['a', 'b'])),
        ('config.json', dict(id2label={'0': 'a', '1': 'b'})),
        ('config.json', dict(depths=None)),
        ('config.json', dict(model_type='vit')),
    ],
)
def test_odd_fields_of_a_directory_end_in_a_message_with_the_file(file, fields, tmp_path):
    peers.transformers_peer(**TINY_ARCH).save_pretrained(tmp_path)
    present = json.loads((tmp_path / file).read_text()) if (tmp_path / file).exists() else {}
    (tmp_path / file).write_text(json.dumps(present | fields))
    with pytest.raises(UserError, match=file):
        load_weights(tmp_path)


def test_made_up_stage_numbers_do_not_count_for_hours(tiny_timm_file):
    change(tiny_timm_file, **{'stages.1000000000.blocks.0.norm.bias': torch.ones(1)})
    with pytest.raises(UserError, match='1 name is unknown there: stages.1000000000'):
        check_whole(load_weights(tiny_timm_file))
