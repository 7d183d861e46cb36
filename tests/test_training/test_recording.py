"""Logs of TensorBoard and Weights & Biases, read back."""

import json
import sys

import pytest

from mmconvnext.apis import load_config, train
from mmconvnext.errors import UserError
from mmconvnext.training.recording import add_loggers

OPTIONS = {'default_hooks.logger.interval': 2}


def test_tensorboard_shows_a_resumed_run_as_one(tiny_config, tmp_path):
    pytest.importorskip('tensorboard')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    work_dir = tmp_path / 'work'
    options = dict(work_dir=str(work_dir), log=['tensorboard'])
    train(tiny_config, **options, cfg_options={**OPTIONS, 'train_cfg.max_epochs': 3})
    # Killed after the second epoch or later: the third was logged but not saved.
    (work_dir / 'epoch_3.pth').unlink()
    (work_dir / 'last_checkpoint').write_text(str(work_dir / 'epoch_2.pth'))
    runner = train(tiny_config, **options, resume='auto', cfg_options={**OPTIONS, 'train_cfg.max_epochs': 4})

    events = EventAccumulator(str(work_dir / 'tensorboard'), size_guidance=dict(scalars=0)).Reload()
    loss = events.Scalars('loss')
    assert [event.step for event in loss] == [2, 4, 6, 8, 10, 12, 14, 16]
    assert [event.step for event in events.Scalars('accuracy/top1')][-1] == 4
    assert 'images_per_s' in events.Tags()['scalars']
    # Local logs continue as before.
    rows = json.loads((next(iter(sorted(work_dir.glob('2*')))) / 'vis_data/scalars.json').open().readline())
    assert rows['step'] == 2
    assert runner.iter == 16


def test_wandb_goes_on_with_its_run(tiny_config, tmp_path, monkeypatch):
    wandb = pytest.importorskip('wandb')
    monkeypatch.setenv('WANDB_MODE', 'offline')
    monkeypatch.setenv('WANDB_SILENT', 'true')
    work_dir = tmp_path / 'work'
    options = dict(work_dir=str(work_dir), log=['wandb'])
    train(tiny_config, **options, cfg_options={**OPTIONS, 'train_cfg.max_epochs': 1})
    first = (work_dir / 'wandb_id').read_text()
    train(tiny_config, **options, resume='auto', cfg_options=OPTIONS)
    assert (work_dir / 'wandb_id').read_text() == first
    recorded = sorted(work_dir.glob('wandb/offline-run-*'))
    assert len(recorded) == 2
    assert all(folder.name.endswith(first.strip()) for folder in recorded)
    assert wandb.run is None


def test_new_run_in_an_old_folder_gets_a_new_wandb_run(tiny_config, tmp_path):
    pytest.importorskip('wandb')
    (tmp_path / 'wandb_id').write_text('abc')
    ids = []
    for resume in (True, False):
        cfg = load_config(tiny_config)
        cfg.work_dir, cfg.resume = str(tmp_path), resume
        add_loggers(cfg, ['wandb'])
        ids.append(cfg.visualizer.vis_backends[-1].init_kwargs.id)
    assert ids[0] == 'abc'
    assert ids[1] != 'abc'


def test_logger_of_the_config_is_replaced_and_not_doubled(tiny_config, tmp_path):
    pytest.importorskip('tensorboard')
    cfg = load_config(tiny_config)
    cfg.work_dir = str(tmp_path)
    cfg.visualizer.vis_backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
    add_loggers(cfg, ['tensorboard'])
    kinds = [backend['type'] for backend in cfg.visualizer.vis_backends]
    assert kinds == ['LocalVisBackend', 'mmconvnext.TensorboardBackend']


def test_missing_package_is_told_before_anything_is_written(tiny_config, tmp_path, monkeypatch):
    # Python treats this as a missing package.
    monkeypatch.setitem(sys.modules, 'wandb', None)
    with pytest.raises(UserError, match=r'--log wandb: .*pip install "mmconvnext\[wandb\]"'):
        train(tiny_config, work_dir=str(tmp_path / 'work'), log=['wandb'])
    assert not (tmp_path / 'work').exists()
