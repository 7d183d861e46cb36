"""Every command of the README runs, as printed but for what makes it small enough for a test."""

import os
import re
import shlex
import shutil

import pytest
from PIL import Image
from safetensors.torch import save_file

from mmconvnext.models import ARCHS
from tests.conftest import REPO
from tests.processes import call
from tests.servers import serve

BLOCKS = re.findall(r'```(\w+)\n(.*?)```', (REPO / 'README.md').read_text(), re.DOTALL)
COMMANDS = [
    line.split('   #')[0].strip()
    for language, block in BLOCKS
    if language == 'bash'
    for line in block.splitlines()
    if line.strip() and not line.startswith('#')
]
DIGITS = 'tools/train.py configs/digits/convnext-atto_1xb48_digits.py'
PETS_CONFIG = 'configs/convnext/convnext-tiny_ft_folder.py'
FEW_IMAGES = 'train_dataloader.dataset.indices=96 val_dataloader.dataset.indices=48'
SMALL_NET = 'model.backbone.arch=zepto model.head.in_channels=256'
FEW = f'{FEW_IMAGES} {SMALL_NET}'
DETECTION = 'configs/detection/mask-rcnn_convnext-tiny_fpn_8xb2-amp-ms-3x_coco.py'
MASK_RCNN = f'tools/test.py {DETECTION} mask_rcnn_convnext_tiny_1k_3x'
SEGMENTATION = 'configs/segmentation/upernet_convnext-tiny_8xb2-amp-160k_ade20k-512px.py'
UPERNET = f'tools/test.py {SEGMENTATION} upernet_convnext_tiny_1k_512x512'
# Where MMDetection and MMSegmentation are missing, which is here; they have tests of their own.
SAYS_WHAT_TO_INSTALL = '{} 2>&1 | grep -F "mmconvnext["'
# Stands for any published name in the example of Python: 0.3 million parameters.
SMALL_NAME = 'test_convnext.r160_in1k'
PORT = f'PORT={29600 + os.getpid() % 1000}'

# Command of the README -> how it is run here. The set-up commands run before any test, in CI or by hand.
RUNS = {
    'make demo': 'make -n demo',
    'make test': 'make -n test',
    'pip install ".[maintained]"': 'make -n install STACK=maintained',
    'pip install ".[original]"': 'make -n install STACK=original',
    'pip install .': 'make -n install',
    'source .venv/bin/activate': 'true',
    'pip install ".[detection,segmentation]"': 'make -n test-downstream',
    'tools/compile_mmcv.sh "$(which python)"': 'bash -n tools/compile_mmcv.sh',
    f'tools/train.py {DETECTION} --data-root data/coco': SAYS_WHAT_TO_INSTALL,
    f'{MASK_RCNN} --show-dir work_dirs/boxes': SAYS_WHAT_TO_INSTALL,
    UPERNET: SAYS_WHAT_TO_INSTALL,
    f'{UPERNET} --tta --cfg-options model.test_cfg.mode=whole': SAYS_WHAT_TO_INSTALL,
    'tools/infer.py photos --model mask_rcnn_convnext_tiny_1k_3x --out work_dirs/objects.json '
    '--out-dir work_dirs/objects': SAYS_WHAT_TO_INSTALL,
    DIGITS: f'{DIGITS} --cfg-options train_cfg.max_epochs=11 {FEW}',
    f'{DIGITS} --resume': f'{DIGITS} --resume --cfg-options {FEW}',
    'tools/dist_train.sh configs/digits/convnext-atto_1xb48_digits.py 2 --work-dir work_dirs/two '
    '--cfg-options train_dataloader.batch_size=24': f'{PORT} {{}} train_cfg.max_epochs=12 {FEW}',
    'tools/train.py configs/digits/convnext-v2-atto_1xb48_digits.py --log tensorboard': (
        f'{{}} --cfg-options train_cfg.max_epochs=1 {FEW}'
    ),
    'tools/train.py configs/convnext_v2/convnext-v2-atto_32xb32_in1k.py --smoke': '{}',
    'tools/dist_train.sh configs/convnext/convnext-tiny_32xb128_in1k.py 8 --accumulate': (
        f'{PORT} tools/dist_train.sh configs/convnext/convnext-tiny_32xb128_in1k.py 2 --accumulate --smoke '
        '--work-dir work_dirs/dist'
    ),
    'NNODES=2 NODE_RANK=0 MASTER_ADDR=10.0.0.1 tools/dist_train.sh '
    'configs/convnext/convnext-tiny_32xb128_in1k.py 8 --accumulate': (
        f'export NNODES=2 MASTER_ADDR=127.0.0.1 {PORT}; run="tools/dist_train.sh '
        'configs/convnext/convnext-tiny_32xb128_in1k.py 1 --smoke --work-dir work_dirs/nodes"; '
        'NODE_RANK=1 $run & NODE_RANK=0 $run && wait $!'
    ),
    # An sbatch that checks what it is asked for: there is no cluster here.
    'GPUS=32 tools/slurm_train.sh my_partition my_job configs/convnext/convnext-tiny_32xb128_in1k.py': (
        'printf \'#!/bin/sh\\n[ "$1 $3" = "--partition=my_partition --ntasks=32" ]\' > sbatch; '
        'chmod +x sbatch; PATH=.:$PATH {}'
    ),
    "tools/reproduce.py '*_atto.*' --data-root data/imagenet": (
        'tools/reproduce.py convnext_atto.d2_in1k --data-root data/imagenet --num-workers 0'
    ),
    'tools/publish_model.py work_dirs/convnext-atto_1xb48_digits/epoch_12.pth '
    'work_dirs/atto-digits.pth': '{}',
    'tools/convert.py work_dirs/atto work_dirs/atto.pth': '{}',
    'tools/convert.py convnext_atto.d2_in1k work_dirs/atto --to transformers': '{}',
    'tools/infer.py photos --model convnext_atto.d2_in1k --out work_dirs/results.csv '
    '--out-dir work_dirs/annotated': '{}',
    'tools/test.py convnext_atto.d2_in1k convnext_atto.d2_in1k': (
        '{} --cfg-options test_dataloader.num_workers=0 test_dataloader.batch_size=2'
    ),
    'tools/infer.py photos --model convnext_atto.d2_in1k --optimize fp32': '{}',
    'tools/test.py convnext_atto.d2_in1k convnext_atto.d2_in1k --optimize fp32': (
        '{} --cfg-options test_dataloader.num_workers=0 test_dataloader.batch_size=2'
    ),
    'tools/benchmark.py --quick --plot work_dirs/speed.png': (
        '{} --arch atto --size 32 --mode inference --contenders "mmconvnext optimized" "timm eager" '
        '--out work_dirs/rows.jsonl'
    ),
    f'tools/train.py {PETS_CONFIG} --data-root data/pets': (
        f'{{}} --cfg-options load_from=None {SMALL_NET} '
        'train_dataloader.batch_size=8 val_dataloader.batch_size=8 train_cfg.max_epochs=1 '
        'train_dataloader.num_workers=0 val_dataloader.num_workers=0'
    ),
    f'tools/test.py {PETS_CONFIG} work_dirs/convnext-tiny_ft_folder/epoch_30.pth --data-root data/pets': (
        f'tools/test.py {PETS_CONFIG} work_dirs/convnext-tiny_ft_folder/epoch_1.pth --data-root data/pets '
        f'--cfg-options {SMALL_NET} test_dataloader.num_workers=0'
    ),
    'tools/infer.py photos --model work_dirs/convnext-tiny_ft_folder/epoch_30.pth': (
        'tools/infer.py photos --model work_dirs/convnext-tiny_ft_folder/epoch_1.pth'
    ),
}


def small(command: str) -> str:
    if command in RUNS:
        return RUNS[command].replace('{}', command)
    if command.startswith(('tools/test.py', 'tools/dist_test.sh', 'tools/plot_predictions.py')):
        port = f'{PORT} ' if command.startswith('tools/dist') else ''
        return f'{port}{command} --cfg-options test_dataloader.dataset.indices=48 {SMALL_NET}'
    assert command.startswith('tools/plot_run.py')
    return command


@pytest.fixture(scope='module')
def checkout(tmp_path_factory):
    """A copy of what the commands need, with the data of the fine-tuning example."""
    root = tmp_path_factory.mktemp('readme')
    for name in ('configs', 'tools', 'mmconvnext'):
        shutil.copytree(REPO / name, root / name, symlinks=True)
    for name in ('Makefile', 'setup.py', 'pyproject.toml', 'model-index.yml'):
        shutil.copy(REPO / name, root)
    for split in ('train', 'val'):
        for kind in range(37):
            folder = root / f'data/pets/{split}/kind_{kind:02}'
            folder.mkdir(parents=True)
            Image.new('RGB', (60, 50), (6 * kind, 100, 200)).save(folder / 'a.png')
    for kind in range(1000):
        folder = root / f'data/imagenet/val/n{kind:08}'
        folder.mkdir(parents=True)
        if kind < 3:
            Image.new('RGB', (60, 50), (80 * kind, 100, 200)).save(folder / 'a.png')
    (root / 'photos').mkdir()
    for file in ('cat.jpg', 'photos/dog.jpg'):
        Image.new('RGB', (70, 60), (90, 20, 200)).save(root / file)
    return root


@pytest.fixture(scope='module')
def hub(tmp_path_factory):
    """A server that has the published names of the README, with random weights."""
    import timm

    folder = tmp_path_factory.mktemp('hub')
    for name in ('convnext_atto.d2_in1k', SMALL_NAME):
        (folder / 'timm' / name).mkdir(parents=True)
        weights = timm.create_model(name.split('.')[0]).state_dict()
        save_file(weights, folder / 'timm' / name / 'model.safetensors')
    with serve(folder) as url:
        yield dict(HF_ENDPOINT=url, MMCONVNEXT_HOME=str(folder / 'cache'))


@pytest.mark.slow
def test_commands_run_in_their_order(checkout, hub):
    for command in COMMANDS:
        run = small(command)
        in_shell = not re.match(r'tools/\w+\.py [^|]*$', run)
        words = ['bash', '-c', run] if in_shell else shlex.split(run)
        result = call(*words, cwd=checkout, PYTHONPATH=str(checkout), **hub)
        assert result.returncode == 0, (
            f'{command}\nas {run}\n{result.stdout[-1500:]}\n{result.stderr[-1500:]}'
        )
    for name in ('work_dirs/predictions.png', 'work_dirs/curves.png', 'work_dirs/annotated/dog.jpg'):
        assert Image.open(checkout / name).size[0] > 100


def test_python_of_the_zoo_runs(checkout, hub, monkeypatch):
    code = next(block for language, block in BLOCKS if language == 'python' and 'list_models' in block)
    for name in re.findall(r"'(convnext[^']*_in1k[^']*|convnextv2_tiny.22k_224_ema)'", code):
        code = code.replace(name, SMALL_NAME)
    theirs = hub['MMCONVNEXT_HOME'].replace('cache', f'timm/{SMALL_NAME}/model.safetensors')
    code = code.replace('my_checkpoint.safetensors', theirs)
    for key, value in hub.items():
        monkeypatch.setenv(key, value)
    monkeypatch.chdir(checkout)
    names = {}
    exec(code, names)
    assert names['outputs'].logits.shape == (1, 1000)


def test_table_of_runs_has_no_command_that_left_the_readme():
    assert set(RUNS) <= set(COMMANDS)


def test_channels_of_every_architecture_are_those_of_the_table():
    rows = re.findall(
        r'^\| ((?:`[a-z]+`(?:, )?)+) \| ([\d, ]+) \|$', (REPO / 'README.md').read_text(), re.MULTILINE
    )
    assert len(rows) == 9
    for names, channels in rows:
        for name in re.findall('[a-z]+', names):
            assert list(ARCHS[name]['channels']) == [int(width) for width in channels.split(',')]


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
