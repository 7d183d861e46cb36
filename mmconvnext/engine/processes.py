"""Start distributed processes and make decisions in the first one."""

import os
import subprocess
from collections.abc import Callable
from typing import TypeVar

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dist import broadcast_object_list, init_dist, is_distributed, is_main_process

from ..errors import UserError

Decision = TypeVar('Decision')


def init_distributed(cfg: Config, launcher: str) -> None:
    """Join the process group of the launcher; use gloo without GPUs."""
    cfg.launcher = launcher
    if launcher != 'none' and not torch.cuda.is_available():
        # mmengine takes for granted that there are GPUs.
        wrapper = cfg.setdefault('model_wrapper_cfg', ConfigDict(type='MMDistributedDataParallel'))
        wrapper.setdefault('device_ids', None)
        if not is_distributed():
            if launcher == 'slurm':
                name_slurm_processes()
            torch.distributed.init_process_group('gloo')
    elif launcher != 'none' and not is_distributed():
        init_dist(launcher, **cfg.get('env_cfg', {}).get('dist_cfg', {}))


def name_slurm_processes() -> None:
    """Set the variables by which torch's processes find each other from those of a Slurm step."""
    numbers = dict(RANK='SLURM_PROCID', LOCAL_RANK='SLURM_LOCALID', WORLD_SIZE='SLURM_NTASKS')
    os.environ.update({name: os.environ[theirs] for name, theirs in numbers.items()})
    if 'MASTER_ADDR' not in os.environ:
        command = ['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']]
        os.environ['MASTER_ADDR'] = subprocess.check_output(command, text=True).split()[0]
    os.environ.setdefault('MASTER_PORT', '29500')


def decided_by_first(decide: Callable[[], Decision]) -> Decision:
    """Call a function in the first process only, and return its result in every process.

    On a network file system, processes may see different files. Every process must call this; any error ends
    all of them, because the others would wait forever.

    Raises:
        UserError: the error of the first process; the other processes raise any of its errors as UserError.
    """
    outcome, raised = [None, None], None
    if is_main_process():
        try:
            outcome[0] = decide()
        except Exception as error:  # any error: the others would wait forever
            raised = error
            outcome[1] = str(error) if isinstance(error, UserError) else f'{type(error).__name__}: {error}'
    broadcast_object_list(outcome)
    if raised is not None:
        raise raised
    if outcome[1] is not None:
        raise UserError(outcome[1])
    return outcome[0]
