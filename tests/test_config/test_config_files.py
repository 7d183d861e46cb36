"""Errors in config files name the file and the line."""

import os
import re

import pytest

from mmconvnext.apis import load_config
from mmconvnext.errors import UserError
from tests.conftest import REPO

BASE = f"_base_ = '{REPO / 'configs/digits/convnext-atto_1xb48_digits.py'}'\n"


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ("model = dict(\ntype='x'\nx = 3\n", "config.py, line 1: '\\(' was never closed"),
        ('x = 1\n  y = 2\n', 'config.py, line 2: unexpected indent'),
        (f'{BASE}x = 1\ny = undefined\n', "config.py, line 3: NameError: name 'undefined' is not defined"),
        ('def f():\n    return 1 / 0\n\n\nx = f()\n', 'config.py, line 2: ZeroDivisionError'),
        (f'{BASE}x = _base_.nope\n', 'config.py, line 2: AttributeError'),
        ('x = open("nowhere")\n', 'config.py, line 1: FileNotFoundError'),
        (f'{BASE}raise SystemExit\n', 'config.py, line 2: SystemExit'),
        ('import sys\nx = 1\nsys.exit(0)\n', 'config.py, line 3: SystemExit: 0'),
        ('def f():\n    exit("no GPU")\n\n\nf()\n', 'config.py, line 2: SystemExit: no GPU'),
        ('raise GeneratorExit\n', 'config.py, line 1: GeneratorExit'),
        ('class Own(BaseException): ...\n\n\nraise Own("x")\n', 'config.py, line 4: Own: x'),
        ("_base_ = 'nowhere.py'\n", 'its base .*nowhere.py does not exist'),
        ("_base_ = 'config.py'\n", 'in a circle: .*config.py -> .*config.py'),
        ('_base_ = 3\n', '_base_ names 3'),
        ("_base_ = 'weights.pth'\n", 'does not exist|ends in'),
        (b'x = 1\ny = "\xe9"\n', 'config.py, line 2: byte 0xe9 is not UTF-8'),
        (b'\x80\x02}q\x00.', 'is not UTF-8'),
        (b'x = 1\0', 'NUL'),
        (f"{BASE}custom_imports = dict(imports=['nosuch.sub'])\n", "there is no module 'nosuch'"),
        (f"{BASE}custom_imports = 'nosuch'\n", 'custom_imports is no dict'),
        ('import nosuch\nmodel = dict(type=nosuch.Model)\n', 'nosuch'),
        ("filename = 'x'\n", 'filename is reserved'),
    ],
)
def test_faults_are_told_with_their_place(content, message, tmp_path):
    file = tmp_path / 'config.py'
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=message):
        load_config(file)


def test_bases_in_a_circle_are_all_named(tmp_path):
    for name, base in (('a.py', 'b.yaml'), ('b.yaml', 'c.json'), ('c.json', 'b.yaml')):
        line = {'py': f"_base_ = '{base}'", 'yaml': f'_base_: {base}', 'json': f'{{"_base_": "{base}"}}'}
        (tmp_path / name).write_text(line[name.partition('.')[2]])
    with pytest.raises(UserError, match='circle: .*b.yaml -> .*c.json -> .*b.yaml;'):
        load_config(tmp_path / 'a.py')


def test_fault_of_a_base_is_told_with_the_place_in_the_base(tmp_path):
    (tmp_path / 'base.py').write_text('x = 1\ny = undefined\n')
    (tmp_path / 'leaf.py').write_text("_base_ = 'base.py'\n")
    with pytest.raises(UserError, match='base.py, line 2: NameError'):
        load_config(tmp_path / 'leaf.py')


def test_tags_in_a_yaml_base_of_a_python_config_run_nothing(tmp_path):
    ran = tmp_path / 'ran'
    (tmp_path / 'base.yaml').write_text(f'x: !!python/object/apply:os.mkdir ["{ran}"]\n')
    (tmp_path / 'leaf.py').write_text("_base_ = 'base.yaml'\n")
    with pytest.raises(UserError, match='base.yaml, line 1'):
        load_config(tmp_path / 'leaf.py')
    assert not ran.exists()


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / 'pipe.py')
    (tmp_path / 'folder.py').mkdir()
    (tmp_path / 'device.py').symlink_to('/dev/zero')
    for name, kind in (('pipe', 'a pipe'), ('folder', 'a folder'), ('device', 'a device')):
        with pytest.raises(UserError, match=f'{name}.py is {kind}'):
            load_config(tmp_path / f'{name}.py')
        (tmp_path / 'leaf.py').write_text(f"_base_ = '{name}.py'\n")
        with pytest.raises(UserError, match=f'{name}.py is {kind}'):
            load_config(tmp_path / 'leaf.py')


@pytest.mark.parametrize('name', ['a' * 5000, 'a\0b', '', '.', 'weights.pth'])
def test_names_of_no_config_are_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'weights.pth').write_bytes(b'PK')
    with pytest.raises(UserError):
        load_config(name)


def test_missing_module_of_a_lazy_base_names_the_config(tmp_path):
    text = 'from mmengine.config import read_base\nwith read_base():\n    from .nowhere import *\n'
    (tmp_path / 'config.py').write_text(text)
    with pytest.raises(UserError, match=re.escape(str(tmp_path / 'config.py')) + '.*nowhere'):
        load_config(tmp_path / 'config.py')
