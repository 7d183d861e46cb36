"""Every config is the network and the recipe it says it is."""

from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from mmengine.config import Config

from mmconvnext.apis import load_config
from mmconvnext.apis.runner import build_on_meta
from mmconvnext.paths import CONFIGS

LEAVES = sorted(file.stem for file in CONFIGS.glob('[!_]*/*.py'))


class Recipe(NamedTuple):
    """From the TRAINING.md of the official repositories unless a config's header says otherwise."""

    parameters: int  # checkpoints as published, 22k heads with 21841 classes
    size: int
    batch: int
    lr: float
    epochs: int
    warmup: int
    weight_decay: float
    drop_path: float
    layer_decay: tuple | None
    ema: bool
    mixup: bool
    smoothing: float = 0.1


V1 = dict(batch=4096, lr=4e-3, weight_decay=0.05, layer_decay=None, mixup=True)
SCRATCH = dict(**V1, size=224, epochs=300, warmup=20, ema=True)
ISOTROPIC = {**SCRATCH, 'warmup': 50}
IN22K = dict(**V1, size=224, epochs=90, warmup=5, ema=False)
FINETUNE = dict(batch=512, lr=5e-5, epochs=30, warmup=0, weight_decay=1e-8, mixup=False)
AFTER_1K = dict(**FINETUNE, layer_decay=(0.7, 'group'))
AFTER_22K = dict(**FINETUNE, layer_decay=(0.8, 'group'))
V2 = dict(size=224, batch=1024, ema=True)
V2_ATTO = dict(
    **V2,
    lr=8e-4,
    epochs=600,
    warmup=0,
    weight_decay=0.3,
    layer_decay=(0.9, 'single'),
    mixup=False,
    smoothing=0.2,
)
V2_TINY = dict(
    **V2, lr=3.2e-3, epochs=300, warmup=40, weight_decay=0.05, layer_decay=(0.9, 'single'), mixup=True
)
V2_BASE = dict(
    **V2, lr=2.5e-3, epochs=100, warmup=20, weight_decay=0.05, layer_decay=(0.6, 'group'), mixup=True
)
TINY, SMALL, BASE, LARGE, XLARGE = 28_589_128, 50_223_688, 88_591_464, 197_767_336, 350_196_968

RECIPES = {
    'convnext-tiny_32xb128_in1k': Recipe(TINY, drop_path=0.1, **SCRATCH),
    'convnext-small_32xb128_in1k': Recipe(SMALL, drop_path=0.4, **SCRATCH),
    'convnext-base_32xb128_in1k': Recipe(BASE, drop_path=0.5, **SCRATCH),
    'convnext-large_64xb64_in1k': Recipe(LARGE, drop_path=0.5, **SCRATCH),
    'convnext-xlarge_64xb64_in1k': Recipe(XLARGE, size=224, drop_path=0.4, ema=True, **AFTER_22K),
    'convnext-tiny_32xb128_in1k-384px': Recipe(TINY, size=384, drop_path=0.0, ema=False, **AFTER_22K),
    'convnext-small_32xb128_in1k-384px': Recipe(SMALL, size=384, drop_path=0.1, ema=False, **AFTER_22K),
    'convnext-base_32xb128_in1k-384px': Recipe(BASE, size=384, drop_path=0.8, ema=False, **AFTER_1K),
    'convnext-large_64xb64_in1k-384px': Recipe(LARGE, size=384, drop_path=0.95, ema=False, **AFTER_1K),
    'convnext-xlarge_64xb64_in1k-384px': Recipe(XLARGE, size=384, drop_path=0.4, ema=True, **AFTER_22K),
    'convnext-base_in21k-pre_16xb32_in1k': Recipe(BASE, size=224, drop_path=0.2, ema=False, **AFTER_22K),
    'convnext-base_in21k-pre_32xb16_in1k-384px': Recipe(
        BASE, size=384, drop_path=0.2, ema=False, **AFTER_22K
    ),
    'convnext-large_in21k-pre_16xb32_in1k': Recipe(LARGE, size=224, drop_path=0.3, ema=False, **AFTER_22K),
    'convnext-large_in21k-pre_32xb16_in1k-384px': Recipe(
        LARGE, size=384, drop_path=0.3, ema=False, **AFTER_22K
    ),
    'convnext-base_32xb128_in21k': Recipe(109_953_489, drop_path=0.1, **IN22K),
    'convnext-large_64xb64_in21k': Recipe(229_799_953, drop_path=0.1, **IN22K),
    'convnext-xlarge_64xb64_in21k': Recipe(392_900_177, drop_path=0.2, **IN22K),
    'convnext-isotropic-small_32xb128_in1k': Recipe(22_308_712, drop_path=0.1, **ISOTROPIC),
    'convnext-isotropic-base_32xb128_in1k': Recipe(87_083_752, drop_path=0.2, **ISOTROPIC),
    'convnext-isotropic-large_64xb64_in1k': Recipe(305_942_504, drop_path=0.5, **ISOTROPIC),
    'convnext-v2-atto_32xb32_in1k': Recipe(3_708_400, drop_path=0.1, **V2_ATTO),
    'convnext-v2-femto_32xb32_in1k': Recipe(5_233_240, drop_path=0.1, **V2_ATTO),
    'convnext-v2-pico_32xb32_in1k': Recipe(9_066_280, drop_path=0.1, **V2_ATTO),
    'convnext-v2-nano_32xb32_in1k': Recipe(15_623_800, drop_path=0.1, **V2_ATTO),
    'convnext-v2-tiny_32xb32_in1k': Recipe(28_635_496, drop_path=0.2, **V2_TINY),
    'convnext-v2-base_32xb32_in1k': Recipe(88_717_800, drop_path=0.1, **V2_BASE),
    'convnext-v2-large_32xb32_in1k': Recipe(197_956_840, drop_path=0.1, **V2_BASE),
    'convnext-v2-huge_32xb32_in1k': Recipe(660_289_640, drop_path=0.1, **V2_BASE),
    'convnext-v2-nano_32xb32_in1k-384px': Recipe(15_623_800, size=384, drop_path=0.0, ema=True, **AFTER_22K),
    'convnext-v2-tiny_32xb32_in1k-384px': Recipe(28_635_496, size=384, drop_path=0.0, ema=True, **AFTER_22K),
    'convnext-v2-base_32xb32_in1k-384px': Recipe(88_717_800, size=384, drop_path=0.2, ema=True, **AFTER_22K),
    'convnext-v2-large_32xb32_in1k-384px': Recipe(
        197_956_840, size=384, drop_path=0.3, ema=True, **AFTER_22K
    ),
    'convnext-v2-huge_32xb32_in1k-384px': Recipe(660_289_640, size=384, drop_path=0.4, ema=True, **AFTER_22K),
    'convnext-v2-huge_32xb32_in1k-512px': Recipe(660_289_640, size=512, drop_path=0.4, ema=True, **AFTER_22K),
}


def test_every_imagenet_config_has_its_recipe_here():
    assert set(RECIPES) == {name for name in LEAVES if not name.endswith(('digits', '_ft_folder'))}


@pytest.mark.parametrize('name', RECIPES)
def test_network_has_the_published_number_of_parameters(name):
    model = build_on_meta(load_config(name))
    assert sum(p.numel() for p in model.parameters()) == RECIPES[name].parameters


@pytest.mark.parametrize('name', RECIPES)
def test_values_are_those_of_the_recipe(name):
    cfg, recipe = load_config(name), RECIPES[name]
    optimizer, decay = cfg.optim_wrapper.optimizer, cfg.optim_wrapper.paramwise_cfg
    augments = (cfg.model.train_cfg or {}).get('augments')
    assert recipe._replace(parameters=0) == Recipe(
        parameters=0,
        size=cfg.train_dataloader.dataset.pipeline[1].scale,
        batch=cfg.auto_scale_lr.base_batch_size,
        lr=optimizer.lr,
        epochs=cfg.train_cfg.max_epochs,
        warmup=cfg.param_scheduler[0].end if cfg.param_scheduler[0].type == 'LinearLR' else 0,
        weight_decay=optimizer.weight_decay,
        drop_path=cfg.model.backbone.drop_path_rate,
        layer_decay=(decay.layer_decay_rate, decay.layer_decay_scheme)
        if 'layer_decay_rate' in decay
        else None,
        ema=any(hook.type == 'EMAHook' and hook.momentum == 1e-4 for hook in cfg.get('custom_hooks', [])),
        mixup=[(a.type, a.alpha) for a in augments or []] == [('Mixup', 0.8), ('CutMix', 1.0)],
        smoothing=cfg.model.head.loss.label_smooth_val,
    )
    if not recipe.mixup:
        assert augments is None
    *_, cosine = cfg.param_scheduler
    assert (cosine.get('begin', 0), cosine.end) == (recipe.warmup, recipe.epochs)
    assert cosine.eta_min_ratio * recipe.lr == pytest.approx(1e-6)
    start = 2e-5 if 'v2' in name else 0.001 * 0.02 if recipe.layer_decay else 0.02
    assert initial_head_std(cfg) == pytest.approx(start)
    assert (cfg.load_from is None) == (recipe.layer_decay is None)
    assert recipe.batch % (8 * cfg.train_dataloader.batch_size) == 0


def initial_head_std(cfg: Config) -> float:
    head = cfg.model.head
    return (head.init_cfg or cfg.model.init_cfg).std * head.get('head_init_scale', 1.0)


@pytest.mark.parametrize('name', RECIPES)
def test_header_has_a_command_that_names_this_file_and_the_expected_accuracy(name):
    file = next(CONFIGS.glob(f'*/{name}.py'))
    header = file.read_text().split('_base_')[0]
    assert f'tools/dist_train.sh configs/{file.parent.name}/{file.name} 8' in header
    assert 'Expected top-1: ' in header
    cfg, recipe = load_config(name), RECIPES[name]
    accumulation = recipe.batch // (8 * cfg.train_dataloader.batch_size)
    assert f'accumulative_counts={accumulation}' in header or accumulation == 1


@pytest.mark.parametrize('size', [224, 384, 512])
def test_evaluation_resizes_as_the_official_code_does(size):
    """datasets.py: below 384 the short side to size * 256 / 224 and a central crop, else a plain resize."""
    pipeline = Config.fromfile(
        CONFIGS / f'_base_/datasets/imagenet_{size}.py'
    ).val_dataloader.dataset.pipeline
    _, *steps, _ = pipeline
    if size < 384:
        assert [(s.type, s.get('scale', s.get('crop_size'))) for s in steps] == [
            ('ResizeEdge', 256),
            ('CenterCrop', 224),
        ]
    else:
        assert [(s.type, s.scale) for s in steps] == [('Resize', (size, size))]
    assert (steps[0].interpolation, steps[0].backend) == ('bicubic', 'pillow')


def test_learning_rate_follows_the_official_curve_iteration_by_iteration():
    """utils.py cosine_scheduler of V1: linspace from 0 to lr, then half a cosine down to 1e-6."""
    from mmengine.optim import build_optim_wrapper
    from mmengine.registry import PARAM_SCHEDULERS

    cfg = load_config('convnext-tiny_32xb128_in1k')
    weight = torch.nn.Linear(1, 1)
    cfg.optim_wrapper.pop('paramwise_cfg')
    optimizer = build_optim_wrapper(weight, cfg.optim_wrapper)
    per_epoch, epochs, warmup, lr, least = 5, 300, 20, 4e-3, 1e-6
    schedulers = []
    for settings in cfg.param_scheduler:
        settings = settings.copy()
        settings.pop('convert_to_iter_based')
        scheduler = PARAM_SCHEDULERS.get(settings.type)
        schedulers.append(
            PARAM_SCHEDULERS.build(
                dict(**settings, convert_to_iter_based=True),
                default_args=dict(optimizer=optimizer, epoch_length=per_epoch),
            )
            if scheduler is None
            else scheduler.build_iter_from_epoch(
                optimizer=optimizer,
                epoch_length=per_epoch,
                **{k: v for k, v in settings.items() if k != 'type'},
            )
        )
    n = (epochs - warmup) * per_epoch
    official = torch.cat(
        [
            torch.linspace(0, lr, warmup * per_epoch, dtype=torch.float64),
            least + 0.5 * (lr - least) * (1 + torch.cos(torch.pi * torch.arange(n, dtype=torch.float64) / n)),
        ]
    )
    found = []
    for _ in range(epochs * per_epoch):
        found.append(optimizer.param_groups[0]['lr'])
        optimizer.optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    torch.testing.assert_close(torch.tensor(found, dtype=torch.float64), official, rtol=1e-6, atol=1e-11)


def test_no_config_states_an_architecture_twice():
    for file in Path(CONFIGS).rglob('*.py'):
        assert 'depths' not in file.read_text(), file
