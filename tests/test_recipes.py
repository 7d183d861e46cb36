"""Learning rate and weight decay of every parameter in every step, compared with the official formulas.

Written from main.py, main_pretrain.py, utils.py and optim_factory.py of V1 and V2, with the values of
tests/recipes.py.
"""

from functools import cache

import numpy as np
import pytest
import torch
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS
from torch.optim import SGD

from mmconvnext.apis import load_config
from mmconvnext.training.model import build_on_meta
from tests.recipes import PRETRAINING, RECIPES

# 21 of the 22 commands in both TRAINING.md; the other one is PRETRAINING.
OFFICIAL = {
    **{f'V1-1K-{size[0].upper()}': f'convnext-{size}_32xb128_in1k' for size in ('tiny', 'small', 'base')},
    'V1-1K-L': 'convnext-large_64xb64_in1k',
    'V1-1K-iso-S': 'convnext-isotropic-small_32xb128_in1k',
    'V1-1K-iso-B': 'convnext-isotropic-base_32xb128_in1k',
    'V1-1K-iso-L': 'convnext-isotropic-large_64xb64_in1k',
    'V1-22K-B': 'convnext-base_32xb128_in21k',
    'V1-22K-L': 'convnext-large_64xb64_in21k',
    'V1-22K-XL': 'convnext-xlarge_64xb64_in21k',
    'V1-FT1K-B-384': 'convnext-base_32xb128_in1k-384px',
    'V1-FT1K-L-384': 'convnext-large_64xb64_in1k-384px',
    'V1-FT22K-B-224': 'convnext-base_in21k-pre_16xb32_in1k',
    'V1-FT22K-L-224': 'convnext-large_in21k-pre_16xb32_in1k',
    'V1-FT22K-XL-224': 'convnext-xlarge_64xb64_in1k',
    'V1-FT22K-B-384': 'convnext-base_in21k-pre_32xb16_in1k-384px',
    'V1-FT22K-L-384': 'convnext-large_in21k-pre_32xb16_in1k-384px',
    'V1-FT22K-XL-384': 'convnext-xlarge_64xb64_in1k-384px',
    'V2-FT1K-B': 'convnext-v2-base_32xb32_in1k',
    'V2-FT1K-A': 'convnext-v2-atto_32xb32_in1k',
    'V2-FT1K-T': 'convnext-v2-tiny_32xb32_in1k',
}
DERIVED = {name: name for name in RECIPES if name not in OFFICIAL.values()}
BATCHES = 24  # iterations per epoch in one process


@cache
def trainer(name: str):
    """Return the named parameters and the optimizer of a config, as tools/train.py builds them."""
    cfg = load_config(name)
    model = build_on_meta(cfg)
    return cfg, model, build_optim_wrapper(model, cfg.optim_wrapper).optimizer


def scales(name, model) -> dict[str, float]:
    """Return lr_scale of every parameter as in LayerDecayValueAssigner of optim_factory.py."""
    if RECIPES[name].layer_decay is None:
        return dict.fromkeys((n for n, _ in model.named_parameters()), 1.0)
    decay, scheme = RECIPES[name].layer_decay
    depths = model.backbone.depths
    # num_layers: 12 is hard-coded for 27 blocks; the COCO and ADE20K configs set 6 for 9 blocks.
    layers = sum(depths) if scheme == 'single' else 12 if depths[2] > 9 else 6
    number = single if scheme == 'single' else group
    return {
        n: decay ** (layers + 1 - number(n.removeprefix('backbone.').split('.'), depths, layers))
        for n, _ in model.named_parameters()
    }


def group(parts, _, layers) -> int:
    """get_num_layer_for_convnext."""
    if parts[0] == 'downsample_layers':
        return {0: 0, 1: 2, 2: 3, 3: layers}[int(parts[1])]
    if parts[0] == 'stages':
        return {0: 1, 1: 2, 2: 3 + int(parts[2]) // 3, 3: layers}[int(parts[1])]
    return layers + 1


def single(parts, depths, layers) -> int:
    """get_num_layer_for_convnext_single of V2."""
    if parts[0] in ('downsample_layers', 'stages'):
        return sum(depths[: int(parts[1])]) + 1 + (int(parts[2]) if parts[0] == 'stages' else 0)
    return layers + 1


@pytest.mark.parametrize('name', (OFFICIAL | DERIVED).values(), ids=OFFICIAL | DERIVED)
def test_every_parameter_has_the_official_rate_and_weight_decay(name):
    _, model, optimizer = trainer(name)
    names = {id(parameter): n for n, parameter in model.named_parameters()}
    found = {
        names[id(parameter)]: (g.get('initial_lr', g['lr']), g['weight_decay'])
        for g in optimizer.param_groups
        for parameter in g['params']
    }
    recipe, scale = RECIPES[name], scales(name, model)
    assert found.keys() == scale.keys()
    for n, parameter in model.named_parameters():
        undecayed = parameter.ndim == 1 or n.endswith(('.bias', '.gamma', '.beta'))
        expected = recipe.lr * scale[n], 0.0 if undecayed else recipe.weight_decay
        assert found[n] == pytest.approx(expected, rel=1e-12, abs=0), n
    # mmengine logs the learning rate of the config.
    assert optimizer.param_groups[0].get('initial_lr', optimizer.param_groups[0]['lr']) == recipe.lr
    assert optimizer.defaults['eps'] == 1e-8
    assert optimizer.defaults['betas'] == (0.9, 0.999)


def cosine_scheduler(lr, least, epochs, steps_per_epoch, warmup_epochs) -> np.ndarray:
    """Return the learning rate of every optimizer step, as in utils.py of V1."""
    warmup = warmup_epochs * steps_per_epoch
    i = np.arange(epochs * steps_per_epoch - warmup)
    cosine = least + 0.5 * (lr - least) * (1 + np.cos(np.pi * i / len(i)))
    return np.concatenate([np.linspace(0, lr, warmup), cosine])


def adjust_learning_rate(lr, least, epochs, warmup_epochs, epoch) -> float:
    """Return the learning rate at a fractional ``epoch``, as in utils.py of V2."""
    if epoch < warmup_epochs:
        return lr * epoch / warmup_epochs
    part = (epoch - warmup_epochs) / (epochs - warmup_epochs)
    return least + (lr - least) * 0.5 * (1 + np.cos(np.pi * part))


@pytest.mark.parametrize('accumulation', [1, 4])
@pytest.mark.parametrize('name', (OFFICIAL | DERIVED).values(), ids=OFFICIAL | DERIVED)
def test_rate_of_every_group_is_the_official_one_along_the_schedule(name, accumulation):
    cfg, model, optimizer = trainer(name)
    recipe = RECIPES[name]
    wrapper = OptimWrapper(optimizer, accumulative_counts=accumulation)
    defaults = dict(optimizer=wrapper, epoch_length=BATCHES, end=cfg.train_cfg.max_epochs)
    scheduler = PARAM_SCHEDULERS.build(cfg.param_scheduler, default_args=defaults)
    warmup, last = recipe.warmup * BATCHES, recipe.epochs * BATCHES - 1
    around = {warmup // 2, warmup - accumulation, warmup - 1, warmup, warmup + accumulation, last // 2, last}
    table = cosine_scheduler(recipe.lr, 1e-6, recipe.epochs, BATCHES // accumulation, recipe.warmup)
    scale = scales(name, model)
    shares = [scale[n] for g in optimizer.param_groups for n in names_of(g, model)[:1]]
    for batch in sorted({0, 1, accumulation, *around} - {-1, -accumulation}):
        scheduler.load_state_dict(dict(scheduler.state_dict(), _global_step=batch - 1))
        scheduler.step()
        step = batch // accumulation
        if 'v2' in name:
            rate = adjust_learning_rate(
                recipe.lr, 1e-6, recipe.epochs, recipe.warmup, step * accumulation / BATCHES
            )
        else:
            rate = table[step]
        found = [g['lr'] for g in optimizer.param_groups]
        np.testing.assert_allclose(found, np.multiply(shares, rate), rtol=1e-12, atol=0, err_msg=f'{batch}')


def names_of(group: dict, model) -> list[str]:
    members = {id(parameter) for parameter in group['params']}
    return [n for n, parameter in model.named_parameters() if id(parameter) in members]


def test_every_config_is_an_official_command_or_derived_from_one():
    assert len(OFFICIAL) == 21
    assert set(OFFICIAL.values()) <= set(RECIPES)


@pytest.mark.parametrize('name', PRETRAINING)
def test_pretraining_decays_all_but_biases_and_vectors(name):
    """The parameters of GRN have more than one dimension in the official code, those of norms have one."""
    _, model, optimizer = trainer(name)
    names = {id(parameter): n for n, parameter in model.named_parameters()}
    decays = {names[id(p)]: g['weight_decay'] for g in optimizer.param_groups for p in g['params']}
    assert decays.keys() == {n for n, _ in model.named_parameters()}
    for n, parameter in model.named_parameters():
        exempt = n.endswith('.bias') or (parameter.ndim == 1 and not n.endswith(('.grn.gamma', '.grn.beta')))
        assert decays[n] == (0.0 if exempt else 0.05), n
    assert decays['neck.mask_token'] == decays['neck.decoder.0.grn.beta'] == 0.05
    assert decays['backbone.stages.3.0.grn.gamma'] == 0.05
    assert decays['backbone.downsample_layers.0.1.weight'] == decays['neck.pred.bias'] == 0.0
    assert {g['lr'] for g in optimizer.param_groups} == {1.5e-4 * 4096 / 256}
    assert (optimizer.defaults['betas'], optimizer.defaults['eps']) == ((0.9, 0.95), 1e-8)


@pytest.mark.parametrize('accumulation', [1, 8])
@pytest.mark.parametrize('name', PRETRAINING)
def test_rate_of_pretraining_is_the_official_one_at_every_step(name, accumulation):
    cfg, epochs = load_config(name), PRETRAINING[name].epochs
    optimizer = SGD([dict(params=torch.zeros(1))], lr=cfg.optim_wrapper.optimizer.lr)
    wrapper = OptimWrapper(optimizer, accumulative_counts=accumulation)
    scheduler = PARAM_SCHEDULERS.build(
        cfg.param_scheduler, default_args=dict(optimizer=wrapper, epoch_length=BATCHES, end=epochs)
    )
    peak = 1.5e-4 * 4096 / 256
    warmup, last = 40 * BATCHES, epochs * BATCHES - 1
    for batch in (0, 1, 7, 8, 9, warmup // 3, warmup - 1, warmup, warmup + 1, warmup + 8, last // 2, last):
        scheduler.go_to(batch)
        step = batch // accumulation * accumulation
        rate = adjust_learning_rate(peak, 0.0, epochs, 40, step / BATCHES)
        assert optimizer.param_groups[0]['lr'] == pytest.approx(rate, rel=1e-12, abs=1e-18), batch
