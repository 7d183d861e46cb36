"""Run ``test_triton_*.py`` in a process in which Triton interprets kernels from the start.

Triton decides on import, and another test may have imported it before. To debug a test in this process:
``TRITON_INTERPRET=1 MMCONVNEXT_TRITON=1 pytest tests/test_ops/test_triton_grn.py``.
"""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

INTERPRETER = {'TRITON_INTERPRET': '1', 'MMCONVNEXT_TRITON': '1'}


def pytest_pycollect_makemodule(module_path, parent):
    if not module_path.name.startswith('test_triton_') or INTERPRETER.items() <= os.environ.items():
        return None
    return InterpretedFile.from_parent(parent, path=module_path)


class InterpretedFile(pytest.File):
    def collect(self):
        run = InterpretedRun.from_parent(self, name='in_the_interpreter')
        run.add_marker('slow')
        yield run


class InterpretedRun(pytest.Item):
    def runtest(self):
        if find_spec('triton') is None:
            pytest.skip('triton is not installed')
        command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', self.path]
        environment = {**os.environ, **INTERPRETER}
        done = subprocess.run(
            command, cwd=self.config.rootpath, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def repr_failure(self, excinfo):
        return str(excinfo.value) if excinfo.errisinstance(AssertionError) else super().repr_failure(excinfo)

    def reportinfo(self):
        return self.path, 0, self.path.stem
