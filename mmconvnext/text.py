"""Make untrusted names and messages safe for terminals, pictures, tables and JSON."""

import json
import math
import re
import unicodedata
from collections.abc import Sequence
from pathlib import PurePath

# Joiners in words of Persian and Indic scripts and in emoji, which do not reorder text.
JOINERS = '\u200c\u200d'
# Spreadsheets read text as a formula if it starts like one, or does so after a cell separator.
FORMULA = re.compile(r'(^|;)(\s*)(?=[=+\-@|%＝＋－＠])')
NUMBER = re.compile(r'[+-]?\d+(\.\d+)?([eE][+-]?\d+)?')
MAX_JSON_VALUES = 1_000_000  # label maps of 21,841 classes have 150,000, counting each comma in a name


def printable(text: str) -> str:
    """Escape characters that a terminal would interpret, reorder or cannot show."""
    return ''.join(c if is_printable(c) else c.encode('unicode_escape').decode() for c in text)


def is_printable(c: str) -> bool:
    return c.isprintable() or c in JOINERS or unicodedata.category(c) == 'Zs'


def printable_lines(text: str) -> str:
    """Apply ``printable`` to each line."""
    return '\n'.join(printable(line.expandtabs()) for line in text.split('\n'))


def shortened(text: str, longest: int) -> str:
    """Apply ``printable`` and cut the text to a maximum length."""
    text = printable(text)
    return text if len(text) <= longest else f'{text[: longest - 1]}…'


def one_line(error: BaseException) -> str:
    """Return the message of an error in one line, or its type if it has none."""
    return ' '.join(str(error).split()) or type(error).__name__


def listed(names: Sequence[str], most: int = 3) -> str:
    """Join the first few names for a message."""
    return ', '.join(shortened(name, 150) for name in names[:most]) + (', ...' if len(names) > most else '')


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, as ``no images``, ``1 class`` and ``1,024 classes``."""
    plural = noun + ('es' if noun.endswith(('s', 'ch')) else 's')
    return f'{f"{number:,}" if number else "no"} {noun if number == 1 else plural}'


def class_title(found: dict) -> str:
    """Return what to call a class that was found: its name, or else its number."""
    return printable(str(found['label'] if found['class'] is None else found['class']))


def score_text(score: float, percent: bool) -> str:
    """Return a score for people, in percent or as a value of its own unit."""
    return f'{score:.1%}' if percent else f'{score:.4g}'


def csv_cell(value: object) -> object:
    """Return a value as a cell of a CSV file that no spreadsheet or terminal interprets.

    Numbers are unchanged, also in text. Other text that would start a formula gets an apostrophe, as
    spreadsheets themselves write such text, and is made ``printable``.
    """
    if isinstance(value, PurePath):
        value = str(value)
    if not isinstance(value, str) or NUMBER.fullmatch(value):
        return value
    return FORMULA.sub(r"\1\2'", printable(value))


def json_text(value: object, **options) -> str:
    """Return JSON that every reader accepts: null for non-finite numbers, escapes for control characters.

    Args:
        value: nested plain types.
        **options: arguments of ``json.dumps``.
    """
    text = json.dumps(finite(value), ensure_ascii=False, allow_nan=False, **options)
    # Outside of strings, line breaks are the only control characters in JSON.
    return ''.join(c if is_printable(c) or c == '\n' else escaped_in_json(c) for c in text)


def parse_json(content: str, **options) -> object:
    """Return ``json.loads`` of a text whose values fit into memory.

    A few bytes can stand for an empty list or object, which takes fifty times the memory.

    Raises:
        ValueError: there are too many values, or it is no JSON.
    """
    if sum(map(content.count, '[{,')) > MAX_JSON_VALUES:
        raise ValueError(f'it has more than {MAX_JSON_VALUES:,} values')
    return json.loads(content, **options)


def escaped_in_json(c: str) -> str:
    return '\\u007f' if c == '\x7f' else json.dumps(c)[1:-1]


def finite(value: object) -> object:
    """Return a copy of a nested value with None in place of non-finite numbers."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
