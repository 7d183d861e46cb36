"""Stand-ins for Slurm's commands that run jobs on this machine."""

import sys
from pathlib import Path

SBATCH = """
import itertools, json, os, pathlib, shutil, subprocess, sys
here = pathlib.Path(__file__).parent
first = next(i for i, word in enumerate(sys.argv) if word.endswith('.sh'))
options = dict(word[2:].split('=', 1) for word in sys.argv[1:first] if '=' in word)
(here / 'asked.json').write_text(json.dumps(sys.argv[1:first]))
spool = here / 'spool_script'  # as Slurm does
shutil.copy(sys.argv[first], spool)
os.environ.update(
    SLURM_JOB_ID='7007', SLURM_NTASKS=options['ntasks'], SLURM_CPUS_PER_TASK=options['cpus-per-task'],
    SLURM_NODELIST='here', SLURM_JOB_NODELIST='here',
)
for count in itertools.count():
    if count:
        os.environ['SLURM_RESTART_COUNT'] = str(count)
    code = subprocess.run(['bash', spool, *sys.argv[first + 1 :]]).returncode
    if not (here / 'requeued').exists():
        sys.exit(code)
    (here / 'requeued').unlink()
"""

# Sends signals to whole process groups, as Slurm does, and on request kills all after one failure.
SRUN = """
import os, pathlib, signal, subprocess, sys, time
first = next(i for i, word in enumerate(sys.argv) if i and not word.startswith('-'))
count = int(os.environ['SLURM_NTASKS'])
tasks = [
    subprocess.Popen(
        sys.argv[first:], start_new_session=True,
        env=dict(os.environ, SLURM_PROCID=str(rank), SLURM_LOCALID=str(rank)),
    )
    for rank in range(count)
]
if 'ENDS' in os.environ and 'SLURM_RESTART_COUNT' not in os.environ:  # once all tasks wait for it
    while len(list(pathlib.Path(__file__).parent.glob('waiting*'))) < count:
        time.sleep(0.05)
    for task in tasks:
        os.killpg(task.pid, signal.SIGUSR1)
while any(task.poll() is None for task in tasks):
    time.sleep(0.05)
    if '--kill-on-bad-exit=1' in sys.argv and any(task.poll() for task in tasks):
        for task in tasks:
            if task.poll() is None:
                os.killpg(task.pid, signal.SIGKILL)
sys.exit(max(task.wait() if task.wait() >= 0 else 128 - task.wait() for task in tasks))
"""

SCONTROL = """
import pathlib, sys
if sys.argv[1:] == ['requeue', '7007']:
    (pathlib.Path(__file__).parent / 'requeued').touch()
elif sys.argv[1] == 'show':
    print('127.0.0.1')
else:
    sys.exit(f'scontrol: {sys.argv[1:]}')
"""


def install(folder: Path, **others: str) -> Path:
    """Create a folder for the PATH with sbatch, srun, scontrol, and other commands given as Python code."""
    folder.mkdir()
    for name, code in dict(sbatch=SBATCH, srun=SRUN, scontrol=SCONTROL, **others).items():
        (folder / name).write_text(f'#!{sys.executable}{code}')
        (folder / name).chmod(0o755)
    return folder
