"""SparK's configs against the official arg_util.py, main.py, lr_control.py and mmpretrain's V2-T config."""

import copy
import math
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import torch
from mmengine.optim import CosineAnnealingLR, LinearLR, OptimWrapper, build_optim_wrapper
from mmengine.registry import OPTIMIZERS, PARAM_SCHEDULERS
from mmpretrain.engine import CosineAnnealingWeightDecay

from mmconvnext.apis import load_config
from mmconvnext.engine import SparKSchedule
from mmconvnext.errors import UserError
from mmconvnext.paths import CONFIGS
from mmconvnext.training.model import build_on_meta


class Recipe(NamedTuple):
    arch: str
    drop_path: float
    parameters: int  # encoder without final norm
    size: int = 224
    mask_ratio: float = 0.6
    batch: int = 4096
    base_lr: float = 2e-4  # for a batch of 256
    crop: float = 0.67
    epochs: int = 1600
    warmup: int = 40
    beta: float = 0.999
    width: int = 768
    start: float = 0.005
    end: float = 0.001
    max_grad_norm: float = 5.0
    top1: str = ''


V2_TINY = 'spark_convnext-v2-tiny_16xb256-amp-800e_in1k'
RECIPES = {
    'spark_convnext-small_16xb256-amp-1600e_in1k': Recipe('small', 0.2, 49_453_152, top1='84.1'),
    'spark_convnext-base_16xb256-amp-1600e_in1k': Recipe('base', 0.3, 87_564_416, top1='84.8'),
    'spark_convnext-large_16xb256-amp-1600e_in1k': Recipe('large', 0.4, 196_227_264, top1='85.4'),
    'spark_convnext-large_16xb128-amp-1600e_in1k-384px': Recipe(
        'large', 0.4, 196_227_264, 384, 0.75, 2048, 4e-4, top1='86.0'
    ),
    # mmpretrain: lr 2e-4 x 4096 / 512; clipped by 5.0, then by the 1.0 of its LAMB.
    V2_TINY: Recipe(
        'tiny',
        0.2,
        27_864_960,
        base_lr=1e-4,
        crop=0.2,
        epochs=800,
        warmup=20,
        beta=0.95,
        width=512,
        start=1e-4,
        end=0.0,
        max_grad_norm=1.0,
        top1='82.8',
    ),
}
BATCHES = 24  # iterations per epoch in one process


@cache
def trainer(name):
    """Return the config, the model and the optimizer, as tools/train.py builds them without a GPU."""
    cfg = load_config(name)
    settings = copy.deepcopy(cfg.optim_wrapper)
    assert (settings.pop('type'), settings.pop('loss_scale')) == ('AmpOptimWrapper', 'dynamic')
    model = build_on_meta(cfg)
    return cfg, model, build_optim_wrapper(model, dict(settings, type='OptimWrapper')).optimizer


def test_every_config_has_its_recipe_here():
    assert set(RECIPES) == {file.stem for file in CONFIGS.glob('spark/*.py')}


@pytest.mark.parametrize('name', RECIPES)
def test_values_are_those_of_the_recipe(name):
    cfg, model, _ = trainer(name)
    recipe = RECIPES[name]
    _, crop, flip, mask, pack = cfg.train_dataloader.dataset.pipeline
    assert (crop.type, crop.scale) == ('mmconvnext.RandomResizedCrop', recipe.size)
    assert crop.crop_ratio_range == (recipe.crop, 1.0)
    assert (flip.type, pack.type) == ('mmconvnext.RandomFlip', 'mmconvnext.PackInputs')
    assert mask == dict(
        type='mmconvnext.MaskPatches', patch_size=32, mask_ratio=recipe.mask_ratio, nearest=True
    )
    assert cfg.auto_scale_lr.base_batch_size == recipe.batch == 16 * cfg.train_dataloader.batch_size
    assert cfg.train_cfg.max_epochs == cfg.param_scheduler.epochs == recipe.epochs
    backbone = cfg.model.backbone
    assert (backbone.arch, backbone.drop_path_rate, backbone.out_indices) == (
        recipe.arch,
        recipe.drop_path,
        (),
    )
    assert cfg.model.decoder_channels == recipe.width
    assert sum(p.numel() for p in model.backbone.parameters()) == recipe.parameters
    assert cfg.optim_wrapper.get('clip_grad') is None  # LAMB clips
    assert cfg.val_dataloader is None
    assert cfg.load_from is None


def test_v2_has_as_many_parameters_as_mmpretrain_publishes():
    """With the norms of all stages, which mmpretrain has and does not use: 39.732 million."""
    _, model, _ = trainer(V2_TINY)
    norms = 2 * sum(model.backbone.channels)
    assert round((sum(p.numel() for p in model.parameters()) + norms) / 1000) == 39_732


@pytest.mark.parametrize('name', RECIPES)
def test_header_has_a_command_and_the_published_accuracy(name):
    header = (CONFIGS / f'spark/{name}.py').read_text().split('_base_')[0]
    assert f'tools/dist_train.sh configs/spark/{name}.py 8 --accumulate\n' in header
    assert RECIPES[name].top1 in header
    assert '--cfg-options load_from=FILE' in header


@pytest.mark.parametrize('name', RECIPES)
def test_groups_are_decayed_as_in_the_official_code(name):
    _, model, optimizer = trainer(name)
    recipe = RECIPES[name]
    names = {id(parameter): n for n, parameter in model.named_parameters()}
    seen = set()
    for group in optimizer.param_groups:
        for parameter in group['params']:
            n = names[id(parameter)]
            seen.add(n)
            # Official lr_control.py and main.py.
            without = parameter.ndim == 1 or n.endswith('.bias') or 'mask_token' in n or 'gamma' in n
            lr = group.get('initial_lr', group['lr'])
            decay = group.get('initial_weight_decay', group['weight_decay'])
            assert decay == (0.0 if without else 0.04), n
            assert lr == pytest.approx(recipe.base_lr * recipe.batch / 256, rel=1e-12), n
            assert group['betas'] == (0.9, recipe.beta)
    assert seen == set(names.values())
    defaults = {key: optimizer.defaults[key] for key in ('eps', 'max_grad_norm', 'grad_averaging')}
    assert defaults == dict(eps=1e-6, max_grad_norm=recipe.max_grad_norm, grad_averaging=True)
    switches = {key: optimizer.defaults[key] for key in ('bias_correction', 'trust_clip', 'always_adapt')}
    assert switches == dict(bias_correction=True, trust_clip=False, always_adapt=False)


def lr_wd_annealing(recipe, it, wp_it, max_it):
    """Return learning rate and weight decay of an iteration, as in lr_control.py."""
    peak = recipe.base_lr * recipe.batch / 256
    if it < wp_it:
        lr = recipe.start * peak + (1 - recipe.start) * peak * it / wp_it
    else:
        ratio = (it - wp_it) / (max_it - 1 - wp_it)
        lr = recipe.end * peak + (1 - recipe.end) * peak * (0.5 + 0.5 * math.cos(math.pi * ratio))
    return lr, 0.2 + (0.04 - 0.2) * (0.5 + 0.5 * math.cos(math.pi * it / (max_it - 1)))


def scheduler_of(name, accumulation=1, batches=BATCHES):
    cfg, _, optimizer = trainer(name)
    for group in optimizer.param_groups:
        group['weight_decay'] = group.get('initial_weight_decay', group['weight_decay'])
    wrapper = OptimWrapper(optimizer, accumulative_counts=accumulation)
    defaults = dict(optimizer=wrapper, epoch_length=batches, end=cfg.train_cfg.max_epochs)
    return optimizer, PARAM_SCHEDULERS.build(copy.deepcopy(cfg.param_scheduler), default_args=defaults)


@pytest.mark.parametrize('accumulation', [1, 4])
@pytest.mark.parametrize('name', RECIPES)
def test_rate_and_decay_along_the_schedule_are_the_official_ones(name, accumulation):
    recipe = RECIPES[name]
    optimizer, scheduler = scheduler_of(name, accumulation)
    wp_it, max_it = recipe.warmup * BATCHES // accumulation, recipe.epochs * BATCHES // accumulation
    for it in (0, 1, wp_it // 2, wp_it - 1, wp_it, wp_it + 1, max_it // 2, max_it - 2, max_it - 1):
        scheduler.go_to(it * accumulation)
        lr, decay = lr_wd_annealing(recipe, it, wp_it, max_it)
        # The same formulas in float64, in another order.
        for group in optimizer.param_groups:
            assert group['lr'] == pytest.approx(lr, rel=1e-11, abs=1e-15)
            expected = decay if group['initial_weight_decay'] else 0.0
            assert group['weight_decay'] == pytest.approx(expected, rel=1e-11, abs=0)


def test_curves_of_v2_are_mmpretrains_but_for_one_iteration():
    """mmpretrain's reach the peak with the last step of the warm-up, and end one step after the last."""
    recipe = RECIPES[V2_TINY]
    _, scheduler = scheduler_of(V2_TINY)
    wrapper = OptimWrapper(torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.0016, weight_decay=0.04))
    wrapper._global_step = 0
    warmup, last = recipe.warmup * BATCHES, recipe.epochs * BATCHES
    theirs = [
        LinearLR(wrapper, start_factor=1e-4, begin=0, end=warmup, by_epoch=False),
        CosineAnnealingLR(wrapper, T_max=last - warmup, begin=warmup, end=last, by_epoch=False),
        CosineAnnealingWeightDecay(wrapper, eta_min=0.2, T_max=last, begin=0, end=last, by_epoch=False),
    ]
    wrapper._global_step = 0
    (group,) = wrapper.param_groups
    ours = scheduler.groups[0]
    decayed = next(each for each in scheduler.groups if each['initial_weight_decay'])
    for it in range(last):
        if it % 97 == 0:
            scheduler.go_to(it)
            assert ours['lr'] == pytest.approx(group['lr'], abs=0.0016 / warmup)
            assert decayed['weight_decay'] == pytest.approx(group['weight_decay'], abs=0.32 / last)
        for each in theirs:
            each.step()


def test_weight_decay_continues_where_a_state_ends():
    """After loading, groups have the decay of the file, and the initial one is kept beside it."""

    def build():
        parameters = [torch.nn.Parameter(torch.ones(2, 2)) for _ in range(2)]
        groups = [dict(params=[parameters[0]]), dict(params=[parameters[1]], weight_decay=0.0)]
        return OPTIMIZERS.build(dict(type='mmpretrain.Lamb', params=groups, lr=1e-3, weight_decay=0.04))

    def schedule(optimizer):
        return SparKSchedule(optimizer, iterations=50, warmup_iterations=10, final_weight_decay=0.2)

    through = build()
    scheduler = schedule(through)
    for _ in range(30):
        through.step()
        scheduler.step()
    resumed = build()
    again = schedule(resumed)
    resumed.load_state_dict(through.state_dict())
    again.load_state_dict(scheduler.state_dict())
    for _ in range(25):
        settings = [
            [(group['lr'], group['weight_decay']) for group in optimizer.param_groups]
            for optimizer in (through, resumed)
        ]
        assert settings[0] == settings[1]
        for optimizer, each in ((through, scheduler), (resumed, again)):
            optimizer.step()
            each.step()
    assert settings[0] == [(pytest.approx(1e-6), pytest.approx(0.2)), (pytest.approx(1e-6), 0.0)]


@pytest.mark.parametrize('name', ['final_weight_decay', 'start_factor', 'end_factor'])
def test_negative_numbers_are_refused(name):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1)
    with pytest.raises(UserError, match=f'{name}=-1.*none of them may be negative'):
        SparKSchedule(optimizer, iterations=9, **(dict(final_weight_decay=0) | {name: -1}))


def lamb(parameters, gradients, state, lr, decays, beta2, max_norm):
    """Return parameters after a step, as in the official lamb.py, in float64."""
    norm = math.sqrt(sum((g**2).sum() for g in gradients))
    state['step'] += 1
    new = []
    for i, (p, g, decay) in enumerate(zip(parameters, gradients, decays, strict=True)):
        g = g / max(norm / max_norm, 1)
        state['m'][i] = 0.9 * state['m'][i] + 0.1 * g
        state['v'][i] = beta2 * state['v'][i] + (1 - beta2) * g**2
        m = state['m'][i] / (1 - 0.9 ** state['step'])
        v = state['v'][i] / (1 - beta2 ** state['step'])
        update = m / (np.sqrt(v) + 1e-6)
        if decay:  # parameters without have no trust ratio
            update += decay * p
            update *= np.linalg.norm(p) / np.linalg.norm(update)
        new.append(p - lr * update)
    return new


@pytest.mark.parametrize(
    ('beta2', 'max_norm', 'size'), [(0.999, 5.0, 1.0), (0.999, 5.0, 100.0), (0.95, 1.0, 9)]
)
def test_lamb_steps_are_the_official_ones(beta2, max_norm, size):
    shapes, decays = [(4, 3), (5,)], [0.04, 0.0]
    parameters = [torch.nn.Parameter(torch.randn(shape, dtype=torch.float64)) for shape in shapes]
    groups = [dict(params=[p], weight_decay=d) for p, d in zip(parameters, decays, strict=True)]
    optimizer = OPTIMIZERS.build(
        dict(type='mmpretrain.Lamb', params=groups, lr=0.01, betas=(0.9, beta2), max_grad_norm=max_norm)
    )
    state = dict(step=0, m=[0.0, 0.0], v=[0.0, 0.0])
    expected = [p.detach().numpy().copy() for p in parameters]
    for _ in range(4):
        for p in parameters:
            p.grad = size * torch.randn_like(p)
        gradients = [p.grad.numpy().copy() for p in parameters]
        optimizer.step()
        expected = lamb(expected, gradients, state, 0.01, decays, beta2, max_norm)
    for p, values in zip(parameters, expected, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), values, rtol=1e-6)  # its norm is in float32
