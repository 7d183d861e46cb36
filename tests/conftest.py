from pathlib import Path

import pytest
import torch

REPO = Path(__file__).parents[1]
# Tests run in parallel, one process per core.
torch.set_num_threads(1)

TINY_ARCH = dict(depths=(1, 1, 2, 1), channels=(8, 16, 24, 32))


@pytest.fixture(autouse=True)
def _fixed_seed():
    torch.manual_seed(0)


@pytest.fixture
def tiny_config(tmp_path):
    return write_tiny_config(tmp_path)


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
