"""Run tools and trainings in processes forked from one that has imported the libraries."""

import importlib
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from multiprocessing import get_context, reduction
from pathlib import Path

from tests.conftest import REPO

CONTEXT = get_context('forkserver')
# All tests share this context, so it preloads the imports of all.
CONTEXT.set_forkserver_preload(['pytest', 'mmconvnext.apis', 'mmpretrain.datasets', 'mmpretrain.models'])


def call(*command, cwd=REPO, **env):
    """Run a command with this Python first on the PATH and without colors."""
    tool, *arguments = map(str, command)
    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    env = {**os.environ, 'PATH': path, 'PYTHONPATH': str(REPO), 'OMP_NUM_THREADS': '1', **env}
    if tool.endswith('.py') and 'tools' in Path(tool).parts:
        return call_tool(str(Path(cwd, tool)), arguments, cwd, env)
    return subprocess.run([tool, *arguments], cwd=cwd, env=env, capture_output=True, text=True)


def call_tool(tool, arguments, cwd, env):
    """Run a tool as a shell would, but without the ten seconds that importing the libraries takes."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        fds = [reduction.DupFd(stream.fileno()) for stream in (stdout, stderr)]
        process = CONTEXT.Process(target=_run_tool, args=(tool, arguments, str(cwd), env, fds))
        process.start()
        process.join()
        said = []
        for stream in (stdout, stderr):
            stream.seek(0)
            said.append(stream.read().decode())
    return subprocess.CompletedProcess([tool, *arguments], process.exitcode, *said)


def _run_tool(tool, arguments, cwd, env, fds):
    import torch

    for fd, stream in zip(fds, (1, 2), strict=True):
        os.dup2(fd.detach(), stream)
    os.chdir(cwd)
    os.environ.update(env)
    sys.path[:0] = env['PYTHONPATH'].split(os.pathsep)
    torch.set_num_threads(1)
    sys.argv = [tool, *arguments]
    runpy.run_path(tool, run_name='__main__')


def run(config, work_dir, options, *, ranks=1, kill=None, preload=None, **kwargs):
    """Run ``train`` in one process per rank and return the exit codes.

    Args:
        kill: ``(place, count)``: kill every process when it calls ``module:name.of.function`` for the
            ``count``-th time.
        preload: a module that registers the types in the config.
    """
    port = free_port()
    processes = [
        CONTEXT.Process(
            target=_train, args=(config, work_dir, options, rank, ranks, port, kill, preload, kwargs)
        )
        for rank in range(ranks)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return free.getsockname()[1]


def _train(config, work_dir, options, rank, ranks, port, kill, preload, kwargs):
    import torch

    from mmconvnext.apis import train
    from mmconvnext.command_line import run_tool

    torch.set_num_threads(1)
    if ranks > 1:
        place = dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=ranks, MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
        os.environ.update({name: str(value) for name, value in place.items()})
        kwargs = dict(kwargs, launcher='pytorch')
    if preload is not None:
        importlib.import_module(preload)
    if kill is not None:
        kill_at(*kill)
    run_tool(lambda **arguments: train(**arguments), _Arguments(config, work_dir, options, kwargs))


class _Arguments:
    def __init__(self, config, work_dir, options, kwargs):
        self.__dict__.update(config=config, work_dir=str(work_dir), cfg_options=options, **kwargs)


def kill_at(place, count):
    """Replace a function by one that kills this process at the ``count``-th call."""
    module, _, path = place.partition(':')
    *owners, name = path.split('.')
    owner = importlib.import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    function, calls = getattr(owner, name), 0

    def counted(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)

    setattr(owner, name, counted)
