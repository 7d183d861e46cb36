"""FCMAE trains through the tools as a classifier does."""

import signal

import numpy as np
import pytest
import torch
from PIL import Image
from torch._dynamo.utils import counters

from mmconvnext.apis import load_config, train
from mmconvnext.errors import UserError
from mmconvnext.training.augmenting import augment_batches
from mmconvnext.zoo.names import load_weights
from tests import peers
from tests.conftest import write_tiny_pretraining
from tests.interruptions import KILLS, OPTIONS, kill_and_resume, weights_of_the_end
from tests.processes import run
from tests.signals import signalled
from tests.test_datasets.test_augmentation import photo
from tests.test_models.test_fcmae import normalized, removed_patches

# Where a run is killed, as in test_interruption.py.
KILLED = {
    'mmconvnext.engine.runner:put_in_place': 3,
    'torch.optim:AdamW.step': 6,
    'mmconvnext.models.masked_autoencoder:MaskedAutoencoder.loss': 6,
}
FLIP = dict(type='mmconvnext.RandomFlip')
MASKS = dict(type='mmconvnext.MaskPatches', patch_size=8)
PACK = dict(type='mmconvnext.PackInputs')
ENLARGE = dict(type='Resize', scale=(32, 32))


@pytest.fixture
def config(tmp_path):
    return write_tiny_pretraining(tmp_path)


def losses(runner):
    return list(runner.message_hub.get_scalar('train/loss').data[0])


@pytest.mark.parametrize('algorithm', ['fcmae', 'spark'])
def test_smoke_test_needs_neither_data_nor_classes(algorithm, tmp_path):
    config = write_tiny_pretraining(tmp_path, algorithm)
    runner = train(config, smoke=True, work_dir=str(tmp_path / 'w'))
    assert runner.iter == 2
    assert len(losses(runner)) == 2


def test_images_of_another_size_have_more_patches(config, tmp_path):
    runner = train(
        config, image_size=48, work_dir=str(tmp_path / 'w'), cfg_options={'train_cfg.max_epochs': 1}
    )
    sample = runner.train_dataloader.dataset[0]
    assert sample['inputs'].shape == (3, 48, 48)
    assert sample['data_samples'].mask.shape == (6, 6)
    assert runner.cfg.train_dataloader.dataset.pipeline[-2].patch_size == 8


def test_a_size_that_patches_do_not_divide_is_refused_before_anything_is_written(config, tmp_path):
    with pytest.raises(UserError, match='an image of 36 x 36: crop it to multiples of 8, or set another'):
        train(config, image_size=36, work_dir=str(tmp_path / 'w'))
    assert not (tmp_path / 'w').exists()


def test_augmentation_on_the_device_leaves_masks_to_the_workers(config, tmp_path):
    options = {'train_dataloader.dataset.pipeline': [ENLARGE, FLIP, MASKS, PACK], 'train_cfg.max_epochs': 1}
    found = {
        on_device: train(
            config, work_dir=str(tmp_path / str(on_device)), cfg_options=options, augment_on_device=on_device
        )
        for on_device in (True, False)
    }
    kinds = [step.type for step in found[True].cfg.train_dataloader.dataset.pipeline]
    assert kinds == [
        'Resize',
        'mmconvnext.DrawAugmentation',
        'mmconvnext.MaskPatches',
        'mmconvnext.PackInputs',
    ]
    weights = [runner.model.state_dict() for runner in found.values()]
    torch.testing.assert_close(*weights, rtol=0, atol=0)
    for name in ('fcmae_convnext-v2-base_64xb64-1600e_in1k', 'fcmae_convnext-v2-tiny_folder'):
        cfg = load_config(name)
        augment_batches(cfg)
        assert cfg.data_preprocessor.steps == [FLIP]


def test_gradients_are_accumulated_to_the_batch_of_the_recipe(config, tmp_path):
    options = {
        'train_dataloader.batch_size': 4,
        'train_cfg.max_epochs': 1,
    }
    runner = train(config, accumulate=True, work_dir=str(tmp_path / 'w'), cfg_options=options)
    assert runner.optim_wrapper._accumulative_counts == 4
    whole = train(
        config, work_dir=str(tmp_path / 'whole'), cfg_options=options | {'train_dataloader.batch_size': 16}
    )
    # Every image has the same number of removed patches, so the mean of means is that of all.
    np.testing.assert_allclose(np.reshape(losses(runner), (-1, 4)).mean(1), losses(whole), rtol=1e-5)


def test_there_is_nothing_to_validate_with_and_without_the_option(config, tmp_path):
    options = {'train_cfg.max_epochs': 1}
    with_option = train(config, no_validate=True, work_dir=str(tmp_path / 'a'), cfg_options=options)
    without = train(config, work_dir=str(tmp_path / 'b'), cfg_options=options)
    assert losses(with_option) == losses(without)


def test_a_folder_of_images_goes_on_from_the_official_encoder(tmp_path):
    arch = dict(depths=(1, 1, 1, 1), channels=(8, 16, 24, 32))
    official = peers.randomize(peers.Official(**arch, v2=True)).state_dict()
    encoder = {f'encoder.{name}': weight for name, weight in peers.sparse_layout(official).items()}
    torch.save({'model': encoder}, tmp_path / 'fcmae.pt')
    for i, name in enumerate(('a', 'summer/b', 'summer/c', 'd')):
        (tmp_path / 'photos' / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo(80, 100, i)).save(tmp_path / f'photos/{name}.png')
    options = {
        'load_from': str(tmp_path / 'fcmae.pt'),
        'model.backbone.arch': dict(_delete_=True, **arch),
        'model.decoder_channels': 16,
        'train_dataloader.num_workers': 0,
        'train_dataloader.batch_size': 2,
        'train_cfg.max_epochs': 1,
        'optim_wrapper.optimizer.lr': 0.0,  # so the weights stay as loaded
    }
    runner = train(
        'fcmae_convnext-v2-tiny_folder',
        data_root=str(tmp_path / 'photos'),
        image_size=96,
        work_dir=str(tmp_path / 'w'),
        cfg_options=options,
    )
    assert len(runner.train_dataloader.dataset) == 4
    ours = load_weights(tmp_path / 'fcmae.pt').tensors
    found = {n: w for n, w in runner.model.state_dict().items() if n.startswith('backbone.')}
    torch.testing.assert_close(found, {n: ours[n] for n in found}, rtol=0, atol=0)
    (log,) = (tmp_path / 'w').glob('*/*.log')
    lines = [
        line for line in log.read_text().splitlines() if 'neck.mask_token' in line and 'from scratch' in line
    ]
    assert len(lines) == 1


@pytest.mark.slow
def test_compiled_backbone_computes_the_same(config, tmp_path):
    smallest = dict(_delete_=True, depths=(1, 1), channels=(8, 8), stem_patch_size=1)
    options = {'model.backbone.arch': smallest, 'train_cfg.max_epochs': 1}
    options |= {'custom_hooks': []}  # pictures of reconstructions need a graph without gradients
    torch._dynamo.reset()  # earlier tests may have made the check before the run
    counters.clear()
    compiled = train(config, compile=True, work_dir=str(tmp_path / 'compiled'), cfg_options=options)
    # That of the check before the run, and a single one for all batches and masks.
    assert counters['stats']['unique_graphs'] == 2
    plain = train(config, work_dir=str(tmp_path / 'plain'), cfg_options=options)
    np.testing.assert_allclose(losses(compiled), losses(plain), rtol=1e-4)
    assert compiled.model.state_dict().keys() == plain.model.state_dict().keys()


@pytest.mark.slow
@pytest.mark.parametrize('ranks', [1, 2])
def test_killed_and_resumed_runs_end_bit_for_bit_as_uninterrupted_ones(config, tmp_path, ranks):
    options = OPTIONS | {'train_dataloader.num_workers': 1, 'train_dataloader.batch_size': 16 // ranks}
    assert run(config, tmp_path / 'whole', options, ranks=ranks) == [0] * ranks
    kill_and_resume(config, tmp_path / 'killed', options, KILLS, ranks=ranks, seed=ranks, places=KILLED)
    expected = weights_of_the_end(tmp_path / 'whole')
    torch.testing.assert_close(weights_of_the_end(tmp_path / 'killed'), expected, rtol=0, atol=0)


@pytest.mark.parametrize('algorithm', ['fcmae', 'spark'])
def test_interrupted_and_resumed_run_ends_bit_for_bit_as_the_uninterrupted_one(algorithm, tmp_path):
    config = write_tiny_pretraining(tmp_path, algorithm)
    options = {'train_dataloader.dataset.indices': 75, 'model.backbone.drop_path_rate': 0.3}
    with pytest.raises(SystemExit):
        train(config, work_dir=str(tmp_path / 'w'), cfg_options=options | signalled(signal.SIGTERM, 7))
    resumed = train(config, resume='latest', work_dir=str(tmp_path / 'w'), cfg_options=options)
    whole = train(config, work_dir=str(tmp_path / 'whole'), cfg_options=options)
    assert (resumed.iter, losses(resumed)) == (10, losses(whole))
    torch.testing.assert_close(resumed.model.state_dict(), whole.model.state_dict(), rtol=0, atol=0)


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one(config, tmp_path):
    """Masks belong to the samples, and every image has the same number of removed patches."""
    found = {}
    for ranks in (1, 2):
        options = {
            'custom_hooks': [dict(type='mmconvnext.LossesHook')],
            'train_dataloader.batch_size': 16 // ranks,
            'train_cfg.max_epochs': 4,
            'param_scheduler.epochs': 4,
        }
        work_dir, module = tmp_path / str(ranks), 'tests.test_training.test_interruption'
        assert run(config, work_dir, options, ranks=ranks, preload=module) == [0] * ranks
        found[ranks] = [torch.load(work_dir / f'losses_{rank}') for rank in range(ranks)]
    assert not np.allclose(*found[2])  # each process has its own images
    np.testing.assert_allclose(np.mean(found[2], 0), found[1][0], rtol=1e-5)


def test_it_learns_more_than_the_mean_of_each_patch(config, tmp_path):
    options = {
        'train_dataloader.dataset.indices': 1437,
        'train_cfg.max_epochs': 1,
        'optim_wrapper.optimizer.lr': 4e-3,
    }
    runner = train(config, work_dir=str(tmp_path / 'w'), rehearsal=False, cfg_options=options)
    errors = []
    for i in range(200):
        sample = runner.train_dataloader.dataset[i]
        image = (sample['inputs'].permute(1, 2, 0).double().numpy() - 127.5) / 127.5
        patches = removed_patches(image, sample['data_samples'].mask.numpy(), 8)
        errors += [(normalized(patch) ** 2).mean() for patch in patches]
    # Below 1, since some patches are a single gray level.
    assert 0.9 < np.mean(errors) < 1
    assert np.mean(losses(runner)[:5]) == pytest.approx(np.mean(errors), rel=0.1)
    assert np.mean(losses(runner)[-20:]) < 0.75 * np.mean(errors)
