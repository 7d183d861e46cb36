"""The config gets the values that people type after --cfg-options."""

import argparse
import math

import pytest

from mmconvnext.cfg_options import parse_value
from mmconvnext.command_line import add_cfg_options


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('/my data/two  spaces', '/my data/two  spaces'),
        (' x ', ' x '),
        ('a=b=c', 'a=b=c'),
        ("it's fine", "it's fine"),
        ('größer 猫', 'größer 猫'),
        ('C:\\dir', 'C:\\dir'),
        ('mmconvnext://convnext_tiny.fb_in1k', 'mmconvnext://convnext_tiny.fb_in1k'),
        ('', ''),
        ('3', 3),
        ('-1', -1),
        ('1e-3', 0.001),
        ('007', 7),
        ('true', True),
        ('None', None),
        ("'123'", '123'),
        ('"a,b"', 'a,b'),
        ('[a,b]', ['a', 'b']),
        ('a, b', ['a', 'b']),
        ('[big cat, "small, dog"]', ['big cat', 'small, dog']),
        ("[it's, ok]", ["it's", 'ok']),
        ('(224, 224)', (224, 224)),
        ('[(1,2),[3,x]]', [(1, 2), [3, 'x']]),
        ('[None,true,1.5]', [None, True, 1.5]),
        ('[]', []),
        ('{"a": 1}', {'a': 1}),
        ('a[', 'a['),
        ('smile:)', 'smile:)'),
        ('["a", "b"]', ['a', 'b']),
        ('"[1, 2]"', '[1, 2]'),
        ('"“a”"', '“a”'),
        ('a “b”', 'a “b”'),
        ('(a b)', '(a b)'),
        ('f(x, y)', 'f(x, y)'),
        ('{1, 2}', '{1, 2}'),
        ('1j', '1j'),
        ("b'x'", "b'x'"),
    ],
)
def test_value_is_what_the_text_says(text, value):
    parsed = parse_value(text)
    assert parsed == value
    assert type(parsed) is type(value)


def test_nan_and_deep_brackets_are_values_too():
    assert math.isnan(parse_value('nan'))
    parse_value('[' * 300 + ']' * 300)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('"a" "b"', 'side by side'),
        ("'a''b'", 'side by side'),
        ('["a" "b", "c"]', 'side by side'),
        ('{"k": "a" \'b\'}', 'side by side'),
        ('[1,2', 'no counterpart'),
        ('[1,2))', 'no counterpart'),
        ('1,2]', 'no counterpart'),
        ('"abc', 'no counterpart'),
        ('[“a”, “b”]', 'typographic'),
        ('“a b”', 'typographic'),
        ('„a“', 'typographic'),
        ('a,’b’', 'typographic'),
    ],
)
def test_quotes_and_brackets_that_do_not_match_are_an_error(text, message):
    with pytest.raises(argparse.ArgumentError, match=message) as error:
        parse('--cfg-options', f'key={text}')
    assert repr(f'key={text}') in str(error.value)


def parse(*arguments):
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_cfg_options(parser, 'a=1')
    return parser.parse_args(arguments).cfg_options


def test_options_given_twice_are_all_kept():
    assert parse('--cfg-options', 'a=1', 'b.c=x y', '--cfg-options', 'd=2') == {'a': 1, 'b.c': 'x y', 'd': 2}


@pytest.mark.parametrize('text', ['a', '=1', 'a..b=1', ' =1', '.a=1'])
def test_what_is_no_key_and_value_is_refused(text):
    with pytest.raises(argparse.ArgumentError, match='is not KEY=VALUE'):
        parse('--cfg-options', text)
