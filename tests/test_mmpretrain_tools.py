"""mmpretrain's own train.py and test.py run our configs, as docs/migrate.md says."""

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


def write_images(root, classes):
    """Write two images of each of the first four classes."""
    for kind in range(classes):
        for split in ('train', 'val'):
            folder = root / f'{split}/n{kind:08}'
            folder.mkdir(parents=True)
            for i in range(2 if kind < 4 else 0):
                Image.new('RGB', (60, 50), (60 * kind, 100 * i, 200)).save(folder / f'{i}.png')


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'classes'),
    [
        ('digits/convnext-atto_1xb48_digits', None),
        ('convnext/convnext-tiny_32xb128_in1k', 1000),
        ('convnext/convnext-tiny_ft_folder', 4),
    ],
)
def test_configs_train_and_are_tested(name, classes, tmp_path, monkeypatch, capsys):
    options = [*SMALL_NET, 'train_cfg.max_epochs=1', 'train_dataloader.batch_size=2', 'load_from=None']
    if classes:
        write_images(tmp_path / 'images', classes)
        options += [f'model.head.num_classes={classes}']
    for loader in LOADERS:
        if not classes:
            options += [f'{loader}.dataset.indices=8']
        else:
            options += [f'{loader}.dataset.data_root={tmp_path / "images"}']
            options += [f'{loader}.num_workers=0', f'{loader}.persistent_workers=False']
    work_dir = tmp_path / 'work'
    for tool, checkpoint in (('train', []), ('test', [work_dir / 'epoch_1.pth'])):
        arguments = [REPO / f'configs/{name}.py', *checkpoint, '--work-dir', work_dir]
        monkeypatch.setattr(sys, 'argv', [*map(str, [tool, *arguments]), '--cfg-options', *options])
        runpy.run_path(str(TOOLS / f'{tool}.py'), run_name='__main__')
        assert 'accuracy/top1' in capsys.readouterr().out
