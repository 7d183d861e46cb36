import pytest
import torch
from mmengine.optim import build_optim_wrapper

from mmconvnext.apis import load_config
from mmconvnext.apis.runner import build_on_meta


def official_groups(model, lr, decay, weight_decay, get_depth, count):
    """Name to (lr, weight decay), after optim_factory.get_parameter_groups of the official repositories."""
    groups = {}
    for name, parameter in model.named_parameters():
        bare = name.removeprefix('backbone.')
        no_decay = len(parameter.shape) == 1 or name.endswith(('.bias', '.gamma', '.beta'))
        scale = decay ** (count - 1 - get_depth(bare))
        groups[name] = (lr * scale, 0.0 if no_decay else weight_decay)
    return groups


def group_id(name):
    """get_num_layer_for_convnext of V1: 12 groups for depths 3, 3, 27, 3."""
    parts = name.split('.')
    if parts[0] == 'downsample_layers':
        return {0: 0, 1: 2, 2: 3, 3: 12}[int(parts[1])]
    if parts[0] == 'stages':
        stage, block = int(parts[1]), int(parts[2])
        return {0: 1, 1: 2, 2: 3 + block // 3, 3: 12}[stage]
    return 13


def single_id(depths):
    """get_num_layer_for_convnext_single of V2."""

    def get(name):
        parts = name.split('.')
        if parts[0] == 'downsample_layers':
            return sum(depths[: int(parts[1])]) + 1
        if parts[0] == 'stages':
            return sum(depths[: int(parts[1])]) + int(parts[2]) + 1
        return sum(depths) + 1

    return get


@pytest.mark.parametrize(
    ('config', 'lr', 'decay', 'weight_decay', 'get_depth', 'count'),
    [
        ('convnext-base_32xb128_in1k-384px', 5e-5, 0.7, 1e-8, group_id, 14),
        ('convnext-xlarge_64xb64_in1k', 5e-5, 0.8, 1e-8, group_id, 14),
        ('convnext-v2-base_32xb32_in1k', 2.5e-3, 0.6, 0.05, group_id, 14),
        ('convnext-v2-atto_32xb32_in1k', 8e-4, 0.9, 0.3, single_id((2, 2, 6, 2)), 14),
        ('convnext-v2-tiny_32xb32_in1k', 3.2e-3, 0.9, 0.05, single_id((3, 3, 9, 3)), 20),
    ],
)
def test_every_parameter_has_the_official_rate_and_weight_decay(
    config, lr, decay, weight_decay, get_depth, count
):
    cfg = load_config(config)
    model = build_on_meta(cfg)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {
        names[id(parameter)]: (group['lr'], group['weight_decay'])
        for group in optimizer.param_groups
        for parameter in group['params']
    }
    expected = official_groups(model, lr, decay, weight_decay, get_depth, count)
    assert found.keys() == expected.keys()
    for name, pair in expected.items():
        assert found[name] == pytest.approx(pair, rel=1e-9), name
    # What mmengine logs as the learning rate is the one of the config.
    assert optimizer.param_groups[0]['lr'] == lr


def test_frozen_stages_get_no_group():
    cfg = load_config('convnext-v2-atto_32xb32_in1k', {'model.backbone.frozen_stages': 1})
    model = build_on_meta(cfg)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    grouped = sum(p.numel() for group in optimizer.param_groups for p in group['params'])
    assert grouped == sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_misspelt_option_is_an_error():
    cfg = load_config('convnext-v2-atto_32xb32_in1k')
    cfg.optim_wrapper.paramwise_cfg = dict(layer_decay_rate=0.9, scheme='single')
    with pytest.raises(ValueError, match='layer_decay_scheme'):
        build_optim_wrapper(torch.nn.Linear(1, 1), cfg.optim_wrapper)
