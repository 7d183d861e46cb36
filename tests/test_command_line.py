"""Steps that every tool takes before its function runs."""

import logging
import warnings
from argparse import Namespace

import pytest

from mmconvnext import command_line
from mmconvnext.command_line import run_tool


@pytest.fixture(autouse=True)
def _put_back(monkeypatch):
    monkeypatch.setattr(warnings, 'showwarning', warnings.showwarning)
    factory = logging.getLogRecordFactory()
    yield
    logging.setLogRecordFactory(factory)


def test_tools_keep_freed_memory_from_the_start(monkeypatch):
    calls = []
    monkeypatch.setattr(command_line, 'keep_freed_memory', lambda: calls.append('memory'))
    run_tool(lambda name: calls.append(name), Namespace(name='tool'))
    assert calls == ['memory', 'tool']
