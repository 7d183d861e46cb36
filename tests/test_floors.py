"""Imports follow the layers in pyproject.toml, and a forbidden import is found."""

import shutil
import subprocess
import sys

import pytest

from tests.conftest import REPO

pytest.importorskip('importlinter')


def lint(folder):
    code = 'from importlinter.cli import lint_imports_command; lint_imports_command()'
    command = [sys.executable, '-c', code, '--no-cache']
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize(
    ('file', 'line'),
    [
        ('models/network.py', 'from ..zoo.entries import zoo'),
        ('checkpoints/loading.py', 'def load():\n    from ..datasets import shards'),
        ('inference/results.py', 'from ..training import runner'),
        ('text.py', 'from .ops import gelu'),
    ],
)
def test_import_up_or_aside_breaks_the_contract(tmp_path, file, line):
    shutil.copytree(REPO / 'mmconvnext', tmp_path / 'mmconvnext', ignore=shutil.ignore_patterns('.mim'))
    shutil.copy(REPO / 'pyproject.toml', tmp_path)
    changed = tmp_path / 'mmconvnext' / file
    changed.write_text(f'{changed.read_text()}\n\n{line}\n')
    result = lint(tmp_path)
    assert result.returncode == 1
    assert f'mmconvnext.{file[:-3].replace("/", ".")}' in result.stdout


def test_the_contract_holds():
    result = lint(REPO)
    assert result.returncode == 0, result.stdout + result.stderr
