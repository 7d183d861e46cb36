"""A complete config has sections of the right type and name, and valid values."""

from pathlib import Path

import mmpretrain
import pytest

from mmconvnext.apis import load_config
from mmconvnext.errors import UserError
from mmconvnext.paths import CONFIGS
from tests.conftest import REPO

DIGITS = REPO / 'configs/digits/convnext-atto_1xb48_digits.py'

IMPOSSIBLE = [
    *(('train_dataloader.batch_size', value) for value in ('abc', 0, -1, 10**9, 16.0, True, '16')),
    *(('val_dataloader.num_workers', value) for value in (-1, 100_000, 2.5, 'many')),
    *(
        ('optim_wrapper.optimizer.lr', value)
        for value in (-1, float('nan'), float('inf'), 'fast', '1e-3', True)
    ),
    *(('train_cfg.max_epochs', value) for value in (0, -3, 1.5, 'ten', float('inf'))),
    *(('train_cfg.val_interval', value) for value in (0, -1, 'x')),
    *(('model.backbone.drop_path_rate', value) for value in (2, -0.1, 1, float('nan'), 'x')),
    ('optim_wrapper.optimizer.weight_decay', -1),
    ('optim_wrapper.optimizer.betas', (0.9, 1.5)),
    ('optim_wrapper.accumulative_counts', 0),
    ('optim_wrapper.clip_grad', dict(max_norm=-1)),
    ('model.head.num_classes', 0),
    ('model.head.num_classes', -10),
    ('randomness.seed', -1),
    ('randomness.seed', 2**40),
    ('auto_scale_lr.base_batch_size', 0),
    ('default_hooks.logger.interval', 0),
]


@pytest.mark.parametrize(('option', 'value'), IMPOSSIBLE, ids=str)
def test_value_that_cannot_work_is_refused_by_the_name_of_its_option(option, value):
    with pytest.raises(UserError, match=rf'{option}(\.\S+)? is .*; expected'):
        load_config(DIGITS, {option: value})


def test_the_same_values_in_a_file_are_refused_too(tmp_path):
    file = tmp_path / 'config.py'
    file.write_text(f"_base_ = '{DIGITS}'\ntrain_dataloader = dict(batch_size=0)\n")
    with pytest.raises(
        UserError, match='config.py: train_dataloader.batch_size is 0; expected a whole number'
    ):
        load_config(file)
    assert load_config(file, {'train_dataloader.batch_size': 4}).train_dataloader.batch_size == 4


@pytest.mark.parametrize(
    ('section', 'message'),
    [
        ('model = 3', 'model is 3; expected a dict'),
        ('train_dataloader = []', 'train_dataloader is .*; expected a dict'),
        ("custom_hooks = dict(type='x')", 'custom_hooks is .*; expected a list'),
        ("custom_hooks = ['x']", "custom_hooks.0 is 'x'; expected a dict"),
        ("param_scheduler = 'cosine'", 'param_scheduler is .*; expected a dict or a list'),
        ("param_scheduler = ['cosine']", 'param_scheduler.0 is'),
        ("val_evaluator = 'Accuracy'", 'val_evaluator is'),
        ('default_hooks = [1]', 'default_hooks is .*; expected a dict'),
        ('default_hooks = dict(logger=5)', 'default_hooks.logger is 5'),
        ("optim_wrapper = dict(optimizer='AdamW')", 'optim_wrapper.optimizer is'),
        ('train_cfg = 10', 'train_cfg is 10'),
        ('randomness = 0', 'randomness is 0'),
        ('load_from = 3', 'load_from is 3; expected text'),
        ("train_dataloader = dict(dataset='x')", 'train_dataloader.dataset is'),
        ('train_dataloader = dict(dataset=dict(pipeline=3))', 'train_dataloader.dataset.pipeline is'),
        ("model = dict(backbone='convnext')", 'model.backbone is'),
        ('train_dataloder = dict(batch_size=2)', "'train_dataloder'; did you mean train_dataloader"),
        ("optim_wraper = dict(type='x')", "'optim_wraper'; did you mean optim_wrapper"),
        ('custom_hook = []', "'custom_hook'; did you mean custom_hooks"),
        ('default_hook = dict(timer=None)', 'did you mean default_hooks'),
        ("loadfrom = 'x.pth'", 'did you mean load_from'),
        ('train_config = dict(max_epochs=3)', 'did you mean train_cfg'),
        ('param_schedulers = []', 'did you mean param_scheduler'),
        ('random_ness = dict(seed=1)', 'did you mean randomness'),
    ],
)
def test_section_of_another_kind_or_name_is_refused(section, message, tmp_path):
    file = tmp_path / 'config.py'
    file.write_text(f"_base_ = '{DIGITS}'\n{section}\n")
    with pytest.raises(UserError, match=message):
        load_config(file)


@pytest.mark.parametrize('section', ['default_hooks', 'custom_hooks', 'env_cfg', 'randomness'])
def test_sections_that_are_none_are_those_of_mmengine(section, tmp_path):
    file = tmp_path / 'config.py'
    file.write_text(f"_base_ = '{DIGITS}'\n{section} = None\n")
    assert section not in load_config(file)


def test_variables_that_sections_use_may_have_any_name(tmp_path):
    file = tmp_path / 'config.py'
    file.write_text(
        f"_base_ = '{DIGITS}'\ntrain_data_loader = dict(batch_size=2)\ntrain_dataloader = train_data_loader\n"
        'crop = 3\nlr = 0.1\nmy_evaluator = dict()\ntest_pipeline = []\ntrain_cfgs = dict(max_epochs=3)\n'
        'train_cfg = dict(**train_cfgs)\n'
    )
    load_config(file)


def test_no_config_of_mmpretrain_or_of_this_package_is_refused():
    """Checks every tenth config of mmpretrain; the rules were chosen with all of them."""
    theirs = Path(mmpretrain.__file__).parent / '.mim/configs'
    files = sorted(f for f in theirs.rglob('*.py') if '_base_' not in f.parts)[::10]
    assert len(files) > 40
    for file in [*files, *CONFIGS.glob('convnext*/*.py'), *CONFIGS.glob('digits/*.py')]:
        try:
            load_config(file)
        except UserError as error:
            # Broken in mmpretrain itself, or in need of a library that is not installed.
            assert 'lazy_import' in str(error) or 'not installed' in str(error) or 'KeyError' in str(error), (
                error
            )
