"""docs/training.md says what the tools take and what the networks need."""

import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mmconvnext.apis import load_config
from mmconvnext.apis.distributed import ENGINES
from mmconvnext.apis.runner import build_on_meta
from mmconvnext.models.archs import ARCHS
from mmconvnext.models.convnext import ConvNeXtBlock
from tests.conftest import REPO

PAGE = REPO / 'docs/training.md'
TEXT = PAGE.read_text()
COMMANDS = [
    line
    for block in re.findall(r'```bash\n(.*?)```', TEXT, re.DOTALL)
    for line in block.splitlines()
    if line and not line.startswith('#')
]
GPUS = 8
GIB = 2**30


def memory_table() -> str:
    """Rows for every arch, see the text below them for the formulas."""
    lines = [
        '| arch | million parameters | none | `ddp` '
        f'| `fsdp`, {GPUS} GPUs | ZeRO 1, {GPUS} GPUs | ZeRO 2, {GPUS} GPUs |',
        '|---|---:|---:|---:|---:|---:|---:|',
    ]
    base = load_config('convnext-tiny_32xb128_in1k')
    for arch, sizes in ARCHS.items():
        base.model.backbone.arch = arch
        base.model.head.in_channels = sizes['channels'][-1]
        model = build_on_meta(base)
        count = sum(p.numel() for p in model.parameters())
        blocks = [
            sum(p.numel() for p in module.parameters())
            for module in model.modules()
            if isinstance(module, ConvNeXtBlock)
        ]
        outside = count - sum(blocks)
        needs = [
            24 * count,
            20 * count,
            20 * count / GPUS + (4 + 4) * outside + (2 * 4 + 4) * max(blocks),
            8 * count + 12 * count / GPUS,
            4 * count + 16 * count / GPUS,
        ]
        row = [f'{count / 1e6:.1f}', *(f'{need / GIB:.2f}' for need in needs)]
        lines.append(f'| {arch} | {" | ".join(row)} |')
    return '\n'.join(lines)


def between_marks(text: str) -> re.Match:
    return re.search(r'(<!-- memory: .*? -->\n)(.*?)(<!-- /memory -->)', text, re.DOTALL)


def test_the_memory_table_is_what_the_networks_come_to():
    assert between_marks(TEXT)[2].strip() == memory_table(), 'python -m tests.test_docs writes it anew'


# Stands for what would start the training; it tells how.
TELL = """
import json, sys
print(json.dumps(sys.argv[1:]))
"""


@pytest.mark.parametrize('command', COMMANDS)
def test_every_command_names_options_and_files_that_exist(command, tmp_path, monkeypatch):
    words = words_of(command, tmp_path)
    script = next(place for place, word in enumerate(words) if word.endswith('.py'))
    assert (REPO / words[script]).is_file()
    monkeypatch.setattr(sys, 'argv', words[script:])
    monkeypatch.chdir(REPO)
    arguments = runpy.run_path(words[script], run_name='shell')['parse_args']()
    if hasattr(arguments, 'config'):
        load_config(arguments.config, arguments.cfg_options, distributed=arguments.distributed)


def words_of(command: str, folder: Path) -> list[str]:
    """What is started in the end: shell scripts run, with a launcher that only tells what it gets."""
    if command.startswith('tools/') and shlex.split(command)[0].endswith('.py'):
        return shlex.split(command)
    for name in ('torchrun', 'sbatch'):
        (folder / name).write_text(f'#!{sys.executable}{TELL}')
        (folder / name).chmod(0o755)
    env = {**os.environ, 'PATH': f'{folder}{os.pathsep}{os.environ["PATH"]}'}
    told = subprocess.run(['bash', '-c', command], cwd=REPO, env=env, capture_output=True, text=True)
    return json.loads(told.stdout)


@pytest.mark.skipif(
    '--shutdown-timeout' not in subprocess.getoutput(f'{sys.executable} -m torch.distributed.run --help'),
    reason='this torch waits for 30 seconds always',
)
def test_torchrun_reads_the_variables_that_the_page_names(monkeypatch):
    from torch.distributed.run import get_args_parser

    command = next(line for line in COMMANDS if 'PET_' in line)
    for word in shlex.split(command):
        if word.startswith('PET_'):
            monkeypatch.setenv(*word.split('=', 1))
    arguments = get_args_parser().parse_args(['script.py'])
    assert (arguments.shutdown_timeout, int(arguments.max_restarts)) == (300, 3)


def test_the_page_and_the_fragments_know_the_same_engines():
    files = (REPO / 'configs/_base_/distributed').glob('*.py')
    assert {file.stem for file in files} == set(ENGINES)
    for engine in ENGINES:
        assert f'`{engine}` |' in TEXT


if __name__ == '__main__':
    marks = between_marks(TEXT)
    PAGE.write_text(TEXT[: marks.start(2)] + memory_table() + '\n' + TEXT[marks.end(2) :])
