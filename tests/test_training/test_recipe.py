"""--accumulate keeps the batch size of the recipe on any machine."""

import pytest
from mmengine.config import Config

from mmconvnext.apis import train
from mmconvnext.errors import UserError
from mmconvnext.training import recipe


@pytest.mark.parametrize(('batch', 'expected'), [(4, 12), (16, 3), (48, 1)])
def test_recipe_of_48_is_reached_with_any_batch_that_divides_it(tiny_config, tmp_path, batch, expected):
    options = {
        'auto_scale_lr.base_batch_size': 48,
        'train_dataloader.batch_size': batch,
        'train_cfg.max_epochs': 1,
    }
    runner = train(
        tiny_config, work_dir=str(tmp_path), no_validate=True, accumulate=True, cfg_options=options
    )
    assert runner.cfg.optim_wrapper.accumulative_counts == expected
    assert 'effective batch' not in next(tmp_path.glob('*/*.log')).read_text()


@pytest.mark.parametrize(
    ('processes', 'batch', 'message'),
    [
        (1, 20, r'1 x 20 images \(process x batch\) do not divide .* 48; .*batch_size=16 or 24$'),
        (2, 100, r'2 x 100 images \(processes x batch\) .*batch_size=24$'),
        (5, 4, 'no batch size would do for 5 processes; start 4, for example'),
    ],
)
def test_batch_that_does_not_divide_names_those_that_do(monkeypatch, processes, batch, message):
    # The only information that is needed from the launcher.
    monkeypatch.setattr(recipe, 'get_world_size', lambda: processes)
    cfg = Config(
        dict(
            auto_scale_lr=dict(base_batch_size=48),
            train_dataloader=dict(batch_size=batch),
            optim_wrapper=dict(),
        )
    )
    with pytest.raises(UserError, match=message):
        recipe.accumulate_to_recipe(cfg)


@pytest.mark.parametrize(
    ('options', 'arguments', 'message'),
    [
        ({}, dict(auto_scale_lr=True), 'choose one of them'),
        ({'optim_wrapper.accumulative_counts': 2}, {}, 'optim_wrapper already says 2'),
        ({'auto_scale_lr': None}, {}, 'does not say for which batch'),
    ],
)
def test_contradictions_are_refused_before_anything_is_written(
    tiny_config, tmp_path, options, arguments, message
):
    with pytest.raises(UserError, match=message):
        train(tiny_config, work_dir=str(tmp_path / 'w'), accumulate=True, cfg_options=options, **arguments)
    assert not (tmp_path / 'w').exists()
