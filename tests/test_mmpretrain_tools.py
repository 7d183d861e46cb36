"""mmpretrain's own train.py and test.py with our configs, as docs/migrate.md says."""

import runpy
import sys
from pathlib import Path

import mmpretrain
import pytest
from PIL import Image

from tests.conftest import REPO

TOOLS = Path(mmpretrain.__file__).parent / '.mim/tools'
SMALL_NET = ('model.backbone.arch=zepto', 'model.head.in_channels=256')
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


@pytest.fixture
def images(tmp_path):
    """Four folders of two images each; 996 empty ones follow, for ImageNet's number of classes."""
    for kind in range(1000):
        for split in ('train', 'val'):
            folder = tmp_path / f'images/{split}/n{kind:08}'
            folder.mkdir(parents=True)
            if kind < 4:
                for i in range(2):
                    Image.new('RGB', (60, 50), (60 * kind, 100 * i, 200)).save(folder / f'{i}.png')
    return tmp_path / 'images'


@pytest.mark.parametrize(
    'name',
    [
        'digits/convnext-atto_1xb48_digits',
        'convnext/convnext-tiny_32xb128_in1k',
        'convnext/convnext-tiny_ft_folder',
    ],
)
def test_configs_train_and_are_tested(name, images, tmp_path, monkeypatch, capsys):
    options = [*SMALL_NET, 'train_cfg.max_epochs=1', 'train_dataloader.batch_size=2', 'load_from=None']
    for loader in LOADERS:
        if 'digits' in name:
            options += [f'{loader}.dataset.indices=8']
        else:
            options += [f'{loader}.dataset.data_root={images}']
            options += [f'{loader}.num_workers=0', f'{loader}.persistent_workers=False']
    if 'folder' in name:
        options += ['model.head.num_classes=1000']
    work_dir = tmp_path / 'work'
    for tool, checkpoint in (('train', []), ('test', [work_dir / 'epoch_1.pth'])):
        arguments = [REPO / f'configs/{name}.py', *checkpoint, '--work-dir', work_dir]
        monkeypatch.setattr(sys, 'argv', [*map(str, [tool, *arguments]), '--cfg-options', *options])
        runpy.run_path(str(TOOLS / f'{tool}.py'), run_name='__main__')
        assert 'accuracy/top1' in capsys.readouterr().out
