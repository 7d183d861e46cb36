"""Validate descriptions of networks and images in untrusted files: plain, bounded values.

A schema is a dict from field to check. A check returns the value to use, or raises ``Unexpected`` with what
it expects. Nothing is built from a description before it has passed its schema, and no dict of a file ever
reaches a registry.
"""

import math
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from reprlib import Repr

from ..errors import UserError
from ..files import open_regular
from ..text import parse_json, shortened

Check = Callable[[object], object]

MAX_JSON_BYTES = 32 << 20  # label maps of 21,841 classes have 2 MB
MAX_CLASSES = 1_000_000
MAX_NAME = 1000  # characters of a class name
MAX_CHANNELS = 1 << 16
# Of the network's input; published checkpoints take images of up to 768 x 768.
MAX_INPUT_SIDE = 1 << 12
MAX_INPUT_PIXELS = 1 << 22

# Never builds more text than a message has room for, however deep the value is nested.
_repr = Repr()
_repr.maxlevel, _repr.maxstring, _repr.maxlong, _repr.maxother = 2, 60, 40, 60
MAX_SHOWN = 100


class Unexpected(ValueError):
    """A value that a check rejects; the message is what the check expects."""


def shown(value: object) -> str:
    """Return an untrusted value as one short line."""
    try:
        return shortened(_repr.repr(value), MAX_SHOWN)
    except Exception:  # whatever a foreign object's repr raises; numbers of thousands of digits do
        return f'a {type(value).__name__}'


def integer(low: int, high: int) -> Check:
    def check(value: object) -> int:
        if type(value) is not int or not low <= value <= high:
            raise Unexpected(f'a whole number from {low} to {high}')
        return value

    return check


def number(low: float, high: float, *, above: bool = False) -> Check:
    """Check a finite number; with ``above``, it must be larger than ``low``."""

    def check(value: object) -> float:
        fits = type(value) in (int, float) and low <= value <= high and not (above and value == low)
        if not fits:
            raise Unexpected(f'a number {"above" if above else "from"} {low:g} {"up " * above}to {high:g}')
        return value

    return check


def one_of(choices: Collection[str] | Collection[int]) -> Check:
    def check(value: object) -> str | int:
        if type(value) not in (str, int) or value not in choices:
            raise Unexpected(f'one of {", ".join(map(str, choices))}')
        return value

    return check


def flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise Unexpected('true or false')
    return value


def mapping(value: object) -> dict:
    """Check that a value is a dict; its fields are checked by their reader."""
    if not isinstance(value, dict):
        raise Unexpected('an object with fields')
    return value


def numbers(value: object) -> dict[str, float]:
    """Check a dict of finite numbers, such as metrics."""
    found, check = mapping(value), number(-1e12, 1e12)
    if not all(isinstance(name, str) for name in found):
        raise Unexpected('numbers under names')
    return {name: check(one) for name, one in found.items()}


def text(longest: int) -> Check:
    def check(value: object) -> str:
        if not isinstance(value, str) or len(value) > longest:
            raise Unexpected(f'text of at most {longest} characters')
        return value

    return check


def several(check: Check, longest: int, shortest: int = 1) -> Check:
    """Check a list of limited length, and return a tuple."""

    def check_all(values: object) -> tuple:
        if not isinstance(values, list | tuple) or not shortest <= len(values) <= longest:
            count = f'{shortest} to {longest}' if shortest < longest else f'{longest}'
            raise Unexpected(f'a list of {count} values')
        try:
            return tuple(check(value) for value in values)
        except Unexpected as expected:
            raise Unexpected(f'a list of values that are {expected}') from expected

    return check_all


def image_size(value: object) -> int | tuple[int, int]:
    """Check an image size, a side or (height, width), that fits into memory."""
    side = integer(1, MAX_INPUT_SIDE)
    size = either(side, several(side, 2, 2))(value)
    height, width = (size, size) if isinstance(size, int) else size
    if height * width > MAX_INPUT_PIXELS:
        raise Unexpected(f'a size of at most {MAX_INPUT_PIXELS:,} pixels')
    return size


def either(*checks: Check) -> Check:
    def check_any(value: object) -> object:
        expected = []
        for check in checks:
            try:
                return check(value)
            except Unexpected as error:
                expected.append(str(error))
        raise Unexpected(' or '.join(expected))

    return check_any


def nothing(value: object) -> None:
    if value is not None:
        raise Unexpected('nothing')


def optional(check: Check) -> Check:
    return either(nothing, check)


def fields(schema: Mapping[str, Check], *, closed: bool = False) -> Check:
    """Check a nested dict; if ``closed``, fields that are not in the schema are rejected."""

    def check(value: object) -> dict:
        if not isinstance(value, Mapping) or (closed and not set(value) <= set(schema)):
            raise Unexpected(f'fields {", ".join(schema)}')
        found = {}
        for key in schema:
            if key in value:
                try:
                    found[key] = schema[key](value[key])
                except Unexpected as expected:
                    raise Unexpected(f'a {key} that is {expected}') from expected
        return found

    return check


def read_fields(description: object, schema: Mapping[str, Check], place: str) -> dict:
    """Return the fields of a description that are in the schema, after checking each.

    Args:
        description: any value, from a file.
        schema: field -> check; missing fields are omitted.
        place: name of the file in messages.

    Raises:
        UserError: a field is invalid; the message has the file, the field, what was found and what was
            expected.
    """
    if not isinstance(description, Mapping):
        raise UserError(f'{place} holds {shown(description)}; expected an object with fields')
    found = {}
    for key, check in schema.items():
        if key in description:
            try:
                found[key] = check(description[key])
            except Unexpected as expected:
                raise UserError(f'{place}: {key} is {shown(description[key])}; expected {expected}') from None
    return found


def class_names(value: object) -> tuple[str, ...]:
    """Check the names of the outputs, in order; numbers are converted to text."""
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= MAX_CLASSES:
        raise Unexpected(f'a list of 1 to {MAX_CLASSES} names')
    names = tuple(str(name) if type(name) is int and abs(name) < 1 << 63 else name for name in value)
    for name in names:
        if not isinstance(name, str) or len(name) > MAX_NAME:
            raise Unexpected(f'names of at most {MAX_NAME} characters, not {shown(name)}')
    return names


def labels(value: object) -> tuple[str, ...]:
    """Check ``id2label`` of transformers: index of an output -> name."""
    if not isinstance(value, Mapping) or len(value) > MAX_CLASSES:
        raise Unexpected(f'an object of at most {MAX_CLASSES} names')
    numbered = {}
    for key, name in value.items():
        if not str(key)[:8].isdecimal() or len(str(key)) > 7 or int(key) in numbered:
            raise Unexpected(f'outputs that are numbered once each, not {shown(key)}')
        numbered[int(key)] = name
    if sorted(numbered) != list(range(len(numbered))):
        raise Unexpected(f'a name for each output from 0 to {len(numbered) - 1}')
    return class_names([numbered[i] for i in range(len(numbered))]) if numbered else ()


def read_json(file: Path) -> dict:
    """Read the fields of a JSON file as data.

    Raises:
        UserError: the file is too large, cannot be read, is not an object, or has duplicate fields or
            non-finite numbers.
    """
    try:
        with open_regular(file) as opened:
            content = opened.read(MAX_JSON_BYTES + 1)
        if len(content) > MAX_JSON_BYTES:
            raise UserError(f'{file} has more than {MAX_JSON_BYTES:,} bytes; no description is as long')
        found = parse_json(
            content.decode('utf-8-sig'), object_pairs_hook=distinct, parse_constant=refuse, parse_float=finite
        )
    except UserError:
        raise
    except RecursionError as error:
        raise UserError(f'{file} cannot be read as JSON: it is nested too deeply') from error
    except (OSError, ValueError) as error:
        raise UserError(f'{file} cannot be read as JSON: {shortened(str(error), 2 * MAX_SHOWN)}') from error
    if not isinstance(found, dict):
        raise UserError(f'{file} holds a {type(found).__name__}; expected an object with fields')
    return found


def distinct(pairs: list[tuple[str, object]]) -> dict:
    found = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f'the field {shown(key)} is there twice')
        found[key] = value
    return found


def refuse(constant: str) -> None:
    raise ValueError(f'{constant} is not a JSON number')


def finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f'the number {shown(digits)} is too large')
    return value
