"""Facts in README.md and docs/ match the code; tests/test_commands.py runs their commands."""

import ast
import re
import shlex
import subprocess
import sys

import pytest
import torch
from mmengine.registry import MODELS
from mmpretrain.models import build_classifier

from mmconvnext.config.distributed import ENGINES
from mmconvnext.models import ARCHS
from mmconvnext.zoo import load_config
from tests.commands import PAGES, README, blocks, commands, files
from tests.conftest import REPO
from tests.tables import TABLES, between_marks

DOCS = REPO / 'docs'
TRAINING = DOCS / 'training.md'
DETECTION = DOCS / 'detection.md'
# Minimum fraction of a message's characters that are fixed, to tell it from other messages.
ENOUGH = 0.125


@pytest.mark.parametrize('mark', TABLES)
def test_tables_are_what_code_and_metafiles_come_to(mark):
    page, make = TABLES[mark]
    assert between_marks(page.read_text(), mark)[2].strip() == make(), 'python -m tests.tables writes it anew'


@pytest.mark.skipif(
    '--shutdown-timeout' not in subprocess.getoutput(f'{sys.executable} -m torch.distributed.run --help'),
    reason='this torch always waits for 30 seconds',
)
def test_torchrun_reads_the_variables_that_the_page_names(monkeypatch):
    from torch.distributed.run import get_args_parser

    command = next(line for line in commands(TRAINING) if 'PET_' in line)
    for word in shlex.split(command):
        if word.startswith('PET_'):
            monkeypatch.setenv(*word.split('=', 1))
    arguments = get_args_parser().parse_args(['script.py'])
    assert (arguments.shutdown_timeout, int(arguments.max_restarts)) == (300, 3)


def test_the_summary_on_the_page_counts_the_parameters_of_its_network():
    sample = next(block for block in blocks(DOCS / 'finetune.md', 'text') if '37 classes' in block)
    cfg = load_config('convnext-tiny_ft_folder')
    cfg.model.head.num_classes = 37
    with torch.device('meta'):
        model = build_classifier(cfg.model)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert f'{count / 1e6:,.2f} M parameters' in sample


def test_config_for_several_labels_has_the_pipelines_of_the_one_it_builds_on(tmp_path):
    ((name, text),) = files(DOCS / 'finetune.md').items()
    file = tmp_path / name
    file.write_text(text.replace("'configs/", f"'{REPO}/configs/"))
    mine, base = load_config(file), load_config('convnext-tiny_ft_folder')
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        assert mine[loader].dataset.type == 'MultiLabelDataset'
        assert mine[loader].dataset.pipeline == base[loader].dataset.pipeline
    assert build_classifier(mine.model).head.fc.out_features == 3


def test_option_that_stops_mirroring_is_one_of_the_transform_that_mirrors():
    key = re.search(r'`--cfg-options ([\w.]+)\.prob=0`', (DOCS / 'finetune.md').read_text())[1]
    _, number = key.split('.dataset.pipeline.')
    for name in ('convnext-tiny_ft_folder', 'convnext-v2-tiny_ft_folder'):
        pipeline = load_config(name, {f'{key}.prob': 0}).train_dataloader.dataset.pipeline
        assert pipeline[int(number)] == dict(type='mmconvnext.RandomFlip', prob=0)


def test_the_page_and_the_fragments_know_the_same_engines():
    files = (REPO / 'configs/_base_/distributed').glob('*.py')
    assert {file.stem for file in files} == set(ENGINES)
    for engine in ENGINES:
        assert f'`{engine}` |' in TRAINING.read_text()


def test_channels_of_every_architecture_are_those_of_the_table():
    rows = re.findall(r'^\| ((?:`[a-z]+`(?:, )?)+) \| ([\d, ]+) \|$', DETECTION.read_text(), re.MULTILINE)
    assert len(rows) == 9
    for names, channels in rows:
        for name in re.findall('[a-z]+', names):
            assert list(ARCHS[name]['channels']) == [int(width) for width in channels.split(',')]


def test_backbone_of_the_detection_example_gives_the_channels_of_its_neck():
    block = next(block for block in blocks(DETECTION, 'python') if 'FPN' in block)
    config = {}
    exec(block, config)
    with torch.device('meta'):
        features = MODELS.build(config['backbone']).eval()(torch.empty(1, 3, 64, 64))
    assert [f.shape[1] for f in features] == config['neck']['in_channels']


@pytest.mark.parametrize('page', [README, *PAGES], ids=lambda page: page.stem)
def test_files_that_a_page_links_to_exist(page):
    for link in re.findall(r'\]\(([^)#]+)(?:#[^)]*)?\)', page.read_text()):
        assert link.startswith('http') or (page.parent / link).exists(), link


def test_errors_are_quoted_as_the_package_says_them():
    said = messages()
    quoted = [block.strip() for block in blocks(DOCS / 'errors.md', 'text')]
    assert len(quoted) > 20
    for message in quoted:
        assert any(
            letters >= ENOUGH * len(message) and re.fullmatch(pattern, message, re.DOTALL)
            for pattern, letters in said.items()
        ), message


def messages() -> dict[str, int]:
    """Return a pattern for every string in the package, and the number of its fixed characters."""
    found = {}
    for file in (REPO / 'mmconvnext').rglob('*.py'):
        nodes = [ast.parse(file.read_text())]
        while nodes:
            node = nodes.pop()
            pattern = pattern_of(node)
            if pattern == '.*':  # not a string: look inside; parts of a string are no messages
                nodes.extend(ast.iter_child_nodes(node))
            else:
                found[pattern] = len(re.sub(r'\.\*|\\', '', pattern))
    return found


def pattern_of(node: ast.AST) -> str:
    """Return a pattern of the strings that an expression can give; ``.*`` stands for inserted values."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.escape(node.value)
    if isinstance(node, ast.JoinedStr):
        return ''.join(map(pattern_of, node.values))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return pattern_of(node.left) + pattern_of(node.right)
    if isinstance(node, ast.Call) and getattr(node.func, 'attr', '') == 'format':
        return re.sub(r'\\\{.*?\\\}', '.*', pattern_of(node.func.value))
    return '.*'


def test_names_of_checkpoints_and_configs_exist():
    from mmconvnext.paths import CONFIGS
    from mmconvnext.zoo.entries import zoo

    configs = {file.stem for file in CONFIGS.rglob('*.py')}
    for page in PAGES:
        for name in re.findall(r'`(convnext[\w.-]*)`', page.read_text()):
            known = name in zoo() or name in configs or (page.stem, name) == ('transformers', 'convnextv2')
            assert known, f'{page.name}: {name}'


@pytest.mark.slow
def test_site_is_built_without_a_warning_and_asks_no_other_server(tmp_path):
    sphinx = [sys.executable, '-m', 'sphinx', '--fail-on-warning', '--keep-going', '--quiet']
    built = subprocess.run(
        [*sphinx, '--doctree-dir', tmp_path / 'doctrees', DOCS, tmp_path / 'site'],
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr[-3000:]
    for page in PAGES:
        html = (tmp_path / f'site/{page.stem}.html').read_text()
        loaded = re.findall(r'<(?:script|link|img|iframe)\b[^>]*?(?:src|href)="([^"]+)"', html)
        assert loaded
        assert not [link for link in loaded if link.startswith(('http:', 'https:', '//'))], page.name
    for style in (tmp_path / 'site/_static').rglob('*.css'):
        assert not re.search(r'(@import|url\()\s*["\']?(https?:)?//', style.read_text()), style.name
    assert 'onedl-mmengine' in (tmp_path / 'site/start.html').read_text()  # included from the README
