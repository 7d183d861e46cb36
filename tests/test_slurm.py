"""Jobs requeue themselves and resume, with stand-ins for Slurm's commands."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests import slurm
from tests.conftest import REPO

# A stand-in for python that records its arguments and exits with the next of the given codes.
CALLED = """
import json, os, pathlib, signal, sys, time
here = pathlib.Path(__file__).parent
rank, restart = os.environ['SLURM_PROCID'], int(os.environ.get('SLURM_RESTART_COUNT', 0))
with open(here / f'calls{rank}', 'a') as file:
    file.write(json.dumps(sys.argv[1:]) + '\\n')
codes = json.loads(os.environ['CODES'])
if 'ENDS' in os.environ and not restart:
    signal.signal(signal.SIGUSR1, lambda *_: sys.exit(75))
    (here / f'waiting{rank}').touch()
    time.sleep(60)
time.sleep(0.5 * int(rank))
sys.exit(codes[restart])
"""


def submit(bin_folder, *arguments, cwd, **env):
    path = os.pathsep.join([str(bin_folder), str(Path(sys.executable).parent), os.environ['PATH']])
    return subprocess.run(
        ['bash', str(REPO / 'tools/slurm_train.sh'), *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, 'PATH': path, 'PYTHONPATH': str(REPO), 'OMP_NUM_THREADS': '1', 'GPUS': '2', **env},
        capture_output=True,
        text=True,
    )


def calls(folder, rank=0):
    return [json.loads(line) for line in (folder / f'calls{rank}').read_text().splitlines()]


def test_the_job_asks_for_what_it_needs_and_hands_over_everything(tmp_path):
    commands = slurm.install(tmp_path / 'bin', python=CALLED)
    arguments = ['part', 'my job', 'a config.py', 'runs/a b', '--amp', '--cfg-options', "a='x y'"]
    sizes = dict(GPUS='4', GPUS_PER_NODE='2', CPUS_PER_TASK='3', SBATCH_ARGS='--time=1:00 --qos=low')
    result = submit(commands, *arguments, cwd=tmp_path, CODES='[0]', **sizes)
    assert result.returncode == 0, result.stderr
    asked = json.loads((commands / 'asked.json').read_text())
    assert asked == [
        *('--partition=part', '--job-name=my job', '--ntasks=4', '--ntasks-per-node=2', '--gres=gpu:2'),
        *('--cpus-per-task=3', '--export=ALL', '--requeue', '--open-mode=append', '--signal=USR1@120'),
        *('--time=1:00', '--qos=low'),
    ]
    train = ['-u', str(REPO / 'tools/train.py'), 'a config.py', '--launcher', 'slurm']
    for rank in range(4):
        assert calls(commands, rank) == [[*train, '--work-dir', 'runs/a b', '--amp', *arguments[5:]]]


def test_a_job_that_saved_and_stopped_is_requeued_and_resumes(tmp_path):
    commands = slurm.install(tmp_path / 'bin', python=CALLED)
    result = submit(commands, 'part', 'job', 'config.py', cwd=tmp_path, CODES='[75, 75, 0]')
    assert result.returncode == 0, result.stderr
    for rank in range(2):
        assert [call[-2:] == ['--resume', 'auto'] for call in calls(commands, rank)] == [False, True, True]
    assert [file.name for file in tmp_path.iterdir()] == ['bin']


def test_the_warning_before_the_end_leads_to_a_requeue_though_shells_get_it_too(tmp_path):
    commands = slurm.install(tmp_path / 'bin', python=CALLED)
    result = submit(commands, 'part', 'job', 'config.py', cwd=tmp_path, CODES='[1, 0]', ENDS='soon')
    assert result.returncode == 0, result.stderr
    assert len(calls(commands)) == 2


def test_a_job_that_fails_ends_all_its_processes_and_is_not_requeued(tmp_path):
    # The first process fails while the second would run for a minute.
    goes_on = "time.sleep(60 * int(rank)); (here / f'ended{rank}').touch()"
    slow = CALLED.replace('time.sleep(0.5 * int(rank))', goes_on)
    commands = slurm.install(tmp_path / 'bin', python=slow)
    result = submit(commands, 'part', 'job', 'config.py', cwd=tmp_path, CODES='[1, 0]')
    assert result.returncode != 0
    assert len(calls(commands)) == 1
    assert [file.name for file in commands.glob('ended*')] == ['ended0']


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason='each of the two processes would need a GPU')
def test_two_processes_of_a_job_train_together_without_gpus(tiny_config, tmp_path):
    commands = slurm.install(tmp_path / 'bin')
    result = submit(
        commands,
        'part',
        'job',
        tiny_config,
        tmp_path / 'work',
        '--no-validate',
        cwd=tmp_path,
        CPUS_PER_TASK='1',
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert 'Distributed launcher: slurm' in next((tmp_path / 'work').glob('*/*.log')).read_text()
    assert torch.load(tmp_path / 'work/epoch_2.pth', weights_only=False)['meta']['iter'] == 4
