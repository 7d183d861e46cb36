"""The tools as a user calls them: exit codes, messages, several processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import REPO

DIGITS = 'configs/digits/convnext-atto_1xb48_digits.py'


def call(*command, cwd=REPO, **env):
    """Run a command with this Python first on the path and no colours."""
    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    return subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**os.environ, 'PATH': path, 'PYTHONPATH': str(REPO), 'OMP_NUM_THREADS': '1', **env},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize('tool', sorted((REPO / 'tools').glob('*.py')), ids=lambda tool: tool.name)
def test_every_tool_explains_itself(tool):
    result = call(tool, '--help')
    assert result.returncode == 0, result.stderr
    assert 'usage' in result.stdout


@pytest.mark.parametrize(
    ('command', 'message'),
    [
        (
            ['tools/train.py', 'configs/convnext/convnext-tiny_32xb128_in1k.py'],
            'data/imagenet is not a folder',
        ),
        (['tools/test.py', DIGITS, 'none.pth'], 'checkpoint none.pth does not exist'),
        (['tools/plot_curves.py', 'nowhere', 'out.png'], 'nowhere has no training log'),
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
def test_digits_reach_98_percent_on_one_and_on_two_processes_and_resume(tmp_path):
    """The whole way of the README: train in two processes, stop, resume, test, draw."""
    work_dir = tmp_path / 'two'
    options = ['--cfg-options', 'train_dataloader.batch_size=24']
    port = dict(PORT=str(29500 + os.getpid() % 1000))
    command = ['tools/dist_train.sh', DIGITS, 2, '--work-dir', work_dir]
    first = call(*command, *options, 'train_cfg.max_epochs=6', 'param_scheduler.1.end=12', **port)
    assert first.returncode == 0, first.stderr[-2000:]
    second = call(*command, '--resume', *options, **port)
    assert second.returncode == 0, second.stderr[-2000:]
    log = sorted(work_dir.glob('*/*.log'))[-1].read_text()
    assert 'resumed epoch: 6' in log
    assert 'Distributed training: True' in log

    tested = call('tools/test.py', DIGITS, work_dir / 'epoch_12.pth', '--work-dir', tmp_path / 'test')
    top1 = float(tested.stdout.split('accuracy/top1: ')[1].split()[0])
    assert top1 >= 98
    assert f'accuracy/top1: {top1:.4f}' in log.splitlines()[-1] or f'accuracy/top1: {top1:.4f}' in log
    both = call(
        'tools/dist_test.sh', DIGITS, work_dir / 'epoch_12.pth', 2, '--work-dir', tmp_path / 'b', **port
    )
    assert f'accuracy/top1: {top1:.4f}' in both.stdout, both.stderr[-2000:]


def test_slurm_scripts_hand_over_everything(tmp_path):
    """With an srun that prints what it is asked to do: there is no cluster here."""
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    path = f'{tmp_path}{os.pathsep}{os.environ["PATH"]}'
    for script, arguments, tool in (
        ('slurm_train.sh', ['part', 'job', 'config.py', '--amp'], 'train.py'),
        ('slurm_test.sh', ['part', 'job', 'config.py', 'net.pth', '--tta'], 'test.py'),
    ):
        result = call(
            'bash', f'tools/{script}', *arguments, PATH=path, GPUS='16', SRUN_ARGS='--time 1:00 --mem 8G'
        )
        words = result.stdout.split('\n')
        assert {
            '--partition=part',
            '--job-name=job',
            '--ntasks=16',
            '--ntasks-per-node=8',
            '--gres=gpu:8',
        } < set(words)
        assert words[words.index('--time') + 1] == '1:00'
        assert f'tools/{tool}' in words
        assert words[words.index(f'tools/{tool}') + 1 : -1] == [
            *arguments[2 : 3 if tool == 'train.py' else 4],
            '--launcher',
            'slurm',
            arguments[-1],
        ]


@pytest.mark.skipif(torch.cuda.is_available(), reason='the message is for machines without a GPU')
def test_two_processes_that_cannot_start_say_why(tmp_path):
    port = dict(PORT=str(30500 + os.getpid() % 1000))
    result = call('tools/dist_train.sh', DIGITS, 2, '--work-dir', tmp_path, '--resume', **port)
    assert result.returncode != 0
    assert 'holds no checkpoint to go on from' in result.stderr
