"""Every config builds the network and the recipe that its name and header state."""

import re
from pathlib import Path

import pytest
from mmengine.config import Config

from mmconvnext.apis import load_config
from mmconvnext.paths import CONFIGS
from mmconvnext.training.model import build_on_meta
from tests.recipes import PRETRAINING, RECIPES, Recipe

CLASSIFICATION = sorted(file.stem for file in CONFIGS.glob('convnext*/*.py'))


def test_every_imagenet_config_has_its_recipe_here():
    assert set(RECIPES) == {name for name in CLASSIFICATION if not name.endswith('_ft_folder')}


@pytest.mark.parametrize('name', RECIPES)
def test_network_has_the_published_number_of_parameters(name):
    model = build_on_meta(load_config(name))
    assert sum(p.numel() for p in model.parameters()) == RECIPES[name].parameters


@pytest.mark.parametrize('name', RECIPES)
def test_values_are_those_of_the_recipe(name):
    cfg, recipe = load_config(name), RECIPES[name]
    augments = (cfg.model.train_cfg or {}).get('augments')
    # Learning rates, weight decay and parameter groups are checked in test_recipes.py.
    elsewhere = {
        field: getattr(recipe, field)
        for field in ('parameters', 'lr', 'warmup', 'weight_decay', 'layer_decay')
    }
    assert recipe == Recipe(
        **elsewhere,
        size=cfg.train_dataloader.dataset.pipeline[1].scale,
        batch=cfg.auto_scale_lr.base_batch_size,
        epochs=cfg.train_cfg.max_epochs,
        drop_path=cfg.model.backbone.drop_path_rate,
        ema=[(hook.type, hook.momentum) for hook in cfg.get('custom_hooks', [])]
        == [('mmconvnext.EMAHook', 1e-4)],
        mixup=[(a.type, a.alpha) for a in augments or []] == [('Mixup', 0.8), ('CutMix', 1.0)],
        smoothing=cfg.model.head.loss.label_smooth_val,
    )
    if not recipe.mixup:
        assert augments is None
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
    # Every recipe needs more than 8 GPUs.
    assert recipe.batch > 8 * cfg.train_dataloader.batch_size
    assert re.search(r'_in\S+\.py 8( --amp)? --accumulate\n', header)


def test_every_imagenet_config_of_fcmae_is_listed():
    assert set(PRETRAINING) == {file.stem for file in CONFIGS.glob('fcmae/*_in1k.py')}


@pytest.mark.parametrize('name', PRETRAINING)
def test_pretraining_has_the_network_of_the_fine_tuning_and_the_official_decoder(name):
    model = build_on_meta(load_config(name))
    finetuned = build_on_meta(load_config(PRETRAINING[name].finetuning)).state_dict()
    encoder = {n: w.shape for n, w in finetuned.items() if n.startswith('backbone.') and '.norm3.' not in n}
    assert {n: w.shape for n, w in model.state_dict().items() if n.startswith('backbone.')} == encoder
    channels = model.backbone.channels[-1]
    block = 512 * 49 + 512 + 2 * 512 + (512 * 2048 + 2048) + 2 * 2048 + (2048 * 512 + 512)
    decoder = (channels * 512 + 512) + 512 + block + (512 * 32 * 32 * 3 + 32 * 32 * 3)
    assert sum(p.numel() for p in model.neck.parameters()) == decoder


@pytest.mark.parametrize('name', PRETRAINING)
def test_values_of_pretraining_are_those_of_the_official_script(name):
    cfg, epochs = load_config(name), PRETRAINING[name].epochs
    assert (cfg.train_cfg.max_epochs, cfg.param_scheduler.epochs) == (epochs, epochs)
    assert cfg.auto_scale_lr.base_batch_size == 4096 == 64 * cfg.train_dataloader.batch_size
    assert cfg.model.backbone.get('drop_path_rate', 0.0) == 0.0
    _, crop, flip, masks, _ = cfg.train_dataloader.dataset.pipeline
    assert (crop.scale, crop.crop_ratio_range, flip.type) == (224, (0.2, 1.0), 'mmconvnext.RandomFlip')
    assert (masks.patch_size, masks.mask_ratio, masks.get('nearest', False)) == (32, 0.6, False)
    assert 'clip_grad' not in cfg.optim_wrapper
    assert cfg.optim_wrapper.type == 'OptimWrapper'  # fp32
    assert cfg.val_dataloader is None and cfg.load_from is None


@pytest.mark.parametrize('name', PRETRAINING)
def test_header_of_pretraining_has_its_command_and_the_fine_tuning_that_follows(name):
    header = (CONFIGS / f'fcmae/{name}.py').read_text().split('_base_')[0]
    assert f'tools/dist_train.sh configs/fcmae/{name}.py 8 --accumulate\n' in header
    finetuning = f'configs/convnext_v2/{PRETRAINING[name].finetuning}.py'
    assert f'Fine-tune with {finetuning} and --cfg-options load_from=FILE' in header
    assert f'{PRETRAINING[name].epochs} epochs' in header


@pytest.mark.parametrize('size', [224, 384, 512])
def test_evaluation_resizes_as_the_official_code_does(size):
    """Official datasets.py: below 384 px, resize to size * 256 / 224 and crop; else only resize."""
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


def test_no_config_states_an_architecture_twice():
    for file in Path(CONFIGS).rglob('*.py'):
        assert 'depths' not in file.read_text(), file
