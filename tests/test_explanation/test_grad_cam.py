"""Grad-CAM compared with an implementation with hooks on timm's network, and its side effects."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from mmconvnext.errors import UserError
from mmconvnext.explanation import grad_cam
from mmconvnext.zoo import get_model
from tests import peers
from tests.conftest import TINY_ARCH


@pytest.fixture
def pair(tmp_path):
    """Return a network of timm, and ours with the same weights."""
    theirs = peers.timm_peer(**TINY_ARCH).eval()
    save_file(theirs.state_dict(), tmp_path / 'theirs.safetensors')
    return theirs, get_model(tmp_path / 'theirs.safetensors').eval()


def by_hooks(theirs, images, classes, stage):
    """Compute Grad-CAM in the common way: image by image, with hooks and ``backward``."""
    heats = []
    for image, label in zip(images, classes, strict=True):
        kept = {}

        def keep(module, _, output, kept=kept):
            kept['map'] = output
            output.register_hook(lambda gradient: kept.update(gradient=gradient))

        hook = theirs.stages[stage].register_forward_hook(keep)
        theirs(image[None])[0, label].backward()
        hook.remove()
        weights = kept['gradient'][0].mean(dim=(1, 2))
        heat = sum(weight * channel for weight, channel in zip(weights, kept['map'][0], strict=True))
        heat = F.interpolate(heat.clamp(min=0)[None, None], images.shape[2:], mode='bilinear')[0, 0]
        heats.append((heat / heat.max()).detach() if heat.max() > 0 else heat.detach())
    return torch.stack(heats)


@pytest.mark.parametrize('stage', [-1, 2, 0])
def test_maps_are_those_of_hooks_on_timms_network(pair, stage):
    theirs, ours = pair
    images = torch.randn(4, 3, 64, 96)
    predicted = theirs(images).argmax(dim=1)
    for classes in (torch.tensor([3, 1, 9, 0]), None):
        found = grad_cam(ours, images, classes, stage)
        expected = by_hooks(theirs, images, predicted if classes is None else classes, stage)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
        assert found.shape == (4, 64, 96)
        assert found.amax(dim=(1, 2)).max() == 1  # the comparison is not empty


def test_norm_before_the_pooling_is_followed_by_the_gradient():
    model = get_model(
        'convnext_tiny_hnf.a2h_in1k', backbone=dict(arch=TINY_ARCH), head=dict(in_channels=32)
    ).eval()
    images, classes = torch.randn(2, 3, 128, 128), torch.tensor([5, 7])
    maps = model.backbone.hidden_states(images)[-1].detach().requires_grad_()
    logits = model.head((model.backbone.norm3(maps).mean(dim=(2, 3)),))
    weights = torch.autograd.grad(logits[[0, 1], classes].sum(), maps)[0].mean(dim=(2, 3))
    heat = torch.einsum('nc,nchw->nhw', weights, maps.detach()).relu()
    enlarged = F.interpolate(heat[:, None], (128, 128), mode='bilinear')[:, 0]
    expected = enlarged / enlarged.amax(dim=(1, 2), keepdim=True)
    assert expected.isfinite().all()
    torch.testing.assert_close(grad_cam(model, images, classes), expected)


@pytest.mark.parametrize('training', [False, True])
def test_model_is_left_as_it_was_and_predicts_while_it_trains(pair, training):
    model = pair[1]
    for block in model.backbone.stages[2]:
        block.drop_path = torch.nn.Dropout(0.9)
    images = torch.randn(2, 3, 64, 64)
    expected = grad_cam(model.eval(), images)
    model.train(training)
    model.head.fc.bias.requires_grad_(False)
    model.head.fc.weight.grad = torch.ones_like(model.head.fc.weight)
    modes = [module.training for module in model.modules()]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for outside in (torch.no_grad, torch.enable_grad, torch.inference_mode):
        with outside():
            torch.testing.assert_close(grad_cam(model, images), expected)
    assert [module.training for module in model.modules()] == modes
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (name != 'head.fc.bias')
        assert (parameter.grad is None) == (name != 'head.fc.weight')
    assert (model.head.fc.weight.grad == 1).all()
    assert not any(module._forward_hooks or module._backward_hooks for module in model.modules())


def test_threads_share_a_model(pair):
    model = pair[1]
    model.train()
    jobs = [(torch.randn(1, 3, 64, 64), torch.tensor([label])) for label in range(10)]
    expected = [grad_cam(model, *job) for job in jobs]
    with ThreadPoolExecutor(10) as pool:
        found = list(pool.map(lambda job: grad_cam(model, *job), jobs * 3))
    for one, wanted in zip(found, expected * 3, strict=True):
        torch.testing.assert_close(one, wanted)
    assert model.training


def test_where_nothing_speaks_for_a_class_the_map_is_empty(pair):
    model = pair[1]
    torch.nn.init.zeros_(model.head.fc.weight)
    assert (grad_cam(model, torch.randn(2, 3, 64, 64)) == 0).all()


def test_what_cannot_be_explained_is_told(pair):
    model, images = pair[1], torch.randn(2, 3, 64, 64)
    for classes in ([3, 10], [-1, 3], [3]):
        with pytest.raises(UserError, match=r'one for each of 2 images, from 0 to 9'):
            grad_cam(model, images, torch.tensor(classes))
    with pytest.raises(ValueError, match='the network has 4 stages'):
        grad_cam(model, images, stage=4)
    features = get_model('convnextv2_atto.1k_224_fcmae', backbone=dict(arch=TINY_ARCH))
    with pytest.raises(UserError, match='has no head'):
        grad_cam(features, images)
    model.backbone = model.backbone.optimize_for_inference()
    with pytest.raises(UserError, match='form for inference'):
        grad_cam(model, images)
