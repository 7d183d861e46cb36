"""What of a run reaches the screen."""

import logging
import signal

import pytest
import torch
from mmengine.hooks import Hook

from mmconvnext.apis import build_runner, load_config, train
from mmconvnext.engine.screen import ScreenFilter


def shown(message, level=logging.INFO, building=False):
    screen = ScreenFilter()
    screen.building = building
    return bool(screen.filter(logging.LogRecord('mmengine', level, 'a.py', 1, message, (), None)))


@pytest.mark.parametrize('building', [True, False])
def test_warnings_are_always_shown(building):
    assert shown('the head is new', logging.WARNING, building)
    assert not shown('"FileClient" will be deprecated in future', logging.WARNING, building)


def test_parts_and_routine_are_for_the_log_file():
    assert shown('Epoch(train) [1][10/10]  lr: 1e-3')
    assert not shown('Epoch(train) [1][10/10]  lr: 1e-3', building=True)
    assert not shown('Saving checkpoint at 1 epochs')


def test_the_summary_is_the_first_that_is_shown_and_the_log_file_has_it_all(tiny_config, tmp_path, capfd):
    train(tiny_config, work_dir=str(tmp_path / 'work'), rehearsal=False)
    printed = capfd.readouterr()
    log = next((tmp_path / 'work').glob('*/*.log')).read_text()
    for hidden in ('Saving checkpoint at 1 epochs', 'System environment', 'Hooks will be executed'):
        assert hidden in log and hidden not in printed.out + printed.err
    lines = [line for line in printed.out.splitlines() if line.strip()]
    assert 'parameters' in '\n'.join(lines[:4]) and 'Epoch(train)' not in '\n'.join(lines[:4])


def test_weights_that_the_log_names_are_not_printed_again(tiny_config, tmp_path, capfd):
    options = {'train_cfg.max_epochs': 1}
    train(tiny_config, work_dir=str(tmp_path / 'first'), cfg_options=options)
    weights = tmp_path / 'first/epoch_1.pth'
    content = torch.load(weights, weights_only=False)
    content['state_dict'] = {name: x for name, x in content['state_dict'].items() if 'head' not in name}
    torch.save(content, tmp_path / 'headless.pth')
    capfd.readouterr()
    options['load_from'] = str(tmp_path / 'headless.pth')
    train(tiny_config, work_dir=str(tmp_path / 'second'), cfg_options=options)
    said = ''.join(capfd.readouterr())
    assert 'missing keys' not in said and 'Loads checkpoint by' not in said
    assert 'head' in said


def test_a_run_that_fails_gives_back_its_signals(tiny_config, tmp_path):
    class Failing(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            assert signal.getsignal(signal.SIGTERM) != before
            raise ZeroDivisionError

    before = signal.getsignal(signal.SIGTERM)
    cfg = load_config(tiny_config)
    cfg.work_dir, cfg.launcher = str(tmp_path / 'work'), 'none'
    runner = build_runner(cfg, ('train_dataloader', 'val_dataloader'))
    runner.register_hook(Failing(), priority='LOWEST')
    with pytest.raises(ZeroDivisionError):
        runner.train()
    assert signal.getsignal(signal.SIGTERM) == before
