"""The number of processes that load data."""

import warnings

import pytest
from joblib import cpu_count
from mmengine.config import Config
from torch.utils.data import DataLoader

from mmconvnext.training.workers import fit_workers


def config(workers):
    return Config(
        dict(
            train_dataloader=dict(num_workers=workers),
            val_dataloader=dict(num_workers=1),
            test_dataloader=None,
        )
    )


def test_no_more_workers_than_cores_and_no_warning_of_torch():
    cfg = config(10_000)
    fit_workers(cfg, None)
    assert cfg.train_dataloader.num_workers == cpu_count()
    assert cfg.val_dataloader.num_workers == 1
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        DataLoader([0], num_workers=cfg.train_dataloader.num_workers)


def test_processes_of_a_machine_share_its_cores(monkeypatch):
    monkeypatch.setenv('LOKY_MAX_CPU_COUNT', '6')  # the maximum that joblib counts
    monkeypatch.setenv('LOCAL_WORLD_SIZE', str(2 * cpu_count()))
    cfg = config(6)
    fit_workers(cfg, {})
    assert cfg.train_dataloader.num_workers == 1


@pytest.mark.parametrize(
    'options', [{'train_dataloader.num_workers': 40}, {'train_dataloader': dict(num_workers=40)}]
)
def test_a_number_on_the_command_line_is_kept(options):
    cfg = config(40)
    fit_workers(cfg, options)
    assert cfg.train_dataloader.num_workers == 40
