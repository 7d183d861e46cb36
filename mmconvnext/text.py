"""Names and messages of others, as terminals, pictures, tables and JSON can hold them."""

import json
import math
import re
import unicodedata
from collections.abc import Sequence
from pathlib import PurePath

# Joiners inside words of Persian and of Indian scripts, and inside emoji; they move nothing on a screen.
JOINERS = '\u200c\u200d'
# A spreadsheet takes text for a formula if it begins like one, or does so behind what some split cells at.
FORMULA = re.compile(r'(^|;)(\s*)(?=[=+\-@|%＝＋－＠])')
NUMBER = re.compile(r'[+-]?\d+(\.\d+)?([eE][+-]?\d+)?')


def printable(text: str) -> str:
    """Return the text with escapes in place of what a terminal obeys, reorders or cannot show."""
    return ''.join(c if is_printable(c) else c.encode('unicode_escape').decode() for c in text)


def is_printable(c: str) -> bool:
    return c.isprintable() or c in JOINERS or unicodedata.category(c) == 'Zs'


def printable_lines(text: str) -> str:
    """Return ``printable`` of each line."""
    return '\n'.join(printable(line.expandtabs()) for line in text.split('\n'))


def shortened(text: str, longest: int) -> str:
    """``printable``, and cut to so many letters."""
    text = printable(text)
    return text if len(text) <= longest else f'{text[: longest - 1]}…'


def listed(names: Sequence[str]) -> str:
    """Return the first few names, for a message."""
    return ', '.join(shortened(name, 150) for name in names[:3]) + (', ...' if len(names) > 3 else '')


def csv_cell(value: object) -> object:
    """Return a value as a cell of a CSV file that no spreadsheet computes and no terminal obeys.

    Numbers stay numbers, also those in text. Other text gets an apostrophe before what would begin a
    formula, as spreadsheets write such text themselves, and is made ``printable``.
    """
    if isinstance(value, PurePath):
        value = str(value)
    if not isinstance(value, str) or NUMBER.fullmatch(value):
        return value
    return FORMULA.sub(r"\1\2'", printable(value))


def json_text(value: object, **options) -> str:
    """Return JSON that every reader takes: null for numbers that are not finite, escapes for controls.

    Args:
        value: of plain types.
        **options: of ``json.dumps``.
    """
    text = json.dumps(finite(value), ensure_ascii=False, allow_nan=False, **options)
    # Outside of its strings, JSON has no other control characters than line breaks.
    return ''.join(c if is_printable(c) or c == '\n' else escaped_in_json(c) for c in text)


def escaped_in_json(c: str) -> str:
    return '\\u007f' if c == '\x7f' else json.dumps(c)[1:-1]


def finite(value: object) -> object:
    """Return a copy of a nested value with None for each number that is not finite."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
