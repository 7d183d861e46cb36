"""The package as users install it: from a wheel, without optional libraries, in other scopes."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import mmpretrain
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, Registry, init_default_scope
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mmconvnext import _stack
from tests.conftest import REPO


def python(code, cwd, **env):
    return subprocess.run(
        [sys.executable, '-c', code], cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True
    )


@pytest.fixture(scope='module')
def wheel_contents(tmp_path_factory):
    """Build the wheel of this checkout and unpack what `pip install .` puts into site-packages."""
    folder = tmp_path_factory.mktemp('wheel')
    source = folder / 'source'
    ignored = shutil.ignore_patterns('.*venv*', 'work_dirs', 'data', '.git', 'build', '*.egg-info')
    shutil.copytree(REPO, source, symlinks=True, ignore=ignored)
    subprocess.run(
        [
            sys.executable,
            '-m',
            'pip',
            'wheel',
            '--quiet',
            '--no-deps',
            '--no-build-isolation',
            '-w',
            folder,
            source,
        ],
        check=True,
    )
    with zipfile.ZipFile(next(folder.glob('*.whl'))) as archive:
        archive.extractall(folder / 'site')
    return folder / 'site'


def test_wheel_carries_every_config_and_tool_that_users_run(wheel_contents):
    packed = {
        p.relative_to(wheel_contents / 'mmconvnext/.mim')
        for p in (wheel_contents / 'mmconvnext/.mim').rglob('*.*')
    }
    kept = {*(REPO / 'configs').rglob('*.*'), *(REPO / 'tools').glob('*.*')}
    kept = {p.relative_to(REPO) for p in kept if '__pycache__' not in p.parts}
    assert packed == kept | {Path('model-index.yml')}


def test_wheel_works_without_the_checkout(wheel_contents, tmp_path):
    code = (
        'from pathlib import Path\n'
        'import mmconvnext\n'
        'from mmconvnext.apis import load_config\n'
        'from mmconvnext.training.model import build_on_meta\n'
        "build_on_meta(load_config('convnext-v2-atto_32xb32_in1k'))\n"
        "mmconvnext.get_model('convnext_atto_ols.a2_in1k')\n"
        'from mmconvnext.reports.page import write_page\n'
        "write_page(Path('page.html'), 'title', 'body')\n"
        'print(mmconvnext.__file__, len(mmconvnext.list_models()))'
    )
    result = python(code, tmp_path, PYTHONPATH=str(wheel_contents))
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == f'{wheel_contents}/mmconvnext/__init__.py 232'


def test_mim_finds_every_config_of_a_wheel_once_and_trains_and_tests_it(wheel_contents, tmp_path):
    """mim searches the package for a file with exactly this name, and starts the scripts in .mim."""
    package = wheel_contents / 'mmconvnext'
    found = Counter(path.name for path in package.rglob('*.py'))
    assert all(found[path.name] == 1 for path in REPO.glob('configs/[!_]*/*.py'))
    (config,) = package.rglob('convnext-atto_1xb48_digits.py')
    options = [
        '--cfg-options',
        'train_cfg.max_epochs=1',
        'model.backbone.arch=zepto',
        'model.head.in_channels=256',
    ]
    options += [f'{field}_dataloader.dataset.indices=48' for field in ('train', 'val', 'test')]
    for tool, checkpoint in (('train', []), ('test', ['work_dirs/convnext-atto_1xb48_digits/epoch_1.pth'])):
        script = package / f'.mim/tools/{tool}.py'
        result = subprocess.run(
            [sys.executable, script, config, *checkpoint, '--launcher', 'none', *options],
            cwd=tmp_path,
            env={**os.environ, 'PYTHONPATH': str(wheel_contents)},
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr
        assert 'accuracy/top1' in result.stdout


def test_missing_and_old_libraries_are_named_with_the_extras(monkeypatch):
    found = {'mmengine': '0.9.1', 'mmpretrain': '1.2.0'}
    monkeypatch.setattr(_stack, 'installed_version', lambda names: found.get(names[-1]))
    monkeypatch.setattr(_stack, 'find_spec', lambda library: None)
    with pytest.warns(UserWarning, match='mmcv is not installed'), pytest.raises(ImportError) as error:
        _stack.check_stack()
    message = str(error.value)
    assert 'mmengine is 0.9.1, at least 0.10.0 is needed' in message
    assert 'mmcv is not installed' in message
    assert 'mmpretrain is' not in message
    assert 'mmconvnext[maintained]' in message
    assert 'mmconvnext[original]' in message


WITHOUT_MMPRETRAIN = """
import importlib.metadata, importlib.util
version, find_spec = importlib.metadata.version, importlib.util.find_spec
def hidden(name):
    if 'mmpretrain' in name:
        raise importlib.metadata.PackageNotFoundError(name)
    return version(name)
importlib.metadata.version = hidden
importlib.util.find_spec = lambda name, *_: None if name == 'mmpretrain' else find_spec(name)
"""


@pytest.mark.parametrize(
    'use',
    [
        'import mmconvnext',
        # mmengine hides the ImportError here, so a warning has to name it.
        "from mmengine.registry import MODELS; MODELS.build(dict(type='mmconvnext.ConvNeXt'))",
    ],
)
def test_missing_library_is_named_on_every_way_in(use):
    result = python(WITHOUT_MMPRETRAIN + use, REPO)
    assert result.returncode != 0
    assert 'mmconvnext cannot run: mmpretrain is not installed' in result.stderr
    assert 'mmconvnext[maintained]' in result.stderr


@pytest.mark.parametrize('scope', ['mmengine', 'mmpretrain'])
def test_backbone_resolves_from_other_scopes_without_custom_imports(scope, tmp_path):
    code = (
        'from mmengine.registry import MODELS, Registry, init_default_scope\n'
        f"init_default_scope('{scope}')\n"
        'arch = dict(depths=(1, 1), channels=(4, 4))\n'
        "print(type(MODELS.build(dict(type='mmconvnext.ConvNeXt', arch=arch))).__module__)"
    )
    result = python(code, REPO)
    assert result.stdout.strip().endswith('mmconvnext.models.convnext'), result.stderr


def test_backbone_resolves_from_the_registry_of_another_library():
    """Registries of mmdet and mmseg are children of mmengine's root, like ours."""
    other = Registry('model', parent=MODELS, scope='another_library')
    arch = dict(depths=(1, 1), channels=(4, 4))
    assert other.build(dict(type='mmconvnext.ConvNeXt', arch=arch)).depths == (1, 1)


MMPRETRAIN_CONFIGS = sorted(Path(mmpretrain.__file__).parent.glob('.mim/configs/convnext*/*.py'))


@pytest.mark.parametrize('file', MMPRETRAIN_CONFIGS, ids=lambda file: file.stem)
def test_config_of_mmpretrain_switches_over_by_the_prefix(file, monkeypatch):
    """The network has the same parameter names, and nothing else in the config changes."""
    linspace = torch.linspace
    monkeypatch.setattr(torch, 'linspace', lambda *args, **_: linspace(*args, device='cpu'))
    init_default_scope('mmpretrain')
    cfg = Config.fromfile(file)
    shapes = []
    for prefix in ('', 'mmconvnext.'):
        model = cfg.model.copy()
        model.backbone = dict(model.backbone, type=f'{prefix}ConvNeXt')
        model.head = dict(model.head, type=f'{prefix}LinearClsHead')
        with torch.device('meta'):
            shapes.append({name: weight.shape for name, weight in MODELS.build(model).state_dict().items()})
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize('stack', ['maintained', 'original', 'downstream'])
def test_known_good_versions_meet_the_requirements(stack):
    files = sorted((REPO / '.ci/constraints').glob(f'{stack}-*.txt'))
    assert files, 'run make constraints'
    extras = dict(
        maintained=['maintained', 'dev', 'app', 'docs', 'export'],
        original=['original', 'dev'],
        downstream=['detection', 'segmentation', 'test'],
    )[stack]
    needed = [
        found
        for found in map(Requirement, importlib.metadata.requires('mmconvnext'))
        if found.marker is None or any(found.marker.evaluate(dict(extra=extra)) for extra in extras)
    ]
    for file in files:
        lines = [line for line in file.read_text().splitlines() if not line.startswith('#')]
        known = {canonicalize_name(name): version for name, version in (line.split('==') for line in lines)}
        for requirement in needed:
            if requirement.name != 'setuptools':  # some require an older one, and pip vendors its own
                assert known[canonicalize_name(requirement.name)] in requirement.specifier, requirement
