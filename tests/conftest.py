import gc
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

REPO = Path(__file__).parents[1]
# Tests run in parallel, one process per core.
torch.set_num_threads(1)


# mmengine collects garbage at the start of each run. Without the million objects of the libraries and the
# list of tests this takes milliseconds instead of a second.
def pytest_configure():
    gc.disable()


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


TINY_ARCH = dict(depths=(1, 1, 2, 1), channels=(8, 16, 24, 32))


@pytest.fixture(autouse=True)
def _fixed_seed():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _no_current_run():
    """Forget the scope, the log and all else that mmengine's own Runners leave, as in a new process.

    A log that was closed since, and whose folder is gone, would fail at the next message.
    """
    from mmengine.registry import DefaultScope

    from mmconvnext.engine.isolation import managed, set_managed

    DefaultScope._instance_dict.clear()
    before = managed()
    yield
    set_managed(before)


@pytest.fixture
def tiny_config(tmp_path):
    return write_tiny_config(tmp_path)


@pytest.fixture(scope='session')
def saved(tmp_path_factory):
    """Return a config and a work dir with the checkpoint of its first epoch."""
    from mmconvnext.apis import train

    folder = tmp_path_factory.mktemp('saved')
    config = write_tiny_config(folder)
    train(config, work_dir=str(folder / 'w'), cfg_options={'train_cfg.max_epochs': 1})
    return config, folder / 'w'


@pytest.fixture
def work_dir(saved, tmp_path):
    """Return a copy of that work dir, for one test alone."""
    return shutil.copytree(saved[1], tmp_path / 'inside' / 'w')


@pytest.fixture
def photos(tmp_path):
    """Return a folder with two images of noise."""
    (tmp_path / 'photos').mkdir()
    noise = np.random.default_rng(0)
    for name in ('a.jpg', 'b.png'):
        Image.fromarray(noise.integers(0, 255, (40, 50, 3), np.uint8)).save(tmp_path / 'photos' / name)
    return tmp_path / 'photos'


def resumed(saved, work_dir, **options):
    """Go on in the copy, and return the Runner."""
    from mmconvnext.apis import train

    return train(saved[0], work_dir=str(work_dir), resume='latest', rehearsal=False, cfg_options=options)


def write_tiny_config(folder):
    """A config file that trains a tiny network on 64 digits for two epochs, in about a second."""
    # mmengine keeps one logger for runs of one name that start within a second.
    file = folder / f'{folder.name}.py'
    file.write_text(
        f"_base_ = '{REPO / 'configs/digits/convnext-atto_1xb48_digits.py'}'\n"
        f'model = dict(backbone=dict(arch=dict(_delete_=True, **{TINY_ARCH})),'
        ' head=dict(in_channels=32))\n'
        'train_dataloader = dict(batch_size=16, dataset=dict(indices=64))\n'
        'val_dataloader = dict(batch_size=16, dataset=dict(indices=32))\n'
        'test_dataloader = dict(batch_size=16, dataset=dict(indices=32))\n'
        'train_cfg = dict(max_epochs=2)\n'
        'auto_scale_lr = dict(base_batch_size=16)\n'
    )
    return file


def write_tiny_pretraining(folder, algorithm='fcmae'):
    """A config file that pre-trains a tiny network on 64 digits for two epochs, in about a second."""
    file = folder / f'{folder.name}_{algorithm}.py'
    base = REPO / 'configs/_base_'
    own = dict(fcmae='decoder_channels=16', spark='decoder_channels=32')[algorithm]
    arch = f'arch=dict(_delete_=True, **{TINY_ARCH})'
    file.write_text(
        f"_base_ = ['{base}/models/{algorithm}.py', '{base}/datasets/digits_masked_32.py', "
        f"'{base}/schedules/fcmae_1600e.py', '{base}/default_runtime.py']\n"
        f'model = dict(backbone=dict({arch}, stem_patch_size=1), patch_size=8, {own})\n'
        'train_dataloader = dict(batch_size=16, dataset=dict(indices=64))\n'
        'train_cfg = dict(max_epochs=2, val_interval=2)\n'
        'param_scheduler = dict(epochs=2, warmup_epochs=0)\n'
        'optim_wrapper = dict(optimizer=dict(lr=1e-3))\n'
        'auto_scale_lr = dict(base_batch_size=16)\n'
    )
    return file
