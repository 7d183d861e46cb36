"""Every command and example in README.md and docs/ runs on small networks and data; see tests/commands.py."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import save_file

from tests.commands import PAGES, README, RUNS, Run, blocks, commands, examples, files, small
from tests.conftest import REPO
from tests.processes import call, free_port
from tests.servers import serve

# Replaces published names in the README's example: 0.3 million parameters.
SMALL_NAME = 'test_convnext.r160_in1k'
# The directory that migrate.md, an earlier page, writes replaces one of the hub.
HUB_DIRECTORY = 'facebook/convnext-tiny-224', 'work_dirs/huggingface'
# Written by the commands of the README.
WRITTEN = shutil.ignore_patterns('work_dirs')
# Replaces torchrun and sbatch, and prints the command that they should start.
TELL = """
import json, sys
print(json.dumps(sys.argv[1:]))
"""


@pytest.fixture(scope='module')
def checkout(tmp_path_factory):
    """Create a folder with everything that the commands need, including the data of the examples."""
    root = tmp_path_factory.mktemp('checkout')
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
    (root / 'data/imagenet/train').symlink_to('val')
    (root / 'data/imagenet21k').symlink_to('pets')
    (root / 'photos').mkdir()
    for file in ('cat.jpg', 'photos/dog.jpg'):
        Image.new('RGB', (70, 60), (90, 20, 200)).save(root / file)
    (annotations,) = blocks(REPO / 'docs/finetune.md', 'json')
    (root / 'data/photos/images').mkdir(parents=True)
    for split in ('train', 'val'):
        (root / f'data/photos/{split}.json').write_text(annotations)
    for sample in json.loads(annotations)['data_list']:
        Image.new('RGB', (70, 60), (90, 20, 200)).save(root / 'data/photos' / sample['img_path'])
    for name in ('labels', 'train', 'val'):
        (root / f'{name}.csv').write_text('file,label\ndog.jpg,dog\n')
    return root


@pytest.fixture(scope='module')
def hub(tmp_path_factory):
    """Serve random weights under the published names on the pages."""
    import timm

    folder = tmp_path_factory.mktemp('hub')
    for name in ('convnext_atto.d2_in1k', SMALL_NAME):
        (folder / 'timm' / name).mkdir(parents=True)
        weights = timm.create_model(name.split('.')[0]).state_dict()
        save_file(weights, folder / 'timm' / name / 'model.safetensors')
    with serve(folder) as url:
        yield dict(HF_ENDPOINT=url, MMCONVNEXT_HOME=str(folder / 'cache'))


@pytest.mark.slow
def test_commands_of_the_readme_run_in_their_order(checkout, hub):
    run_all(commands(README), checkout, hub)


@pytest.mark.slow
def test_commands_and_examples_of_the_pages_run_in_their_order(checkout, hub, tmp_path):
    """Skips commands that are also in the README, and writes to another folder than those."""
    checkout = shutil.copytree(checkout, tmp_path / 'checkout', symlinks=True, ignore=WRITTEN)
    weights = Path(hub['MMCONVNEXT_HOME']).parent / 'timm/convnext_atto.d2_in1k/model.safetensors'
    shutil.copy(weights, checkout / 'my_timm.safetensors')
    of_readme = commands(README)
    for page in PAGES:
        for name, text in files(page).items():
            (checkout / name).parent.mkdir(exist_ok=True)
            (checkout / name).write_text(text)
        run_all([command for command in commands(page) if command not in of_readme], checkout, hub)
        script = checkout / f'tools/examples_of_{page.stem}.py'
        script.write_text(examples(page).replace(*HUB_DIRECTORY))
        result = call(script, cwd=checkout, PYTHONPATH=str(checkout), **hub)
        assert result.returncode == 0, f'{page}\n{result.stderr[-1500:]}'
    for name in ('work_dirs/predictions.png', 'work_dirs/curves.png', 'work_dirs/annotated/dog.jpg'):
        assert Image.open(checkout / name).size[0] > 100


def run_all(given: list[str], checkout: Path, hub: dict) -> None:
    env = dict(PYTHONPATH=str(checkout), **hub)
    for command in given:
        run = small(command)
        for line in run.lines.replace('{free_port}', str(free_port())).splitlines():
            results = start(line, run, checkout, env)
            said = '\n'.join(f'{result.stdout[-1500:]}\n{result.stderr[-1500:]}' for result in results)
            told = f'{command}\nas {line}\n{said}'
            assert all((result.returncode != 0) == bool(run.refused) for result in results), told
            assert run.refused is None or run.refused in said, told


def start(line: str, run: Run, checkout: Path, env: dict) -> list[subprocess.CompletedProcess]:
    """Run a line and return the result of every process."""
    if run.processes is None:
        in_shell = not re.match(r'tools/[\w/]+\.py [^|]*$', f'{line} ')
        words = ['bash', '-c', line] if in_shell else shlex.split(line)
        return [call(*words, cwd=checkout, **env)]
    words = words_of(line, checkout)
    spread = dict(WORLD_SIZE=str(run.processes), MASTER_ADDR='127.0.0.1')
    spread['MASTER_PORT'] = str(free_port())

    def process(rank: int) -> subprocess.CompletedProcess:
        return call(*words, cwd=checkout, **env, **spread, RANK=str(rank), LOCAL_RANK=str(rank))

    with ThreadPoolExecutor(run.processes) as pool:
        return list(pool.map(process, range(run.processes)))


def words_of(line: str, checkout: Path) -> list[str]:
    """Return the command that our launcher asks torchrun or Slurm to start in every process."""
    bin = checkout / 'bin'
    bin.mkdir(exist_ok=True)
    for name in ('torchrun', 'sbatch'):
        (bin / name).write_text(f'#!{sys.executable}{TELL}')
        (bin / name).chmod(0o755)
    env = {**os.environ, 'PATH': f'{bin}{os.pathsep}{os.environ["PATH"]}'}
    asked = subprocess.run(['bash', '-c', line], cwd=checkout, env=env, capture_output=True, text=True)
    words = json.loads(asked.stdout)
    return words[next(place for place, word in enumerate(words) if word.endswith('.py')) :]


def test_python_of_the_zoo_runs(checkout, hub, monkeypatch):
    code = next(block for block in blocks(README, 'python') if 'list_models' in block)
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


def test_table_of_runs_has_no_command_that_left_the_pages():
    assert set(RUNS) <= set(commands(README, *PAGES))
