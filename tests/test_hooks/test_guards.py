"""A run stops before non-finite values reach the weights, and its last checkpoint is intact."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from PIL import Image

from mmconvnext.apis import train
from mmconvnext.errors import UserError
from mmconvnext.registry import HOOKS


@HOOKS.register_module()
class PoisonHook(Hook):
    """Set the images of some iterations to NaN."""

    def __init__(self, iterations):
        self.iterations = iterations

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 in self.iterations:
            data_batch['inputs'] = data_batch['inputs'] * float('nan')


@HOOKS.register_module()
class PoisonGradientHook(Hook):
    """Make one gradient infinite while the loss stays finite."""

    def before_train(self, runner):
        runner.model.backbone.norm3.weight.register_hook(lambda gradient: gradient / 0)


def poisoned(*iterations, **options):
    return {'custom_hooks': [dict(type='mmconvnext.PoisonHook', iterations=iterations)], **options}


def test_nan_stops_the_run_and_names_iteration_and_checkpoint(tiny_config, tmp_path):
    message = 'gradients of iteration 6 are not finite; the run stops, the last checkpoint, .*epoch_1.pth'
    with pytest.raises(UserError, match=message):
        train(tiny_config, work_dir=str(tmp_path / 'w'), cfg_options=poisoned(6))
    checkpoint = torch.load(tmp_path / 'w/epoch_1.pth', weights_only=False)
    assert all(weight.isfinite().all() for weight in checkpoint['state_dict'].values())
    assert not (tmp_path / 'w/epoch_2.pth').exists()


def test_infinite_gradient_under_a_finite_loss_stops_the_run(tiny_config, tmp_path):
    options = {'custom_hooks': [dict(type='mmconvnext.PoisonGradientHook')]}
    with pytest.raises(UserError, match='gradients of iteration 1 are not finite.*nothing was saved'):
        train(tiny_config, work_dir=str(tmp_path / 'w'), cfg_options=options)


def test_skipped_step_changes_nothing_and_the_run_goes_on(tiny_config, tmp_path):
    options = poisoned(2, 6, **{'default_hooks.finite.skip': 2})
    runner = train(tiny_config, work_dir=str(tmp_path / 'w'), cfg_options=options)
    assert runner.iter == 8
    steps = {int(state['step']) for state in runner.optim_wrapper.optimizer.state.values()}
    assert steps == {6}
    assert all(weight.isfinite().all() for weight in runner.model.state_dict().values())


def test_more_steps_than_allowed_stop_the_run(tiny_config, tmp_path):
    options = poisoned(2, 3, 6, **{'default_hooks.finite.skip': 2})
    with pytest.raises(UserError, match='iteration 6'):
        train(tiny_config, work_dir=str(tmp_path / 'w'), cfg_options=options)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Write 40 JPEG files in two classes, of which one in twenty is broken."""
    root = tmp_path_factory.mktemp('images')
    for i in range(40):
        file = root / ['cat', 'dog'][i % 2] / f'{i}.jpg'
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((40, 40, 3), 6 * i, np.uint8)).save(file)
        if i % 20 == 7:
            file.write_bytes(file.read_bytes()[:100])
    return root


def broken_options(folder, **options):
    pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(32, 32)), dict(type='PackInputs')]
    dataset = dict(_delete_=True, type='CustomDataset', data_root=str(folder), pipeline=pipeline)
    return {
        'train_dataloader.dataset': dataset,
        'train_dataloader.batch_size': 4,
        'model.head.num_classes': 2,
        **options,
    }


@pytest.mark.parametrize('workers', [0, 2])
def test_broken_images_are_logged_with_their_path_and_replaced(tiny_config, folder, tmp_path, workers):
    said = []
    listener = logging.Handler()
    listener.emit = lambda record: said.append(record.getMessage())

    @HOOKS.register_module(name='ListenHook', force=True)
    class ListenHook(Hook):
        def before_train(self, runner):
            MMLogger.get_current_instance().addHandler(listener)

    options = broken_options(
        folder,
        **{
            'default_hooks.broken_images.max_fraction': 0.06,
            'train_dataloader.num_workers': workers,
            'custom_hooks': [dict(type='mmconvnext.ListenHook')],
        },
    )
    runner = train(tiny_config, work_dir=str(tmp_path), cfg_options=options, no_validate=True)
    assert runner.iter == 20
    told = [line for line in said if 'another image takes its place' in line]
    assert sorted(Path(line.split()[0]).name for line in told) == [
        '27.jpg',
        '7.jpg',
    ]  # once, not in every epoch


def test_too_many_broken_images_stop_the_run(tiny_config, folder, tmp_path):
    with pytest.raises(
        UserError, match=r'2 images of this epoch cannot be read, more than 1.0% of 40: .*7.jpg'
    ):
        train(tiny_config, work_dir=str(tmp_path), cfg_options=broken_options(folder), no_validate=True)


def test_images_of_a_last_batch_that_is_not_full_are_not_counted(tiny_config, folder, tmp_path):
    options = broken_options(folder, **{'train_dataloader.batch_size': 32})
    with pytest.raises(UserError, match=r'2 images of this epoch cannot be read, more than 1.0% of 40: '):
        train(tiny_config, work_dir=str(tmp_path), cfg_options=options, no_validate=True)


def test_loops_by_iterations_count_broken_images_epoch_by_epoch(tiny_config, folder, tmp_path):
    """Two of forty images are below the limit in each epoch, but above it in three."""
    options = broken_options(
        folder,
        **{
            'train_cfg': dict(_delete_=True, by_epoch=False, max_iters=30, val_interval=100),
            'default_hooks.checkpoint.by_epoch': False,
            'default_hooks.broken_images.max_fraction': 0.06,
            'param_scheduler': None,
        },
    )
    runner = train(tiny_config, work_dir=str(tmp_path), cfg_options=options, no_validate=True)
    assert runner.iter == 30
    listed = (tmp_path / 'broken_images.txt').read_text().splitlines()
    assert len(listed) == 2
    assert all('failed to load image' in line for line in listed)  # with the reason
