"""Trainings in processes of their own, which can be killed at a chosen moment."""

import importlib
import os
import signal
import socket
from multiprocessing import get_context

CONTEXT = get_context('forkserver')
CONTEXT.set_forkserver_preload(['mmconvnext.apis', 'mmpretrain.datasets', 'mmpretrain.models'])


def run(config, work_dir, options, *, ranks=1, kill=None, preload=None, **kwargs):
    """Exit codes of ``train`` in one process for each rank.

    Args:
        kill: ``(place, count)``: SIGKILL, in every process, when ``module:name.of.function`` is called for
            the count-th time.
        preload: a module that registers what the config names.
    """
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
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
    """Replace a function by one that ends this process at the count-th call."""
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
