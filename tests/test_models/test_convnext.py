import copy
import inspect

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mmconvnext.models import ARCHS, ConvNeXt
from mmconvnext.models.block import GRN
from tests.conftest import TINY_ARCH

# Parameters with a 1000-class head, as published (official READMEs, timm results-imagenet.csv).
PUBLISHED_PARAMETERS = {
    ('zepto', 1): 2_155_656,
    ('atto', 1): 3_695_520,
    ('femto', 1): 5_217_784,
    ('pico', 1): 9_045_672,
    ('nano', 1): 15_593_560,
    ('tiny', 1): 28_589_128,
    ('small', 1): 50_223_688,
    ('base', 1): 88_591_464,
    ('large', 1): 197_767_336,
    ('xlarge', 1): 350_196_968,
    ('xxlarge', 1): 846_471_016,
    ('isotropic-small', 0): 22_308_712,
    ('isotropic-base', 0): 87_083_752,
    ('isotropic-large', 1): 305_942_504,
    ('atto', 2): 3_708_400,
    ('femto', 2): 5_233_240,
    ('pico', 2): 9_066_280,
    ('nano', 2): 15_623_800,
    ('tiny', 2): 28_635_496,
    ('base', 2): 88_717_800,
    ('large', 2): 197_956_840,
    ('huge', 2): 660_289_640,
}


@pytest.mark.parametrize(('arch', 'version'), PUBLISHED_PARAMETERS)
def test_parameters_are_as_many_as_published(arch, version):
    """Version 0 is V1 without layer scale."""
    with torch.device('meta'):
        model = ConvNeXt(arch, use_grn=version == 2, layer_scale_init_value=1e-6 if version == 1 else 0)
        head = torch.nn.Linear(model.channels[-1], 1000)
    count = sum(p.numel() for m in (model, head) for p in m.parameters())
    assert count == PUBLISHED_PARAMETERS[arch, version]


@pytest.mark.parametrize(
    ('arch', 'gmacs'),
    [('tiny', 4.457), ('small', 8.687), ('base', 15.36), ('large', 34.37), ('xlarge', 60.93)],
)
def test_multiplications_at_224_are_as_published(arch, gmacs):
    with torch.device('meta'), FlopCounterMode(display=False) as counter:
        ConvNeXt(arch).eval()(torch.empty(1, 3, 224, 224))
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmacs, rel=0.005)


def test_takes_every_argument_of_mmpretrain():
    from mmpretrain.models.backbones.convnext import ConvNeXt as MMPretrainConvNeXt

    ours, theirs = (inspect.signature(each).parameters for each in (ConvNeXt, MMPretrainConvNeXt))
    assert list(ours)[: len(theirs) - 1] == list(theirs)[:-1]  # in its order, with init_cfg last
    assert 'init_cfg' in ours


def test_any_number_of_stages():
    arch = dict(depths=[1, 2, 1, 1, 1], channels=[4, 8, 8, 16, 16])
    model = ConvNeXt(arch, out_indices=range(5), gap_before_final_norm=False)
    shapes = [tuple(f.shape) for f in model(torch.randn(1, 3, 64, 64))]
    assert shapes == [(1, 4, 16, 16), (1, 8, 8, 8), (1, 8, 4, 4), (1, 16, 2, 2), (1, 16, 1, 1)]


def test_negative_out_indices_count_from_the_end_of_any_network_and_stay_as_given():
    out_indices = [-1, -2]
    model = ConvNeXt(dict(depths=(1, 1), channels=(4, 8)), out_indices=out_indices)
    assert out_indices == [-1, -2]
    assert [f.shape[1] for f in model(torch.randn(1, 3, 32, 32))] == [4, 8]


def test_arch_and_configs_of_the_caller_stay_as_given():
    arguments = dict(
        arch=dict(depths=[1, 1], channels=[4, 8]),
        norm_cfg=dict(type='LN2d', eps=1e-5),
        act_cfg=dict(type='GELU'),
    )
    before = copy.deepcopy(arguments)
    ConvNeXt(**arguments)
    assert arguments == before


def test_train_and_eval_return_the_model_and_frozen_stages_stay_frozen():
    model = ConvNeXt(TINY_ARCH, frozen_stages=2, drop_path_rate=0.5)
    assert model.train() is model
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    expected = ('downsample_layers.0', 'downsample_layers.1', 'stages.0', 'stages.1')
    assert frozen == {name for name, _ in model.named_parameters() if name.startswith(expected)}
    assert [stage.training for stage in model.stages] == [False, False, True, True]
    assert model.eval() is model


def test_images_on_a_cpu_enter_the_network_with_their_channels_last_in_memory():
    backbone, seen = ConvNeXt(TINY_ARCH), []
    backbone.downsample_layers[0][0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    backbone(torch.randn(2, 3, 64, 64))
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


def test_drop_path_rises_linearly_over_the_blocks():
    model = ConvNeXt(TINY_ARCH, drop_path_rate=0.4)
    rates = [getattr(block.drop_path, 'drop_prob', 0.0) for stage in model.stages for block in stage]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])


def test_activation_checkpointing_changes_neither_output_nor_gradients():
    plain, saving = ConvNeXt(TINY_ARCH), ConvNeXt(TINY_ARCH, with_cp=True)
    saving.load_state_dict(plain.state_dict())
    images = torch.randn(2, 3, 32, 32)
    outputs = [model(images)[0] for model in (plain, saving)]
    torch.testing.assert_close(*outputs)
    for output in outputs:
        output.square().sum().backward()
    for a, b in zip(plain.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_initial_weights_are_the_official_ones():
    model = ConvNeXt('atto')
    model.init_weights()
    weight = model.stages[3][0].pointwise_conv1.weight
    assert weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert model.stages[3][0].pointwise_conv1.bias.abs().max() == 0
    assert (model.stages[3][0].gamma == 1e-6).all()


def test_size_limits_match_what_the_network_can_do():
    for kwargs in (
        {},
        dict(stem_patch_size=2),
        dict(stem_type='overlap'),
        dict(output_stride=16),
        dict(arch='isotropic-small'),
    ):
        model = ConvNeXt(**{'arch': TINY_ARCH, **kwargs}, gap_before_final_norm=False).eval()
        least = model.min_input_size
        assert model(torch.randn(1, 3, least, least))[0].shape[-1] >= 1
        with pytest.raises(ValueError, match=f'at least {least}'):
            model(torch.randn(1, 3, least, least - 1))


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(arch='tinny'), "'tinny' is unknown; choose from zepto, atto"),
        (dict(arch=dict(depths=[1, 1], channels=[4])), 'each needs one positive number per stage'),
        (dict(arch=dict(depths=[1, 1])), 'needs depths and channels'),
        (dict(arch=dict(depths=[1], channels=[4], width=3)), 'width'),
        (dict(out_indices=4), 'out_indices is 4; the network has 4 stages'),
        (dict(out_indices=[-5]), 'the network has 4 stages'),
        (dict(frozen_stages=5), 'frozen_stages is 5; the network has 4 stages'),
        (dict(stem_type='conv'), 'choose from patch, overlap'),
        (dict(stem_patch_size=0), 'positive number of pixels'),
        (dict(kernel_size=4), 'one odd number'),
        (dict(kernel_size=-3), 'one odd number'),
        (dict(drop_path_rate=1.0), 'drop_path_rate is 1.0; a probability'),
        (dict(mlp_ratio=0), 'mlp_ratio is 0'),
        (dict(kernel_size=(7, 5)), 'or 4 of them'),
        (dict(norm_cfg=dict(type='BN')), "'BN'; choose from LN2d"),
        (dict(act_cfg='gelo'), "'gelo' is unknown; choose from gelu"),
        (dict(output_stride=4), 'choose from 8, 16, 32'),
        (dict(arch='isotropic-small', output_stride=8), 'the stem alone has stride 16'),
    ],
)
def test_wrong_arguments_are_named_with_the_cure(kwargs, message):
    with pytest.raises(ValueError, match=message):
        ConvNeXt(**kwargs)


def test_grn_follows_the_algorithm_of_the_paper():
    grn = GRN(3)
    torch.nn.init.normal_(grn.gamma)
    torch.nn.init.normal_(grn.beta)
    x = torch.randn(2, 5, 4, 3, dtype=torch.float64)
    grn.double()
    expected = torch.empty_like(x)
    for n in range(2):
        norms = [x[n, :, :, c].pow(2).sum().sqrt() for c in range(3)]
        for c in range(3):
            scale = norms[c] / (sum(norms) / 3 + 1e-6)
            expected[n, :, :, c] = grn.gamma[c] * x[n, :, :, c] * scale + grn.beta[c] + x[n, :, :, c]
    torch.testing.assert_close(grn(x), expected)


@pytest.mark.parametrize('arch', ARCHS)
def test_every_arch_builds_by_name(arch):
    from mmengine.registry import MODELS

    with torch.device('meta'):
        model = MODELS.build(dict(type='mmconvnext.ConvNeXt', arch=arch))
    assert type(model) is ConvNeXt


def test_norms_can_be_kept_from_training():
    model = ConvNeXt(TINY_ARCH, norm_cfg=dict(type='LN2d', eps=1e-6, requires_grad=False))
    assert not model.norm3.weight.requires_grad
    assert model.stages[0][0].gamma.requires_grad


@pytest.mark.parametrize('linear', [True, False])
def test_weights_of_linear_layers_and_of_1x1_convolutions_load_into_each_other(linear):
    first, second = (ConvNeXt(TINY_ARCH, linear_pw_conv=each).eval() for each in (linear, not linear))
    weights = first.state_dict()
    second.load_state_dict(weights, strict=True)
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(first(images), second(images), rtol=1e-5, atol=1e-5)
    assert all(
        weights[name] is not None and weights[name].ndim == w.ndim for name, w in first.state_dict().items()
    )


def test_output_norms_can_have_an_eps_of_their_own():
    model = ConvNeXt(TINY_ARCH, out_indices=(1, 3), out_norm_cfg=dict(type='LN2d', eps=0.5))
    assert [model.norm1.eps, model.norm3.eps] == [0.5, 0.5]
    assert model.stages[3][0].norm.eps == model.downsample_layers[3][0].eps == 1e-6


def test_hidden_states_are_the_stem_and_every_stage():
    model = ConvNeXt(TINY_ARCH).eval()
    images = torch.randn(1, 3, 64, 64)
    stem, *stages = model.hidden_states(images)
    torch.testing.assert_close(stem, model.downsample_layers[0](images))
    assert [tuple(map_.shape[1:]) for map_ in stages] == [(8, 16, 16), (16, 8, 8), (24, 4, 4), (32, 2, 2)]
    assert torch.equal(model.output(3, stages[-1]), model(images)[0])
