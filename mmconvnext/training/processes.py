"""Join the processes that train or test together."""

import os
import subprocess

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dist import init_dist, is_distributed


def init_distributed(cfg: Config, launcher: str) -> None:
    """Join the other processes of the launcher; over gloo where there are no GPUs."""
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
