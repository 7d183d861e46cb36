"""Untrusted names and messages are made safe for terminals, tables and JSON."""

import csv
import json
import pickle
import traceback
from io import StringIO
from pathlib import Path

import pytest

from mmconvnext.errors import RunError, UserError
from mmconvnext.text import counted, csv_cell, json_text, printable, printable_lines

FORMULAS = [
    '=1+1',
    '+cmd',
    '-x',
    '@SUM(A1)',
    '  =1',
    '|calc',
    '%x',
    '＝1',
    'a;=1',
    'a; +b',
    '=HYPERLINK("x")',
]


@pytest.mark.parametrize('text', FORMULAS)
def test_no_cell_begins_like_a_formula_wherever_it_is_split(text):
    cell = csv_cell(text)
    assert all(part.strip()[0] not in '=+-@|%＝' for part in cell.split(';'))
    assert cell.replace("'", '') == text


@pytest.mark.parametrize(
    'text', ['\t=1', '\r=1', '\n=1', 'a\r\n=1', 'a\x00', 'a\x1b[2J', '\ufeff=1', '\u202e=1']
)
def test_a_cell_has_one_line_and_no_controls(text):
    file = StringIO()
    csv.writer(file, lineterminator='\n').writerow(['a', csv_cell(text), 'b'])
    assert file.getvalue().count('\n') == 1 and all(map(str.isprintable, file.getvalue()[:-1]))
    assert csv_cell(text)[0] not in '=\t\r'


@pytest.mark.parametrize(
    'value', [-1, 2.5, None, '-5', '+1e5', '-0.25', '3', 'cat', "it's", 'a-b', 'گربه\u200cها', '猫　犬']
)
def test_numbers_and_harmless_names_stay_as_they_are(value):
    assert csv_cell(value) == value


def test_paths_are_text():
    assert csv_cell(Path('=a.png')) == "'=a.png"


@pytest.mark.parametrize(
    'c', ['\x1b', '\x07', '\x08', '\x9b', '\x7f', '\u202e', '\u2066', '\u2028', '\u200f', '\udc80']
)
def test_what_a_terminal_obeys_is_escaped(c):
    shown = printable(f'a{c}b')
    assert c not in shown and shown.startswith('a\\') and shown.endswith('b')
    assert printable_lines(f'x\na{c}b') == f'x\n{shown}'
    text = json_text({'name': c})
    assert c not in text and json.loads(text) == {'name': c}


def test_json_has_null_where_there_is_no_finite_number():
    value = {'a': float('nan'), 'b': [1.5, -float('inf'), (float('inf'), 'NaN')]}
    assert json.loads(json_text(value, indent=1)) == {'a': None, 'b': [1.5, None, [None, 'NaN']]}


@pytest.mark.parametrize('kind', [UserError, RunError])
def test_no_message_of_an_error_is_obeyed_by_a_terminal(kind):
    """Whoever shows it: tools, logs, the page, a traceback, another process."""
    error = kind('a\x1b[2J\x9b.png,\rb\u202e, c\udcff:\n  d\x07')
    shown = r'a\x1b[2J\x9b.png,\rb\u202e, c\udcff:' + '\n  ' + r'd\x07'
    assert str(error) == shown
    assert str(pickle.loads(pickle.dumps(error))) == shown
    assert '\x1b' not in ''.join(traceback.format_exception(error))


@pytest.mark.parametrize(
    ('number', 'noun', 'text'),
    [
        (0, 'image', 'no images'),
        (1, 'class', '1 class'),
        (2, 'class', '2 classes'),
        (1, 'batch', '1 batch'),
        (3, 'batch', '3 batches'),
        (1024, 'file', '1,024 files'),
    ],
)
def test_a_noun_follows_its_number(number, noun, text):
    assert counted(number, noun) == text
