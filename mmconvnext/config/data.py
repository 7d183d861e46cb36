"""Read YAML and JSON configs as plain data of limited size."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from ..errors import UserError
from ..files import open_regular
from ..text import shortened
from .data_names import check_entry
from .yaml_values import MAX_DEPTH, MAX_TEXT, MAX_VALUES, read_yaml

SUFFIXES = ('.json', '.yml', '.yaml')
MAX_BYTES = 1 << 20
MAX_NUMBER = 2**63


def read_text(file: Path) -> str:
    """Return the text of a config file of any kind.

    Raises:
        UserError: the file is not a regular file, too large, or not UTF-8.
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
        UserError: the file cannot be parsed, is not plain data, or has names that are not allowed.
    """
    text = read_text(file)
    try:
        if file.suffix == '.json':
            content = json.loads(text, object_pairs_hook=unique_keys, parse_constant=refuse_constant)
        else:
            content = read_yaml(text)
    except json.JSONDecodeError as error:
        raise UserError(f'{file}, line {error.lineno}: {error.msg}; expected JSON') from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f'{file}, line {mark.line + 1}' if mark else str(file)
        problem = ' '.join(filter(None, (error.context, error.problem)))
        raise UserError(f'{place}: {problem}; expected plain YAML, without tags') from error
    except RecursionError as error:
        raise UserError(f'{file} is nested deeper than {MAX_DEPTH} levels; expected a config') from error
    except (yaml.YAMLError, ValueError) as error:  # of numbers with thousands of digits, for example
        raise UserError(
            f'{file}: {error}; expected {"JSON" if file.suffix == ".json" else "YAML"}'
        ) from error
    if not isinstance(content, dict):
        found = 'nothing' if content is None else f'a {type(content).__name__}'
        raise UserError(f'{file} holds {found}; expected the sections of a config, as model: ...')
    if count_values(content) > MAX_VALUES:
        raise UserError(f'{file} has more than {MAX_VALUES:,} values; expected a config')
    check_values(content, file, ())
    return content


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise ValueError(f'{twice[:80]!r} is given twice')
    return found


def refuse_constant(name: str) -> None:
    raise ValueError(f'{name} is not a JSON number')


def count_values(content: Any) -> int:
    """Count the values in a content, including itself; shared ones count at every occurrence."""
    count, waiting = 0, [content]
    while waiting:
        value = waiting.pop()
        count += 1
        if isinstance(value, (dict, list, tuple)):
            waiting.extend(value.values() if isinstance(value, dict) else value)
    return count


def check_values(value: Any, file: Path, path: tuple[str, ...]) -> None:
    """Raise UserError for a value that no config needs, or a name that is not allowed."""
    if len(path) > MAX_DEPTH:
        raise UserError(f'{file} is nested deeper than {MAX_DEPTH} levels; expected a config')
    try:
        if isinstance(value, str) and len(value) > MAX_TEXT:
            raise ValueError(f'is a text of {len(value):,} characters; expected no more than {MAX_TEXT:,}')
        if isinstance(value, (int, float)) and not abs(value) <= MAX_NUMBER:
            raise ValueError(f'is a number beyond {MAX_NUMBER:,}')
        check_entry(path, value)
    except ValueError as error:
        place = shortened('.'.join(path), 200) or 'the config'
        raise UserError(f'{file}: {place} {error}') from error
    if isinstance(value, dict):
        for key, each in value.items():
            check_values(each, file, (*path, key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            check_values(each, file, (*path, str(index)))
