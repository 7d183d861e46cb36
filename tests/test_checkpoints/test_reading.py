"""Weights in the checkpoint layouts of common trainers."""

import pytest
import torch
from safetensors.torch import save_file

from mmconvnext import get_model
from mmconvnext.checkpoints import FORMATS
from mmconvnext.errors import UserError
from mmconvnext.zoo.names import load_weights
from tests.peers import Ours

OURS = Ours(arch=dict(depths=(1, 1, 2, 1), channels=(8, 16, 24, 32))).state_dict()
TIMM = FORMATS['timm'].write(OURS).weights
TRANSFORMERS = FORMATS['transformers'].write(OURS).weights
BACKBONE = {name: w for name, w in TIMM.items() if not name.startswith('head.fc.')}


def behind(prefix, weights):
    return {prefix + name: weight for name, weight in weights.items()}


def saved(folder, checkpoint):
    file = folder / 'wrapped.pth'
    torch.save(checkpoint, file)
    return file


RECOGNISED = {
    'lightning, model': dict(state_dict=behind('model.', TIMM), optimizer_states=[{}], hyper_parameters={}),
    'lightning, net': dict(state_dict=behind('net.', TRANSFORMERS), epoch=3),
    'lightning, network': dict(state_dict=behind('network.', TIMM), global_step=9),
    'lightning, a model of OpenMMLab': dict(state_dict=behind('model.', OURS)),
    'several processes': dict(model=behind('module.', TIMM)),
    'compiled': dict(state_dict=behind('_orig_mod.', TIMM)),
    'compiled, several processes': dict(model=behind('_orig_mod.module.', TIMM)),
    'lightning, compiled': dict(state_dict=behind('model._orig_mod.', TIMM)),
    'deepspeed': dict(module=TIMM, optimizer=dict(state={0: dict(exp_avg=torch.zeros(1))})),
    'model_state_dict': dict(model_state_dict=TIMM, optimizer_state_dict={}, epoch=3),
    'net': dict(net=TIMM, acc=0.3),
    'weights': dict(weights=OURS),
    'params': dict(params=TIMM),
    'state_dict_ema alone': dict(state_dict_ema=TIMM),
    'nested twice': dict(checkpoint=dict(model=dict(state_dict=TIMM))),
    'inside of an encoder': behind('encoder.model.', TIMM),
    'the same weights under two keys': dict(model=TIMM, backup=TIMM),
}


@pytest.mark.parametrize('checkpoint', RECOGNISED.values(), ids=RECOGNISED)
def test_weights_come_out_of_a_wrapping_as_they_went_in(checkpoint, tmp_path):
    found = load_weights(saved(tmp_path, checkpoint)).tensors
    assert set(found) == set(OURS)
    for name, weight in OURS.items():
        assert torch.equal(found[name].reshape(weight.shape), weight), name


@pytest.mark.parametrize('prefix', ['', 'model.', 'backbone.', 'model.module.'])
def test_weights_without_a_classifier_make_a_network_without_a_head(prefix, tmp_path):
    model = get_model(saved(tmp_path, dict(state_dict=behind(prefix, BACKBONE))))
    assert model.head is None
    for name, weight in model.state_dict().items():
        assert torch.equal(weight.reshape(OURS[name].shape), OURS[name]), name


AMBIGUOUS = {
    'two models': (dict(student=TIMM, teacher=dict(TIMM)), ('student', 'teacher')),
    'two models under names': (
        dict(state_dict={**behind('student.', TIMM), **behind('teacher.', TIMM)}),
        ('student', 'teacher'),
    ),
    'two models deeper inside': (dict(run=dict(best=TIMM, last=dict(TIMM))), ('run/best', 'run/last')),
    'another part': (
        dict(state_dict={**behind('model.', TIMM), 'criterion.weight': torch.ones(1)}),
        ('criterion.weight',),
    ),
    'another head': (
        dict(state_dict={**behind('backbone.', BACKBONE), 'my.weight': torch.ones(2, 32)}),
        ('my.weight',),
    ),
}

FIRST = 'backbone.downsample_layers.0.0.weight'
TWICE = {
    'of wrapped models': {**OURS, **behind('module.', OURS)},
    'of compiled models': {**OURS, f'_orig_mod.{FIRST}': OURS[FIRST] + 1},
    'behind a prefix and without': {**behind('model.', TIMM), FIRST: OURS[FIRST] + 1},
}


@pytest.mark.parametrize('weights', TWICE.values(), ids=TWICE)
def test_two_tensors_for_one_name_are_refused(weights, tmp_path):
    with pytest.raises(UserError, match='holds two tensors for backbone'):
        load_weights(saved(tmp_path, dict(state_dict=weights)))


def test_a_bias_that_is_there_is_not_replaced_by_zeros(tmp_path):
    weights = FORMATS['open_clip'].write(OURS).weights
    found = load_weights(saved(tmp_path, dict(state_dict=weights)))
    assert found.format == 'open_clip'
    assert torch.equal(found.tensors['head.fc.bias'], OURS['head.fc.bias'])


EMPTY = torch.zeros(0)
CROWDED = {
    'names': ({f'{i}.weight': EMPTY for i in range(20_000)}, 'holds 20,000 tensors'),
    'networks': (
        {f'a{i}.stem.0.weight': EMPTY for i in reversed(range(9000))},
        r'holds several networks, whose names start with a0\., a1\., a2\., \.\.\.;',
    ),
    'networks inside of each other': (
        {'a.' * i + 'stem.0.weight': EMPTY for i in range(480)},
        'holds several networks',
    ),
    'long names': ({'x' * 900 + str(i): EMPTY for i in range(9)}, 'holds no ConvNeXt'),
}


@pytest.mark.parametrize(('weights', 'message'), CROWDED.values(), ids=CROWDED)
def test_files_of_many_names_are_refused_in_a_short_message(weights, message, tmp_path):
    save_file(weights, tmp_path / 'crowded.safetensors')
    with pytest.raises(UserError, match=message) as error:
        load_weights(tmp_path / 'crowded.safetensors')
    assert len(str(error.value)) < 800


@pytest.mark.parametrize(('checkpoint', 'options'), AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_what_could_be_several_things_is_a_message_that_names_them(checkpoint, options, tmp_path):
    with pytest.raises(UserError) as error:
        get_model(saved(tmp_path, checkpoint))
    for option in options:
        assert option in str(error.value)
