"""Read YAML with the values of JSON: mappings with text keys, lists, text, numbers, true, false, null.

PyYAML's own values go beyond what a config needs: ``1:30`` is the number 90, ``no`` is false, ``1e-3`` is
text, and merging mappings may exhaust memory before anything can be counted.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

MAX_VALUES = 100_000  # with all aliases and merged mappings expanded
MAX_DEPTH = 50
MAX_TEXT = 1000  # characters

NUMBER = re.compile(r'-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?')
CONSTANTS = {'': None, '~': None, 'null': None, 'true': True, 'false': False}

Loader = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)


class Anchored(NamedTuple):
    """A value with an anchor.

    Attributes:
        value: value shared by all aliases.
        count: number of values in it, including itself.
        depth: nesting depth of containers, including itself.
    """

    value: Any
    count: int
    depth: int


def read_yaml(text: str) -> Any:
    """Return the single document of a YAML text, or None if it is empty.

    Raises:
        yaml.YAMLError: the text is not YAML, too large, or has tags, duplicate keys or keys that are not
        text.
    """
    return Builder(text).document()


class Builder:
    """Build values from the events of PyYAML's parser, and count them."""

    def __init__(self, text: str):
        self.events: Iterator[yaml.Event] = iter(yaml.parse(text, Loader))
        self.anchors: dict[str, Anchored | None] = {}  # None while its value is being read
        self.count = 0
        self.deepest = 0

    def document(self) -> Any:
        next(self.events)  # start of the stream
        if isinstance(next(self.events), yaml.StreamEndEvent):
            return None
        value = self.value(next(self.events), 1)
        next(self.events)  # end of the document
        second = next(self.events)
        if not isinstance(second, yaml.StreamEndEvent):
            raise fault('a second document begins', second)
        return value

    def value(self, event: yaml.Event, depth: int) -> Any:
        """Return the value that starts with an event, at nesting depth ``depth``."""
        if isinstance(event, yaml.AliasEvent):
            anchored = self.anchored(event)
            self.add(anchored.count, depth + anchored.depth - 1, event)
            return anchored.value
        if event.tag is not None and not (isinstance(event, yaml.ScalarEvent) and event.tag == '!'):
            raise fault(f'the tag {event.tag[:80]!r}', event)
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        before, deepest = self.count, self.deepest
        self.deepest = depth
        self.add(1, depth, event)
        if isinstance(event, yaml.MappingStartEvent):
            value = self.mapping(depth)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = [self.value(each, depth + 1) for each in self.until(yaml.SequenceEndEvent)]
        else:
            value = scalar(event)
        if event.anchor is not None:
            self.anchors[event.anchor] = Anchored(value, self.count - before, self.deepest - depth + 1)
        self.deepest = max(deepest, self.deepest)
        return value

    def mapping(self, depth: int) -> dict[str, Any]:
        own, merged = {}, {}
        for key in self.until(yaml.MappingEndEvent):
            if not isinstance(key, yaml.ScalarEvent) or key.tag is not None or len(key.value) > MAX_TEXT:
                raise fault(f'a key that is no text of up to {MAX_TEXT:,} characters', key)
            event = next(self.events)
            value = self.value(event, depth + 1)
            if key.value == '<<' and not key.style:
                for each in reversed(value) if isinstance(value, list) else [value]:
                    if not isinstance(each, dict):
                        raise fault('<< is given no mapping', event)
                    self.add(len(each), depth, event)
                    merged |= each
            elif key.value in own:
                raise fault(f'{key.value[:80]!r} is given twice', key)
            else:
                own[key.value] = value
        return merged | own

    def until(self, end: type[yaml.Event]) -> Iterator[yaml.Event]:
        while not isinstance(event := next(self.events), end):
            yield event

    def anchored(self, event: yaml.AliasEvent) -> Anchored:
        if event.anchor not in self.anchors:
            raise fault(f'nothing is called &{event.anchor[:80]}', event)
        anchored = self.anchors[event.anchor]
        if anchored is None:
            raise fault('a YAML alias leads back to itself', event)
        return anchored

    def add(self, count: int, depth: int, event: yaml.Event) -> None:
        self.count += count
        self.deepest = max(self.deepest, depth)
        if self.count > MAX_VALUES or depth > MAX_DEPTH:
            raise fault(
                f'more than {MAX_VALUES:,} values or {MAX_DEPTH} levels, with its aliases written out', event
            )


def scalar(event: yaml.ScalarEvent) -> Any:
    text = event.value
    if len(text) > MAX_TEXT:
        raise fault(f'text of {len(text):,} characters, more than {MAX_TEXT:,}', event)
    if event.style or event.tag == '!':  # for example in quotes
        return text
    if text in CONSTANTS:
        return CONSTANTS[text]
    number = NUMBER.fullmatch(text)
    if number is None:
        return text
    return float(text) if number[2] or number[3] else int(text)


def fault(problem: str, event: yaml.Event) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
