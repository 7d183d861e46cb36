"""Read a YAML or JSON config as data: it runs no code and imports no module."""

import json
import re
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import mmengine.registry
import yaml
from mmengine.registry import Registry

from ..errors import UserError
from ..files import open_regular

SUFFIXES = ('.json', '.yml', '.yaml')
MAX_BYTES = 1 << 20
MAX_VALUES = 100_000  # with every alias written out
MAX_DEPTH = 50

# Libraries whose registered types a data config may name.
SCOPES = ('mmengine', 'mmcv', 'mmpretrain', 'mmconvnext', 'mmdet', 'mmseg')
# Keys whose strings mmengine looks up in its registries; it imports what it does not find there.
TYPE_KEYS = ('type', 'runner_type', 'constructor')
SCOPE_KEYS = ('default_scope', '_scope_')


class Loader(getattr(yaml, 'CSafeLoader', yaml.SafeLoader)):
    """PyYAML's loader of plain data, which also refuses a key that is given twice."""

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict:
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            for key, _ in node.value:
                if key.value != '<<' and keys.count(key.value) > 1:
                    raise yaml.MarkedYAMLError(
                        problem=f'{key.value!r} is given twice', problem_mark=key.start_mark
                    )
        return super().construct_mapping(node, deep)


def read_text(file: Path) -> str:
    """Return the text of a config file of any kind.

    Raises:
        UserError: the path is no regular file, too large, or not UTF-8.
    """
    with open_regular(file) as stream:
        content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise UserError(f'{file} is larger than {MAX_BYTES:,} bytes; expected a config, a short text file')
    try:
        text = content.decode('utf-8')
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b'\n') + 1
        raise UserError(
            f'{file}, line {line}: byte {content[error.start]:#04x} is not UTF-8; '
            'expected a config, a text file. Save it as UTF-8'
        ) from error
    if '\0' in text:
        raise UserError(f'{file} holds a NUL character; expected a config, a text file')
    return text


def read_data(file: Path) -> dict[str, Any]:
    """Return the content of a YAML or JSON config, ``_base_`` included.

    Raises:
        UserError: the file cannot be parsed, holds more than plain data, or names code to run.
    """
    text = read_text(file)
    try:
        if file.suffix == '.json':
            content = json.loads(text, object_pairs_hook=unique_keys)
        else:
            content = yaml.load(text, Loader)
    except json.JSONDecodeError as error:
        raise UserError(f'{file}, line {error.lineno}: {error.msg}; expected JSON') from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f'{file}, line {mark.line + 1}' if mark else str(file)
        problem = ' '.join(filter(None, (error.context, error.problem)))
        expected = 'plain data, without tags of Python' if 'python/' in problem else 'YAML'
        raise UserError(f'{place}: {problem}; expected {expected}') from error
    except RecursionError as error:
        raise UserError(f'{file} is nested deeper than {MAX_DEPTH} levels; expected a config') from error
    except (yaml.YAMLError, ValueError) as error:  # of numbers with thousands of digits, for example
        raise UserError(
            f'{file}: {error}; expected {"JSON" if file.suffix == ".json" else "YAML"}'
        ) from error
    if not isinstance(content, dict):
        raise UserError(f'{file} holds {describe(content)}; expected the sections of a config, as model: ...')
    check_size(content, file)
    check_values(content, file, ())
    return content


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f'{twice!r} is given twice')
    return found


def describe(value: Any) -> str:
    return 'nothing' if value is None else f'a {type(value).__name__}'


def check_size(content: dict, file: Path) -> None:
    """Raise UserError if the content is too large or deep once YAML's aliases are written out."""
    measured: dict[int, tuple[int, int]] = {}  # of each container: values in it, levels below it
    open_containers: set[int] = set()

    def measure(value: Any) -> tuple[int, int]:
        if not isinstance(value, (dict, list)):
            return 1, 0
        if id(value) in measured:
            return measured[id(value)]
        if id(value) in open_containers:
            raise UserError(f'{file}: a YAML alias leads back to itself; expected plain data')
        if len(open_containers) > MAX_DEPTH:
            raise UserError(f'{file} is nested deeper than {MAX_DEPTH} levels; expected a config')
        open_containers.add(id(value))
        inside = [measure(each) for each in (value.values() if isinstance(value, dict) else value)]
        open_containers.discard(id(value))
        size = 1 + sum(count for count, _ in inside)
        depth = 1 + max((levels for _, levels in inside), default=0)
        if size > MAX_VALUES or depth > MAX_DEPTH:
            raise UserError(
                f'{file} has more than {MAX_VALUES:,} values or {MAX_DEPTH} levels with its YAML aliases '
                'written out; expected a config'
            )
        measured[id(value)] = size, depth
        return size, depth

    measure(content)


def check_values(value: Any, file: Path, path: tuple[str, ...]) -> None:
    """Raise UserError for what is no plain data, and for names that would lead to code."""
    place = f'{file}: {".".join(path) or "the config"}'
    if isinstance(value, dict):
        for key, each in value.items():
            if not isinstance(key, (str, int)):
                raise UserError(f'{place} has the key {key!r}; expected a word or a whole number')
            check_values(each, file, (*path, str(key)))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            check_values(each, file, (*path, str(index)))
    elif not (value is None or isinstance(value, (bool, int, float, str))):
        raise UserError(f'{place} is a {type(value).__name__}; expected text, a number, a list or a mapping')
    check_name(value, place, path[-1] if path else '')


def check_name(value: Any, place: str, key: str) -> None:
    cure = 'Write a .py config if you mean it; like any Python file, that runs code'
    if key in ('custom_imports', 'trust_remote_code') and value:
        raise UserError(f'{place}: a YAML or JSON config is data and imports no code. {cure}')
    if not isinstance(value, str):
        return
    if '{{' in value and not value.startswith('{{_base_'):
        raise UserError(f'{place} is {value!r}: templates are not filled in here; write the value itself')
    if key in TYPE_KEYS and not is_registered(value):
        raise UserError(
            f'{place} is {value!r}, which is not a registered type of {", ".join(SCOPES)}. Correct the name. '
            f'{cure}'
        )
    if key in SCOPE_KEYS and value not in SCOPES:
        raise UserError(f'{place} is {value!r}; choose from {", ".join(SCOPES)}. {cure}')
    if re.search(r'\.(pkl|pickle)$', value) and key != 'out_file_path':
        raise UserError(f'{place} is {value!r}: reading a pickle runs code. {cure}')


def is_registered(name: str) -> bool:
    """Return whether a registry holds a type of this name; mmengine's own look-up may import it instead."""
    scope, _, bare = name.rpartition('.')
    if scope and scope not in SCOPES:
        return False
    for each in SCOPES if not scope else (scope,):
        if find_spec(each) and each not in ('mmengine', 'mmcv'):  # those two use the root registries
            with suppress(ImportError):  # a library that does not fit what else is installed
                import_module(f'{each}.registry')
    for root in vars(mmengine.registry).values():
        if isinstance(root, Registry):
            for registry in (root, *root.children.values()):
                if scope in ('', registry.scope) or (scope == 'mmcv' and registry is root):
                    registry.import_from_location()
                    if bare in registry.module_dict:
                        return True
    return False
