"""Rename and reshape weights with tables that work in both directions."""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from torch import Tensor


class Layout(NamedTuple):
    """Layout of a tensor in another format, as two functions for both directions."""

    to_ours: Callable[[Tensor], Tensor]
    to_theirs: Callable[[Tensor], Tensor]


def unchanged(tensor: Tensor) -> Tensor:
    return tensor


SAME = Layout(unchanged, unchanged)


class Rule(NamedTuple):
    """Entry of a table: our name, their name, and the layout of their tensor.

    Names are templates. ``{i}`` and ``{j}`` stand for numbers (stage and block), also as ``{2i+1}``;
    ``{last}`` for the number of the last stage; ``{p}`` for one part of a name (weight, bias); ``{rest}`` for
    the rest of a name. With ``ours=None``, tensors have no counterpart in our network and are omitted.
    """

    ours: str | None
    theirs: str
    layout: Layout = SAME


Table = tuple[Rule, ...]

# Shared by most tables: the prefixes of our names, and the layout (1, 1, 1, C) of GRN.
DOWNSAMPLE = 'backbone.downsample_layers'
BLOCK = 'backbone.stages.{i}.{j}'
GRN = Layout(lambda x: x.flatten(), lambda x: x.view(1, 1, 1, -1))


class Renamed(NamedTuple):
    """Result of renaming weights.

    Attributes:
        weights: new name -> tensor.
        unknown: old names that are not in the table.
        left_out: old names without a new name.
        names: new name -> old name.
    """

    weights: dict[str, Tensor]
    unknown: list[str]
    left_out: list[str]
    names: dict[str, str]


FIELD = re.compile(r'\{(\d*)(\w+?)([+-]\d+)?\}')
NUMBERS = ('i', 'j', 'last')


def to_ours(weights: dict[str, Tensor], rules: Iterable[Rule]) -> Renamed:
    """Rename weights of another format to our names."""
    return _rename(weights, [(rule.theirs, rule.ours, rule.layout.to_ours) for rule in rules])


def to_theirs(weights: dict[str, Tensor], rules: Iterable[Rule]) -> Renamed:
    """Rename our weights to their names."""
    return _rename(
        weights, [(rule.ours, rule.theirs, rule.layout.to_theirs) for rule in rules if rule.ours is not None]
    )


def _rename(weights: dict[str, Tensor], lines: list[tuple[str, str | None, Callable]]) -> Renamed:
    patterns = [(re.compile(pattern_of(source)), source, target, lay) for source, target, lay in lines]
    # Most names of a file are unknown to most tables; one combined expression finds that ten times faster.
    any_line = re.compile('|'.join(pattern.pattern for pattern, *_ in patterns))
    known = {name for name in weights if any_line.fullmatch(name)}
    last = last_stage(known, patterns)
    renamed, unknown, left_out, names = {}, [], [], {}
    for name, tensor in weights.items():
        match = first_match(name, patterns, last) if name in known else None
        if match is None:
            unknown.append(name)
            continue
        fields, target, lay = match
        if target is None:
            left_out.append(name)
            continue
        new_name = fill(target, {**fields, 'last': last})
        if new_name in renamed:  # stages.0 and stages.00
            unknown.append(name)
            continue
        try:
            renamed[new_name] = lay(tensor)
            names[new_name] = name
        except (IndexError, RuntimeError):  # an unexpected shape, so it is another kind of weight
            unknown.append(name)
    return Renamed(renamed, unknown, left_out, names)


def last_stage(names: Iterable[str], patterns: list) -> int:
    """Return the largest ``{i}``, which is needed for formats that do not number their last norm."""
    matches = (first_match(name, patterns, None) for name in names)
    return max((match[0].get('i', 0) for match in matches if match), default=0)


def first_match(name: str, patterns: list, last: int | None) -> tuple[dict, str | None, Callable] | None:
    """Return fields, new template and layout of the first entry that matches."""
    for pattern, source, target, lay in patterns:
        match = pattern.fullmatch(name)
        fields = match and read_fields(source, match)
        if fields is not None and (last is None or fields.get('last', last) == last):
            return fields, target, lay
    return None


def pattern_of(template: str) -> str:
    """Return a regular expression with one group per field."""
    pattern, end = '', 0
    for place in FIELD.finditer(template):
        pattern += re.escape(template[end : place.start()])
        pattern += {'p': r'(\w+)', 'rest': '(.+)'}.get(place[2], r'(\d{1,9})')
        end = place.end()
    return pattern + re.escape(template[end:])


def read_fields(template: str, match: re.Match) -> dict | None:
    """Return the values of a template's fields, or None if a number does not fit, such as 3 in ``{2i}``."""
    fields = {}
    for (factor, name, offset), text in zip(FIELD.findall(template), match.groups(), strict=True):
        if name in NUMBERS:
            value, remainder = divmod(int(text) - int(offset or 0), int(factor or 1))
            if remainder or value < 0:
                return None
            fields[name] = value
        else:
            fields[name] = text
    return fields


def fill(template: str, fields: dict) -> str:
    def value(place: re.Match) -> str:
        factor, name, offset = place.groups()
        if name not in NUMBERS:
            return fields[name]
        return str(fields[name] * int(factor or 1) + int(offset or 0))

    return FIELD.sub(value, template)
