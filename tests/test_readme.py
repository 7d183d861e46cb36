"""Every command of the README runs, as printed but for what makes it small enough for a test."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import REPO

BLOCKS = re.findall(r'```(\w+)\n(.*?)```', (REPO / 'README.md').read_text(), re.DOTALL)
COMMANDS = [
    line.split('   #')[0].strip()
    for language, block in BLOCKS
    if language == 'bash'
    for line in block.splitlines()
    if line.strip() and not line.startswith('#')
]
DIGITS = 'tools/train.py configs/digits/convnext-atto_1xb48_digits.py'
FEW_IMAGES = 'train_dataloader.dataset.indices=96 val_dataloader.dataset.indices=48'
SMALL_NET = 'model.backbone.arch=zepto model.head.in_channels=256'
FEW = f'{FEW_IMAGES} {SMALL_NET}'
PORT = f'PORT={29600 + os.getpid() % 1000}'

# Command of the README -> how it is run here. The set-up commands run before any test, in CI or by hand.
RUNS = {
    'make demo': 'make -n demo',
    'make test': 'make -n test',
    'pip install ".[maintained]"': 'make -n install STACK=maintained',
    'pip install ".[original]"': 'make -n install STACK=original',
    'pip install .': 'make -n install',
    'source .venv/bin/activate': 'true',
    DIGITS: f'{DIGITS} --cfg-options train_cfg.max_epochs=11 {FEW}',
    f'{DIGITS} --resume': f'{DIGITS} --resume --cfg-options {FEW}',
    'tools/dist_train.sh configs/digits/convnext-atto_1xb48_digits.py 2 --work-dir work_dirs/two '
    '--cfg-options train_dataloader.batch_size=24': f'{PORT} {{}} train_cfg.max_epochs=12 {FEW}',
    'tools/train.py configs/convnext_v2/convnext-v2-atto_32xb32_in1k.py --smoke': '{}',
    'tools/dist_train.sh configs/convnext/convnext-tiny_32xb128_in1k.py 8 --cfg-options '
    'optim_wrapper.accumulative_counts=4': (
        f'{PORT} tools/dist_train.sh configs/convnext/convnext-tiny_32xb128_in1k.py 2 --cfg-options '
        'optim_wrapper.accumulative_counts=4 --smoke --work-dir work_dirs/dist'
    ),
    'NNODES=2 NODE_RANK=0 MASTER_ADDR=10.0.0.1 tools/dist_train.sh '
    'configs/convnext/convnext-tiny_32xb128_in1k.py 8 --cfg-options optim_wrapper.accumulative_counts=2': (
        f'export NNODES=2 MASTER_ADDR=127.0.0.1 {PORT}; run="tools/dist_train.sh '
        'configs/convnext/convnext-tiny_32xb128_in1k.py 1 --smoke --work-dir work_dirs/nodes"; '
        'NODE_RANK=1 $run & NODE_RANK=0 $run && wait $!'
    ),
    # An srun that checks what it is asked for: there is no cluster here.
    'GPUS=32 tools/slurm_train.sh my_partition my_job configs/convnext/convnext-tiny_32xb128_in1k.py': (
        'printf \'#!/bin/sh\\n[ "$1 $3" = "--partition=my_partition --ntasks=32" ]\' > srun; '
        'chmod +x srun; PATH=.:$PATH {}'
    ),
    'tools/train.py pets.py --auto-scale-lr': (
        f'{{}} --cfg-options load_from=None {SMALL_NET} '
        'train_dataloader.batch_size=8 val_dataloader.batch_size=8 train_cfg.max_epochs=1 '
        'train_dataloader.num_workers=0 val_dataloader.num_workers=0'
    ),
}


def small(command: str) -> str:
    if command.startswith(('tools/test.py', 'tools/dist_test.sh', 'tools/plot_predictions.py')):
        return f'{PORT} {command} --cfg-options test_dataloader.dataset.indices=48 {SMALL_NET}'
    if command.startswith('tools/plot_curves.py'):
        return command
    return RUNS[command].replace('{}', command)


@pytest.fixture(scope='module')
def checkout(tmp_path_factory):
    """A copy of what the commands need, with the data of the fine-tuning example."""
    root = tmp_path_factory.mktemp('readme')
    for name in ('configs', 'tools', 'mmconvnext'):
        shutil.copytree(REPO / name, root / name, symlinks=True)
    for name in ('Makefile', 'setup.py', 'pyproject.toml'):
        shutil.copy(REPO / name, root)
    for split in ('train', 'val'):
        for kind in range(37):
            folder = root / f'data/pets/{split}/kind_{kind:02}'
            folder.mkdir(parents=True)
            Image.new('RGB', (60, 50), (6 * kind, 100, 200)).save(folder / 'a.png')
    example = next(block for language, block in BLOCKS if language == 'python' and 'data/pets' in block)
    (root / 'pets.py').write_text(example)
    return root


@pytest.mark.slow
def test_commands_run_in_their_order(checkout):
    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    env = {**os.environ, 'PATH': path, 'PYTHONPATH': str(checkout), 'OMP_NUM_THREADS': '1'}
    for command in COMMANDS:
        run = small(command)
        result = subprocess.run(['bash', '-c', run], cwd=checkout, env=env, capture_output=True, text=True)
        assert result.returncode == 0, (
            f'{command}\nas {run}\n{result.stdout[-1500:]}\n{result.stderr[-1500:]}'
        )
    for name in ('work_dirs/predictions.png', 'work_dirs/curves.png'):
        assert Image.open(checkout / name).size[0] > 100


def test_table_of_runs_has_no_command_that_left_the_readme():
    assert set(RUNS) <= set(COMMANDS)


def test_backbone_of_the_detection_example_gives_the_channels_of_its_neck():
    import torch
    from mmengine.registry import MODELS

    block = next(b for language, b in BLOCKS if language == 'python' and 'FPN' in b)
    config = {}
    exec(block, config)
    with torch.device('meta'):
        features = MODELS.build(config['backbone']).eval()(torch.empty(1, 3, 64, 64))
    assert [f.shape[1] for f in features] == config['neck']['in_channels']


def test_pictures_and_files_named_in_the_readme_exist():
    for link in re.findall(r'\]\(([^)#]+)\)', (REPO / 'README.md').read_text()):
        assert link.startswith('http') or (REPO / link).exists(), link
