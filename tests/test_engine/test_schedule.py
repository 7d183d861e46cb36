"""Resuming and errors of the schedule; tests/test_recipes.py checks its curve for every config."""

import copy
import math

import numpy as np
import pytest
import torch
from mmengine.optim import LinearLR, OptimWrapper

from mmconvnext.apis import train
from mmconvnext.engine import WarmupCosineLR
from mmconvnext.errors import UserError


def wrapped(accumulation=1, lrs=(0.1,)):
    groups = [dict(params=[torch.nn.Parameter(torch.ones(1))], lr=lr) for lr in lrs]
    return OptimWrapper(torch.optim.SGD(groups, lr=max(lrs)), accumulative_counts=accumulation)


def walk(scheduler, steps):
    """Return the learning rates of all groups before each batch."""
    found = []
    for _ in range(steps):
        found.append([group['lr'] for group in scheduler.optimizer.optimizer.param_groups])
        scheduler.step()
    return found


def test_curve_of_one_group_is_numpys_to_the_last_bit():
    scheduler = WarmupCosineLR(wrapped(lrs=(0.004,)), iterations=50, warmup_iterations=20, min_lr=1e-6)
    cosine = [1e-6 + 0.5 * (0.004 - 1e-6) * (1 + math.cos(math.pi * i / 30)) for i in range(30)]
    assert [lr for (lr,) in walk(scheduler, 50)] == [*np.linspace(0, 0.004, 20), *cosine]


def test_rate_stays_while_gradients_accumulate():
    plain = walk(WarmupCosineLR(wrapped(), iterations=10, warmup_iterations=3), 10)
    scheduler = WarmupCosineLR(wrapped(4), iterations=40, warmup_iterations=12)
    assert walk(scheduler, 40) == [rates for rates in plain for _ in range(4)]


def test_smallest_rate_shrinks_with_the_group_and_is_kept_after_the_end():
    scheduler = WarmupCosineLR(wrapped(lrs=(0.1, 0.01)), iterations=10_000, min_lr=1e-3)
    *_, end = walk(scheduler, 10_001)
    assert end == pytest.approx([1e-3, 1e-4], rel=1e-4)
    assert walk(scheduler, 3) == [end] * 3


def test_a_resumed_schedule_goes_on_bit_for_bit():
    through = WarmupCosineLR(wrapped(2, (0.1, 0.03)), iterations=40, warmup_iterations=10, min_lr=1e-3)
    walk(through, 17)
    state = copy.deepcopy(through.state_dict())
    resumed = WarmupCosineLR(wrapped(2, (0.1, 0.03)), iterations=40, warmup_iterations=10, min_lr=1e-3)
    resumed.load_state_dict(state)
    resumed.step()
    through.step()
    assert walk(resumed, 22) == walk(through, 22)


@pytest.mark.filterwarnings('ignore:Detected call of')  # the optimizer takes no steps here
def test_state_of_mmengines_warm_up_is_a_place_to_go_on_from():
    """Older checkpoints contain a LinearLR and a CosineAnnealingLR."""
    linear = LinearLR(wrapped(), start_factor=1e-9, end=5, by_epoch=False)
    for _ in range(12):
        linear.step()
    scheduler = WarmupCosineLR(wrapped(), iterations=40, warmup_iterations=5)
    through = WarmupCosineLR(wrapped(), iterations=40, warmup_iterations=5)
    scheduler.load_state_dict(linear.state_dict())
    scheduler.step()
    walk(through, 13)
    assert walk(scheduler, 20) == walk(through, 20)


@pytest.mark.filterwarnings('error:Detected call of')
def test_training_by_iterations_with_accumulation_follows_the_curve_and_resumes(tiny_config, tmp_path):
    def run(iterations, **kwargs):
        options = {
            'param_scheduler': dict(
                _delete_=True,
                type='mmconvnext.WarmupCosineLR',
                by_epoch=False,
                iterations=8,
                warmup_iterations=4,
            ),
            'train_cfg': dict(_delete_=True, by_epoch=False, max_iters=iterations, val_interval=100),
            'optim_wrapper.accumulative_counts': 2,
            'default_hooks.checkpoint': dict(type='CheckpointHook', by_epoch=False, interval=2),
            'default_hooks.logger.interval': 1,
        }
        return train(tiny_config, work_dir=str(tmp_path / 'w'), cfg_options=options, **kwargs)

    run(6)
    runner = run(8, resume='auto')
    rates = runner.message_hub.get_scalar('train/lr').data[0]
    # 0 and the peak in the warm-up, then half a cosine of two steps.
    assert list(rates) == pytest.approx([0, 0, 2e-3, 2e-3, 2e-3, 2e-3, 1e-3, 1e-3], rel=1e-6)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(convert_to_iter_based=True, epochs=5, warmup_epochs=5), 'warm up for 5 of 5'),
        (dict(by_epoch=False, iterations=5, min_lr=-1), 'end at -1'),
        (dict(epochs=5), "unexpected keyword argument 'epochs'"),
        (dict(by_epoch=True, iterations=5), 'convert_to_iter_based=True'),
    ],
)
def test_impossible_schedule_is_refused_before_anything_is_written(tiny_config, tmp_path, settings, message):
    options = {'param_scheduler': dict(_delete_=True, type='mmconvnext.WarmupCosineLR', **settings)}
    with pytest.raises(UserError, match=f'param_scheduler of the config cannot be built: .*{message}'):
        train(tiny_config, work_dir=str(tmp_path / 'w'), cfg_options=options)
    assert not (tmp_path / 'w').exists()
