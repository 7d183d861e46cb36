"""``outputs_of`` returns the same values as the models of transformers, under the same names."""

import pytest
import torch

from mmconvnext.models import outputs_of
from mmconvnext.zoo import get_model
from tests import peers
from tests.conftest import TINY_ARCH


@pytest.mark.parametrize('v2', [False, True])
@pytest.mark.parametrize('labels', [torch.tensor([3, 1]), None])
def test_every_output_is_that_of_transformers(v2, labels, tmp_path):
    theirs = peers.transformers_peer(**TINY_ARCH, v2=v2).eval()
    theirs.save_pretrained(tmp_path)
    images = torch.randn(2, 3, 64, 64)
    expected = theirs(images, labels=labels, output_hidden_states=True)
    ours = outputs_of(get_model(tmp_path).eval(), images, labels)
    for found, wanted in zip(ours.hidden_states, expected.hidden_states, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.logits, expected.logits, rtol=1e-5, atol=1e-5)
    assert (ours.loss is None) == (expected.loss is None)
    if labels is not None:
        torch.testing.assert_close(ours.loss, expected.loss)
        ours.loss.backward()
    base = theirs.base_model(images)
    torch.testing.assert_close(ours.last_hidden_state, base.last_hidden_state, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.pooler_output, base.pooler_output, rtol=1e-5, atol=1e-5)


def test_one_label_is_regression_with_mean_squared_error(tmp_path):
    from transformers import ConvNextConfig, ConvNextForImageClassification

    sizes = dict(depths=[1, 1, 2, 1], hidden_sizes=[8, 16, 24, 32], num_labels=1)
    theirs = peers.randomize(ConvNextForImageClassification(ConvNextConfig(**sizes))).eval()
    theirs.save_pretrained(tmp_path)
    images, values = torch.randn(2, 3, 64, 64), torch.tensor([0.5, -2.0])
    ours = outputs_of(get_model(tmp_path).eval(), images, values)
    torch.testing.assert_close(ours.loss, theirs(images, labels=values).loss, rtol=1e-5, atol=1e-5)


def test_norm_before_the_pooling_and_hidden_layers_give_the_models_own_logits():
    for name in ('convnext_tiny_hnf.a2h_in1k', 'convnext_large_mlp.clip_laion2b_augreg_ft_in1k'):
        model = get_model(name, backbone=dict(arch=TINY_ARCH), head=dict(in_channels=32)).eval()
        images = torch.randn(1, 3, 64, 64)
        expected = model.head(model.extract_feat(images))
        torch.testing.assert_close(outputs_of(model, images).logits, expected)


def test_features_have_no_logits_and_take_no_labels():
    model = get_model('convnextv2_atto.1k_224_fcmae', backbone=dict(arch=TINY_ARCH))
    assert outputs_of(model, torch.randn(1, 3, 64, 64)).logits is None
    with pytest.raises(ValueError, match='the model has no head'):
        outputs_of(model, torch.randn(1, 3, 64, 64), torch.tensor([1]))


FIELDS = dict(
    num_channels=1,
    patch_size=2,
    hidden_sizes=[8, 16, 24],
    depths=[1, 2, 1],
    num_stages=3,
    hidden_act='silu',
    initializer_range=0.1,
    layer_norm_eps=1e-3,
    layer_scale_init_value=0.5,
    drop_path_rate=0.3,
    image_size=48,
)


def test_every_field_of_their_config_has_its_argument(tmp_path):
    from transformers import ConvNextConfig, ConvNextForImageClassification

    from mmconvnext.apis.convert import convert
    from mmconvnext.checkpoints.transformers_directory import network_of_config

    theirs = peers.randomize(ConvNextForImageClassification(ConvNextConfig(**FIELDS, num_labels=5))).eval()
    theirs.save_pretrained(tmp_path / 'theirs')
    model = get_model(tmp_path / 'theirs').eval()
    images = torch.randn(2, 1, 48, 48)
    torch.testing.assert_close(outputs_of(model, images).logits, theirs(images).logits, rtol=1e-5, atol=1e-5)
    network = network_of_config(theirs.config.to_dict())
    assert network.backbone['drop_path_rate'] == 0.3
    assert network.backbone['init_cfg'][0]['std'] == 0.1
    assert model.preprocessing.size == 48
    convert(tmp_path / 'theirs', tmp_path / 'back', target_format='transformers')
    again = ConvNextForImageClassification.from_pretrained(tmp_path / 'back').config
    for field in FIELDS:
        assert list_of(getattr(again, field)) == list_of(FIELDS[field]), field


def list_of(value):
    return list(value) if isinstance(value, tuple) else value
