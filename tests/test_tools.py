"""The tools as users call them: exit codes, messages, and several processes."""

import argparse
import http.server
import json
import os
import runpy
import sys
import threading
import time
import warnings

import pytest
import torch

from mmconvnext.apis import train
from mmconvnext.command_line import run_tool
from tests.conftest import REPO
from tests.processes import call, free_port

TOOLS = sorted((REPO / 'tools').glob('*.py'))
DIGITS = 'configs/digits/convnext-atto_1xb48_digits.py'


@pytest.mark.parametrize('tool', TOOLS, ids=lambda tool: tool.name)
def test_every_tool_can_be_started_and_explains_itself(tool, monkeypatch, capsys):
    assert os.access(tool, os.X_OK)
    monkeypatch.setattr(sys, 'argv', [str(tool), '--help'])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(tool), run_name='__main__')
    assert ended.value.code == 0
    assert 'usage' in capsys.readouterr().out


def test_help_comes_without_importing_torch():
    """Importing torch takes seconds, and so do mmpretrain and our own modules."""
    for tool in TOOLS:
        if tool.name == 'convert.py':  # --help lists the formats
            continue
        done = call('python', '-X', 'importtime', tool, '--help')
        imported = {line.rpartition('|')[2].strip() for line in done.stderr.splitlines()}
        assert 'argparse' in imported
        assert not imported & {'torch', 'mmpretrain', 'mmconvnext.apis'}, tool


@pytest.mark.parametrize(
    ('command', 'message'),
    [
        (
            ['tools/train.py', 'configs/convnext/convnext-tiny_32xb128_in1k.py'],
            'data/imagenet is not a folder',
        ),
        (['tools/test.py', DIGITS, 'none.pth'], 'checkpoint none.pth does not exist'),
        (['tools/plot_run.py', 'nowhere', '--out', 'out.png'], 'nowhere has no training log'),
        (['tools/plot_predictions.py', DIGITS, 'none.pth', 'out.png'], 'none.pth does not exist'),
    ],
)
def test_wrong_input_ends_in_one_message_and_a_bad_exit_code(command, message, tmp_path):
    tool, *arguments = command
    arguments = [REPO / a if a.startswith('configs') else a for a in arguments]
    result = call(REPO / tool, *arguments, cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith('Error: '), result.stderr
    assert message in result.stderr
    assert 'Traceback' not in result.stderr + result.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_digits_reach_98_percent_in_two_processes_that_stop_and_resume(tmp_path):
    """All steps of docs/start.md: train in two processes, stop, resume, test and plot."""
    work_dir = tmp_path / 'two'
    options = ['--cfg-options', 'train_dataloader.batch_size=24']
    port = dict(PORT=str(free_port()))
    command = ['tools/dist_train.sh', DIGITS, 2, '--work-dir', work_dir]
    first = call(*command, *options, 'train_cfg.max_epochs=6', **port)
    assert first.returncode == 0, first.stderr[-2000:]
    second = call(*command, '--resume', *options, **port)
    assert second.returncode == 0, second.stderr[-2000:]
    log = sorted(work_dir.glob('*/*.log'))[-1].read_text()
    assert 'resumed epoch: 6' in log
    assert 'Distributed training: True' in log

    tested = call('tools/test.py', DIGITS, work_dir / 'epoch_12.pth', '--work-dir', tmp_path / 'test')
    top1 = float(tested.stdout.split('accuracy/top1: ')[1].split()[0])
    assert top1 >= 98
    validated = [line for line in log.splitlines() if 'Epoch(val) [12]' in line]
    assert f'accuracy/top1: {top1:.4f}' in validated[-1]
    both = call(
        'tools/dist_test.sh', DIGITS, work_dir / 'epoch_12.pth', 2, '--work-dir', tmp_path / 'b', **port
    )
    assert f'accuracy/top1: {top1:.4f}' in both.stdout, both.stderr[-2000:]


@pytest.mark.slow
def test_two_processes_download_a_checkpoint_once(tiny_config, tmp_path):
    """The server is slow, so the second process has to wait for the first."""
    train(
        tiny_config, work_dir=str(tmp_path / 'w'), no_validate=True, cfg_options={'train_cfg.max_epochs': 1}
    )
    requests = []

    class Slow(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(tmp_path / 'w'))

        def do_GET(self):  # noqa: N802, the name that http.server calls
            requests.append(self.path)
            time.sleep(3)
            super().do_GET()

    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Slow) as server:
        threading.Thread(target=server.serve_forever).start()
        url = f'http://127.0.0.1:{server.server_port}/epoch_1.pth'
        env = dict(MMCONVNEXT_HOME=str(tmp_path / 'cache'), PORT=str(free_port()))
        result = call('tools/dist_test.sh', tiny_config, url, 2, '--work-dir', tmp_path / 'test', **env)
        server.shutdown()
    assert 'accuracy/top1' in result.stdout, result.stderr[-2000:]
    assert requests == ['/epoch_1.pth']


@pytest.mark.parametrize(
    ('script', 'arguments', 'expected'),
    [
        (
            'slurm_test.sh',
            ['config.py', 'net.pth', '--tta'],
            'tools/test.py config.py net.pth --launcher slurm --tta',
        ),
    ],
)
def test_slurm_test_hands_over_everything(tmp_path, script, arguments, expected):
    """Without a cluster, a stand-in for srun prints its arguments."""
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\necho "$@"\n')
    srun.chmod(0o755)
    env = dict(PATH=f'{tmp_path}{os.pathsep}{os.environ["PATH"]}', GPUS='16', SRUN_ARGS='--time 1:00')
    asked = call('bash', f'tools/{script}', 'part', 'job', *arguments, **env).stdout
    assert asked.strip().endswith(f'--time 1:00 python -u {expected}')
    assert '--partition=part --job-name=job --ntasks=16 --ntasks-per-node=8 --gres=gpu:8' in asked


@pytest.mark.parametrize('script', sorted((REPO / 'tools').glob('*.sh')), ids=lambda script: script.name)
def test_scripts_without_arguments_say_how_to_use_them(script):
    result = call('bash', script)
    assert result.returncode != 0
    assert f'usage: {script.name}' in result.stderr


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason='tests the message for machines without a GPU')
def test_two_processes_that_cannot_start_say_why(tmp_path):
    port = dict(PORT=str(free_port()))
    result = call('tools/dist_train.sh', DIGITS, 2, '--work-dir', tmp_path, '--resume', 'latest', **port)
    assert result.returncode != 0
    assert result.stderr.count('Error: --resume') == 1
    assert 'holds no checkpoint to continue from' in result.stderr


def test_cost_of_protection_is_measured(tiny_config):
    result = call('python', 'tools/benchmarks/cost_of_protection.py', tiny_config, '--pairs', 1)
    row = json.loads(result.stdout.splitlines()[-1])
    assert row['percent_inside'] > 0, result.stderr[-2000:]


def test_warnings_are_told_as_notes(monkeypatch, capsys):
    monkeypatch.setattr(warnings, 'showwarning', warnings.showwarning)  # restored after the test
    run_tool(lambda: warnings.warn('the crop is a guess', stacklevel=1), argparse.Namespace())
    assert capsys.readouterr().err == 'Note: the crop is a guess\n'


def test_errors_notes_and_logs_quote_names_without_their_terminal_codes():
    code = """
import logging, warnings
from argparse import Namespace
from mmconvnext.command_line import run_tool
from mmconvnext.errors import UserError
NAME = 'a\\x1b]0;evil\\x07\\x9b2J\\u202eb'
def function():
    warnings.warn(f'first {NAME}')
    logging.getLogger('x').warning('second %s', NAME)
    raise UserError(f'third {NAME}\\nsecond line')
run_tool(function, Namespace())
"""
    done = call(sys.executable, '-c', code)
    assert done.returncode == 1
    assert all(word in done.stderr for word in ('first', 'second', 'third', '\nsecond line\n'))
    assert done.stderr.count(r'a\x1b]0;evil\x07\x9b2J\u202eb') == 3
    assert all(c.isprintable() or c == '\n' for c in done.stderr)
