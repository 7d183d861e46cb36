"""When the loops train and validate, and that validation changes nothing."""

import random
from io import BytesIO

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from torch.utils.data import DataLoader, Dataset, SequentialSampler

from mmconvnext.apis import build_runner, load_config
from mmconvnext.datasets.batches import ReplayableBatches
from mmconvnext.engine.loops import batches_from, random_state, set_random_state

BY_ITERATION = {
    'train_cfg': dict(_delete_=True, by_epoch=False, max_iters=5, val_interval=2),
    'default_hooks.checkpoint.by_epoch': False,
    'param_scheduler': None,
}


class Recorder(Hook):
    """Writes down what happens: a training iteration as its number, a validation as ``val``."""

    def __init__(self):
        self.seen = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        assert runner.model.training
        self.seen.append(runner.iter)

    def after_val(self, runner):
        self.seen.append('val')


def finished(config, work_dir, options, loaders=('train_dataloader', 'val_dataloader')):
    cfg = load_config(config, options)
    cfg.work_dir, cfg.launcher = str(work_dir), 'none'
    if 'val_dataloader' not in loaders:
        cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
    runner = build_runner(cfg, loaders)
    recorder = Recorder()
    runner.register_hook(recorder)
    runner.train()
    return runner, recorder.seen


@pytest.mark.parametrize(
    ('settings', 'expected'),
    [
        ({'max_epochs': 3, 'val_interval': 2}, [*range(8), 'val', *range(8, 12), 'val']),
        ({'max_epochs': 3, 'val_interval': 1, 'val_begin': 3}, [*range(12), 'val']),
        (
            {'max_epochs': 3, 'dynamic_intervals': [(3, 1)], 'val_interval': 5},
            [*range(8), 'val', *range(8, 12), 'val'],
        ),
    ],
)
def test_epochs_are_validated_at_the_interval_and_at_the_end(tiny_config, tmp_path, settings, expected):
    options = {f'train_cfg.{key}': value for key, value in settings.items()}
    assert finished(tiny_config, tmp_path / 'work', options)[1] == expected


def test_iterations_are_validated_at_the_interval_and_at_the_end(tiny_config, tmp_path):
    seen = finished(tiny_config, tmp_path / 'work', BY_ITERATION)[1]
    assert seen == [0, 1, 'val', 2, 3, 'val', 4, 'val']


@pytest.mark.parametrize('options', [{}, BY_ITERATION], ids=['epochs', 'iterations'])
def test_a_training_draws_the_same_whether_or_not_it_is_validated(tiny_config, tmp_path, options):
    options = options | {'model.backbone.drop_path_rate': 0.3, 'default_hooks.checkpoint.save_best': None}
    with_validation, seen = finished(tiny_config, tmp_path / 'with', options)
    without, unseen = finished(tiny_config, tmp_path / 'without', options, ('train_dataloader',))
    assert 'val' in seen and 'val' not in unseen
    torch.testing.assert_close(with_validation.model.state_dict(), without.model.state_dict(), rtol=0, atol=0)


def test_random_states_go_through_a_file():
    def draws():
        return random.random(), np.random.normal(), torch.rand(3).tolist()

    np.random.normal()  # leaves half of a pair, which belongs to the state
    file = BytesIO()
    torch.save(random_state(), file)
    expected = draws()
    file.seek(0)
    set_random_state(torch.load(file, weights_only=True))
    assert draws() == expected


def test_batches_that_are_done_are_not_loaded():
    class Numbers(Dataset):
        loaded = []

        def __len__(self):
            return 10

        def __getitem__(self, index):
            self.loaded.append(int(index))
            return int(index)

    batches = ReplayableBatches(SequentialSampler(range(10)), 2)
    loader = DataLoader(Numbers(), batch_sampler=batches)
    assert [batch.tolist() for batch in batches_from(loader, epoch=1, done=3)] == [[6, 7], [8, 9]]
    assert Numbers.loaded == [6, 7, 8, 9]
