"""Parse ``KEY=VALUE`` on a command line into values of a config."""

import io
import tokenize
from argparse import Action, ArgumentError
from ast import literal_eval
from itertools import pairwise
from typing import Any

WORDS = {'true': True, 'false': False, 'none': None}
OPENING, CLOSING, QUOTES = '([{', ')]}', '\'"'
TYPOGRAPHIC_QUOTES = '“”„‟‘’‚‛«»'
PLAIN = (bool, int, float, str, list, tuple, dict, type(None))


class CfgOptions(Action):
    """Collect ``KEY=VALUE`` arguments in a dict, also if the option is given several times.

    Unlike mmengine's ``DictAction``, it keeps spaces and quotes within a value.
    """

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        options = dict(getattr(namespace, self.dest) or {})
        for text in values:
            key, equals, value = text.partition('=')
            key = key.strip()
            if not equals or not all(key.split('.')):
                raise ArgumentError(self, f'{text!r} is not KEY=VALUE; quote values with spaces as KEY="a b"')
            try:
                options[key] = parse_value(value)
            except ValueError as error:
                raise ArgumentError(self, f'{text!r}: {error}') from error
        setattr(namespace, self.dest, options)


def parse_value(text: str) -> Any:
    """Return the value of a text: a Python literal, a list, or the text itself.

    Words in lists need no quotes: ``[a,b]`` and ``a,b`` are both ``['a', 'b']``. A comma that is meant
    literally is quoted: ``"'a,b'"``.

    Raises:
        ValueError: quotes or brackets do not match, or a shell or an editor has changed them.
    """
    stripped = text.strip()
    if stripped[:1] and stripped[0] in TYPOGRAPHIC_QUOTES:
        raise ValueError(f'{stripped[0]} is a typographic quote; use \' or ", around it too if it is meant')
    if stripped.lower() in WORDS:
        return WORDS[stripped.lower()]
    parts = split_commas(stripped)
    if parts is None and (stripped[0] in OPENING + QUOTES or ',' in stripped):
        raise ValueError('a bracket or quote has no counterpart; close it, or quote the text as KEY="\'[a\'"')
    if parts is not None and len(parts) > 1:
        return [parse_value(part.strip()) for part in parts]
    try:
        value = literal_eval(stripped)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        pass
    else:
        if joins_texts(stripped):
            raise ValueError(
                'two quoted texts stand side by side; put a comma between them, or one pair of quotes'
            )
        return value if is_plain(value) else text
    if (
        parts is not None
        and stripped[:1] in ('[', '(')
        and stripped[-1:] == CLOSING[OPENING.index(stripped[0])]
    ):
        inside = split_commas(stripped[1:-1])
        if inside is not None and (stripped[0] == '[' or len(inside) > 1):
            if inside[-1].strip() == '':  # the empty list, or a comma at the end
                inside.pop()
            values = [parse_value(part.strip()) for part in inside]
            return tuple(values) if stripped[0] == '(' else values
    for number in (int, float):  # 007, nan and inf are no literals
        try:
            return number(stripped)
        except ValueError:
            pass
    return text


def split_commas(text: str) -> list[str] | None:
    """Return the parts of a text between commas outside brackets and quotes; None if those do not match."""
    parts, expected, quote = [''], [], ''
    for character in text:
        if quote:
            quote = '' if character == quote else quote
        elif character in QUOTES and not parts[-1].strip(' ' + OPENING):
            quote = character  # within a word it is an apostrophe
        elif character in OPENING:
            expected.append(CLOSING[OPENING.index(character)])
        elif character in CLOSING:
            if not expected or expected.pop() != character:
                return None
        elif character == ',' and not expected:
            parts.append('')
            continue
        parts[-1] += character
    return None if expected or quote else parts


def joins_texts(literal: str) -> bool:
    """Return whether Python would join quoted texts of a literal that no comma separates."""
    tokens = tokenize.generate_tokens(io.StringIO(literal).readline)
    kinds = [token.type for token in tokens if token.type not in (tokenize.NL, tokenize.NEWLINE)]
    return (tokenize.STRING, tokenize.STRING) in pairwise(kinds)


def is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_plain(each) for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(is_plain, value))
    return isinstance(value, PLAIN)
