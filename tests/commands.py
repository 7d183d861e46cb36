"""The commands of README.md and docs/, and how each is run small enough for a test."""

import re
from typing import NamedTuple

from tests.conftest import REPO

README = REPO / 'README.md'
# Start comes first: other pages use the weights that it trains.
PAGES = sorted((REPO / 'docs').glob('*.md'), key=lambda page: (page.stem != 'start', page))


def blocks(page, language: str) -> list[str]:
    return re.findall(rf'^```{language}\n(.*?)^```', page.read_text(), re.DOTALL | re.MULTILINE)


def files(page) -> dict[str, str]:
    """Return the Python files of a page: path to text of each block that starts with a path in a comment."""
    named = [(re.match(r'# ([\w/]+\.py)\n', block), block) for block in blocks(page, 'python')]
    return {name[1]: block for name, block in named if name}


def examples(page) -> str:
    """Return all other Python of a page as one script."""
    return '\n'.join(block for block in blocks(page, 'python') if block not in files(page).values())


def commands(*pages) -> list[str]:
    """Return the commands of pages in order, each once."""
    lines = [line for page in pages for block in blocks(page, 'bash') for line in block.splitlines()]
    found = [line.split('   #')[0].strip() for line in lines if line.strip() and not line.startswith('#')]
    return list(dict.fromkeys(found))


class Run(NamedTuple):
    """How a command is run.

        Attributes:
    lines: shell lines to run one after the other; ``{}`` stands for the command as printed.
            processes: number of processes that stand in for those of a launcher; None: the launcher runs.
            refused: part of the error message that is expected.
    """

    lines: str = '{}'
    processes: int | None = None
    refused: str | None = None


DIGITS_CONFIG = 'configs/digits/convnext-atto_1xb48_digits.py'
DIGITS = f'tools/train.py {DIGITS_CONFIG}'
PETS_CONFIG = 'configs/convnext/convnext-tiny_ft_folder.py'
PETS_BEST = 'work_dirs/convnext-tiny_ft_folder/best_accuracy_top1_epoch'
PETS_128PX_BEST = 'work_dirs/128px/best_accuracy_top1_epoch'
FEW_IMAGES = 'train_dataloader.dataset.indices=96 val_dataloader.dataset.indices=48'
SMALL_NET = 'model.backbone.arch=zepto model.head.in_channels=256'
FEW = f'{FEW_IMAGES} {SMALL_NET}'
SMALL_BATCHES = (
    f'load_from=None {SMALL_NET} train_dataloader.batch_size=8 val_dataloader.batch_size=8 '
    'train_dataloader.num_workers=0 val_dataloader.num_workers=0 '
    'param_scheduler.warmup_epochs=0'  # an epoch at a learning rate of 0 saves no best checkpoint
)
FEW_PETS = f'{SMALL_BATCHES} train_dataloader.dataset.indices=8 val_dataloader.dataset.indices=8'
BASE = 'configs/convnext/convnext-base_32xb128_in1k.py'
FEW_IMAGENET = (
    f'{SMALL_NET} train_dataloader.batch_size=2 train_dataloader.num_workers=0 val_dataloader.num_workers=0 '
    'default_hooks.logger.interval=1'
)
DETECTION = 'configs/detection/mask-rcnn_convnext-tiny_fpn_8xb2-amp-ms-3x_coco.py'
MASK_RCNN = f'tools/test.py {DETECTION} mask_rcnn_convnext_tiny_1k_3x'
SEGMENTATION = 'configs/segmentation/upernet_convnext-tiny_8xb2-amp-160k_ade20k-512px.py'
UPERNET = f'tools/test.py {SEGMENTATION} upernet_convnext_tiny_1k_512x512'
# MMDetection and MMSegmentation are not installed here; tests/test_downstream runs with them.
SAYS_WHAT_TO_INSTALL = Run(refused='pip install "mmconvnext[')
# The tests run the commands of docs/start.md with a smaller network than that of the config.
DIGITS_WEIGHTS = 'work_dirs/convnext-atto_1xb48_digits/epoch_12.pth'
DIGITS_AND_WEIGHTS = f'{DIGITS_CONFIG} {DIGITS_WEIGHTS}'
SMALL_DIGITS_AND_WEIGHTS = f'work_dirs/small.py {DIGITS_WEIGHTS}'
MAKE_SMALL_DIGITS = (
    f"echo \"_base_ = '../{DIGITS_CONFIG}'; "
    "model = dict(backbone=dict(arch='zepto'), head=dict(in_channels=256))\" > work_dirs/small.py"
)
FCMAE_CONFIG = 'configs/fcmae/fcmae_convnext-v2-tiny_folder.py'
FCMAE = f'tools/train.py {FCMAE_CONFIG} --data-root photos'
FCMAE_WEIGHTS = 'work_dirs/fcmae_convnext-v2-tiny_folder/epoch_200.pth'
SMALL_FCMAE = (
    'train_cfg.max_epochs=1 train_dataloader.num_workers=0 train_dataloader.batch_size=1 '
    'model.backbone.arch=zepto'
)
MAKE_SMALL_FCMAE = (
    f"echo \"_base_ = '../{FCMAE_CONFIG}'; model = dict(backbone=dict(arch='zepto'))\" "
    '> work_dirs/small_fcmae.py'
)
# Added to a config of docs/extend.md.
SHRINK_MY_DIGITS = (
    r"""printf "train_dataloader['dataset']['indices'] = 96\n"""
    r"""val_dataloader = dict(dataset=dict(indices=48))\n"""
    r"""test_dataloader = val_dataloader\ntrain_cfg, param_scheduler = dict(max_epochs=2), dict(epochs=2)\n"""
    r"""model['backbone']['arch'], model['head']['in_channels'] = 'zepto', 128 + 256\n" """
    '>> my_project/digits.py'
)
# What mim 0.3.9 starts: the script in .mim, with the one file of that name below the package.
MIM = 'python mmconvnext/.mim/tools/{0}.py "$(find -L mmconvnext -name {1})"{2} --launcher none {3}'
# Delete the log of an earlier page first, which would look like an answer of this one.
UNTIL_IT_ANSWERS = (
    'rm -f page.log; {} --port 0 > page.log & '
    'until grep -qs Open page.log; do kill -0 $! || exit 1; sleep 0.2; done; '
    'kill $!; wait $!'
)
# A free port, filled in when the command is run.
PORT = 'PORT={free_port}'

TESTS = ('tools/test.py', 'tools/dist_test.sh', 'tools/plot_predictions.py')
AS_PRINTED = (
    'tools/browse_dataset.py',
    'tools/convert.py',
    'tools/export.py',
    'tools/infer.py',
    'tools/make_shards.py',
    'tools/plot_run.py',
    'tools/publish_model.py',
)

# Command -> how the tests run it; ``{}`` stands for the command as printed, and several lines run one after
# the other. The installation commands are run by CI, or by hand.
RUNS = {
    'make demo': 'make -n demo',
    'mim train mmconvnext convnext-atto_1xb48_digits.py --work-dir work_dirs/mim': MIM.format(
        'train',
        'convnext-atto_1xb48_digits.py',
        '',
        f'--work-dir work_dirs/mim --cfg-options train_cfg.max_epochs=12 {FEW}',
    ),
    'mim test mmconvnext convnext-atto_1xb48_digits.py --checkpoint work_dirs/mim/epoch_12.pth': MIM.format(
        'test',
        'convnext-atto_1xb48_digits.py',
        ' work_dirs/mim/epoch_12.pth',
        f'--cfg-options test_dataloader.dataset.indices=48 {SMALL_NET}',
    ),
    'pip install ".[maintained]"': 'make -n install STACK=maintained',
    'pip install ".[original]"': 'make -n install STACK=original',
    'pip install .': 'make -n install',
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
    # Without a cluster, a stand-in for sbatch checks its arguments.
    'GPUS=32 tools/slurm_train.sh my_partition my_job configs/convnext/convnext-tiny_32xb128_in1k.py': (
        'printf \'#!/bin/sh\\n[ "$1 $3" = "--partition=my_partition --ntasks=32" ]\' > sbatch; '
        'chmod +x sbatch; PATH=.:$PATH {}'
    ),
    "tools/reproduce.py '*_atto.*' --data-root data/imagenet": (
        'tools/reproduce.py convnext_atto.d2_in1k --data-root data/imagenet --num-workers 0'
    ),
    'tools/test.py convnext_atto.d2_in1k': (
        '{} --cfg-options test_dataloader.num_workers=0 test_dataloader.batch_size=2'
    ),
    'tools/test.py convnext_atto.d2_in1k --optimize fp32': (
        '{} --cfg-options test_dataloader.num_workers=0 test_dataloader.batch_size=2'
    ),
    'tools/benchmarks/compare.py --quick --plot work_dirs/speed.png': (
        '{} --arch atto --size 32 --mode inference --contenders "mmconvnext optimized" "timm eager" '
        '--out work_dirs/rows.jsonl'
    ),
    'tools/benchmarks/compare.py --arch v2-tiny --mode pretraining --batch 8': (
        'tools/benchmarks/compare.py --arch v2-atto --mode pretraining --batch 2 --size 64 --rounds 2 '
        '--contenders "mmconvnext eager" --out work_dirs/rows.jsonl'
    ),
    f'tools/train.py {PETS_CONFIG} --data-root data/pets': (
        f'{{}} --cfg-options {FEW_PETS} train_cfg.max_epochs=1'
    ),
    f'tools/test.py {PETS_CONFIG} {PETS_BEST}_30.pth --data-root data/pets': (
        f'tools/test.py {PETS_CONFIG} {PETS_BEST}_1.pth --data-root data/pets '
        f'--cfg-options {SMALL_NET} test_dataloader.num_workers=0'
    ),
    f'tools/train.py {PETS_CONFIG} --data-root data/pets --work-dir work_dirs/128px --image-size 128': (
        f'{{}} --cfg-options {FEW_PETS} train_cfg.max_epochs=1'
    ),
    f'tools/test.py {PETS_CONFIG} {PETS_128PX_BEST}_30.pth --data-root data/pets --image-size 128': (
        f'tools/test.py {PETS_CONFIG} {PETS_128PX_BEST}_1.pth --data-root data/pets --image-size 128 '
        f'--cfg-options {SMALL_NET} test_dataloader.num_workers=0'
    ),
    f'tools/infer.py photos --model {PETS_BEST}_30.pth': (f'tools/infer.py photos --model {PETS_BEST}_1.pth'),
    'pip install ".[export]"': 'make -n install',
    'pip install ".[app]"': 'make -n install',
    'tools/explain.py photos --model convnext_atto.d2_in1k --out-dir work_dirs/explained': '{} --patch 112',
    'tools/explain.py cat.jpg --model convnext_atto.d2_in1k --class "tabby, tabby cat" '
    '--out work_dirs/cat.png': '{} --patch 112',
    f'tools/export.py {DIGITS_AND_WEIGHTS} --format onnx --int8 --out work_dirs/digits-int8.onnx': (
        f'{MAKE_SMALL_DIGITS}\n'
        f'tools/export.py {SMALL_DIGITS_AND_WEIGHTS} --format onnx --int8 --out work_dirs/digits-int8.onnx'
    ),
    'tools/app.py --model convnext_atto.d2_in1k': UNTIL_IT_ANSWERS.format('{}'),
    f'tools/app.py --model {DIGITS_CONFIG} --checkpoint {DIGITS_WEIGHTS}': UNTIL_IT_ANSWERS.format(
        f'tools/app.py --model work_dirs/small.py --checkpoint {DIGITS_WEIGHTS}'
    ),
    # docs/
    FCMAE: (
        f'{FCMAE} --cfg-options load_from=None {SMALL_FCMAE}\n'
        f'mv work_dirs/fcmae_convnext-v2-tiny_folder/epoch_1.pth {FCMAE_WEIGHTS}'
    ),
    f'tools/linear_probe.py {FCMAE_CONFIG} data/pets --checkpoint {FCMAE_WEIGHTS}': (
        f'tools/linear_probe.py work_dirs/small_fcmae.py data/pets --checkpoint {FCMAE_WEIGHTS}'
    ),
    f'tools/linear_probe.py {FCMAE_CONFIG} data/pets': (
        'tools/linear_probe.py work_dirs/small_fcmae.py data/pets'
    ),
    'tools/linear_probe.py convnext_atto.d2_in1k data/pets --labels-per-class 10 --knn 5': '{}',
    f'tools/reconstruct.py photos {FCMAE_CONFIG} {FCMAE_WEIGHTS} --out work_dirs/photos.png': (
        f'{MAKE_SMALL_FCMAE}\n'
        f'tools/reconstruct.py photos work_dirs/small_fcmae.py {FCMAE_WEIGHTS} --out work_dirs/photos.png'
    ),
    'tools/train.py configs/convnext_v2/convnext-v2-tiny_ft_folder.py --data-root data/pets '
    f'--work-dir work_dirs/finetuned --cfg-options load_from={FCMAE_WEIGHTS}': (
        f'{{}} {FEW_PETS} load_from={FCMAE_WEIGHTS} train_cfg.max_epochs=1'
    ),
    f'{FCMAE} --work-dir work_dirs/continued --cfg-options load_from={FCMAE_WEIGHTS}': f'{{}} {SMALL_FCMAE}',
    'tools/app.py --origin https://page.example.org --model convnext_atto.d2_in1k': (
        UNTIL_IT_ANSWERS.format('{}')
    ),
    f'tools/train.py {PETS_CONFIG} --data-root data/pets --work-dir work_dirs/longer '
    '--cfg-options train_cfg.max_epochs=60 param_scheduler.epochs=60': (
        f'{{}} {FEW_PETS} train_cfg.max_epochs=1 param_scheduler.epochs=3'
    ),
    'tools/plot_run.py work_dirs/convnext-tiny_ft_folder --out work_dirs/pets_curves.png': (
        f'tools/train.py {PETS_CONFIG} --data-root data/pets --cfg-options {FEW_PETS} '
        'train_cfg.max_epochs=1\n{}'
    ),
    f'tools/train.py {PETS_CONFIG} --data-root data/pets --resume': (
        f'{{}} --cfg-options {FEW_PETS} train_cfg.max_epochs=2'
    ),
    'tools/train.py several_labels.py': f'{{}} --cfg-options {SMALL_BATCHES} train_cfg.max_epochs=1',
    f'tools/publish_model.py {PETS_BEST}_30.pth work_dirs/pets.pth': (
        f'cp work_dirs/convnext-tiny_ft_folder/epoch_2.pth {PETS_BEST}_30.pth\n{{}}'
    ),
    'PYTHONPATH=. tools/train.py my_project/digits.py': f'{SHRINK_MY_DIGITS}\n{{}}',
    # The tests set PYTHONPATH, and tools start faster without a shell.
    'PYTHONPATH=. tools/test.py my_project/digits.py work_dirs/digits/epoch_12.pth': (
        'tools/test.py my_project/digits.py work_dirs/digits/epoch_2.pth'
    ),
    'PYTHONPATH=. tools/infer.py photos --model my_project/digits.py '
    '--checkpoint work_dirs/digits/epoch_12.pth': (
        'tools/infer.py photos --model my_project/digits.py --checkpoint work_dirs/digits/epoch_2.pth'
    ),
    'PYTHONPATH=. tools/train.py my_project/small.py': 'tools/train.py my_project/small.py',
    'PYTHONPATH=. python my_project/train.py': '{}',
    'PYTHONPATH=. python my_project/plain.py': '{}',
    'tools/dist_train.sh configs/convnext_v2/convnext-v2-huge_32xb32_in1k.py 8 --distributed fsdp': Run(
        f'{{}} --smoke --cfg-options {SMALL_NET}', processes=2
    ),
    # The command with NODE_RANK=0 runs both machines.
    'NNODES=2 NODE_RANK=1 MASTER_ADDR=10.0.0.1 tools/dist_train.sh '
    'configs/convnext/convnext-tiny_32xb128_in1k.py 8 --accumulate': Run(
        f'{{}} --smoke --work-dir work_dirs/rank1 --cfg-options {SMALL_NET}', processes=2
    ),
    # Mixed precision needs a GPU.
    "GPUS=32 SBATCH_ARGS='--time=24:00:00 --mem=0' tools/slurm_train.sh my_partition my_job "
    f'{BASE} work_dirs/base --amp': Run(
        "GPUS=32 SBATCH_ARGS='--time=24:00:00 --mem=0' tools/slurm_train.sh my_partition my_job "
        f'{BASE} work_dirs/base --smoke --launcher pytorch --cfg-options {SMALL_NET}',
        processes=2,
    ),
    # Compilation takes minutes and is tested in tests/test_training/test_computing.py.
    f'tools/train.py {BASE} --amp --compile': (
        f'TORCH_COMPILE_DISABLE=1 tools/train.py {BASE} --compile --smoke --cfg-options {SMALL_NET}'
    ),
    f'tools/train.py {BASE} --amp --augment-on-device': (
        f'tools/train.py {BASE} --augment-on-device --smoke --work-dir work_dirs/augmented '
        f'--cfg-options {SMALL_NET}'
    ),
    f'tools/dist_train.sh {BASE} 8 --auto-scale-lr': Run(
        f'{{}} --smoke --work-dir work_dirs/scaled --cfg-options {SMALL_NET}', processes=2
    ),
    f'tools/train.py {PETS_CONFIG} --data-root data/pets --work-dir work_dirs/often '
    '--cfg-options default_hooks.checkpoint.every_iters=100': f'{{}} {FEW_PETS} train_cfg.max_epochs=1',
    f'tools/train.py {PETS_CONFIG} --data-root data/pets --work-dir work_dirs/unrehearsed --no-rehearsal': (
        f'{{}} --cfg-options {FEW_PETS} train_cfg.max_epochs=1'
    ),
    f'PET_SHUTDOWN_TIMEOUT=300 PET_MAX_RESTARTS=3 tools/dist_train.sh {BASE} 8 --resume': Run(
        f'{{}} --work-dir work_dirs/auto --cfg-options {FEW_IMAGENET} train_cfg.max_epochs=1', processes=2
    ),
    'tools/benchmarks/data_pipeline.py': '{} --rounds 2 --out work_dirs/pipeline.jsonl',
    # Weights & Biases needs an account.
    f'tools/train.py {PETS_CONFIG} --data-root data/pets --work-dir work_dirs/recorded '
    '--log tensorboard wandb': (
        f'tools/train.py {PETS_CONFIG} --data-root data/pets --work-dir work_dirs/recorded '
        f'--log tensorboard --cfg-options {FEW_PETS} train_cfg.max_epochs=1'
    ),
    'tools/dist_train.sh configs/convnext/convnext-large_64xb64_in1k.py 8 --distributed deepspeed '
    '--cfg-options custom_hooks=[] strategy.zero_optimization.stage=2 strategy.bf16.enabled=True': Run(
        processes=2, refused='pip install "mmconvnext[deepspeed]"'
    ),
}


def small(command: str) -> Run:
    found = RUNS.get(command)
    if found is None and command.startswith(TESTS):
        port = f'{PORT} ' if command.startswith('tools/dist') else ''
        found = f'{port}{{}} --cfg-options test_dataloader.dataset.indices=48 {SMALL_NET}'
    elif found is None:
        assert command.startswith(AS_PRINTED), f'{command}: RUNS has to tell how it is run small'
        found = '{}'
    run = Run(found) if isinstance(found, str) else found
    return run._replace(lines=run.lines.replace('{}', command))
