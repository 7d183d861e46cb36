"""Real trainings in a pseudo-terminal and in a pipe: the tests check what users see."""

import os
import re
import subprocess
import sys

import pytest

from tests.conftest import REPO
from tests.terminals import run_in_terminal, screen_of

ENVIRONMENT = dict(os.environ, PYTHONPATH=str(REPO), TERM='xterm-256color', OMP_NUM_THREADS='1')
ENVIRONMENT.pop('LOCAL_RANK', None)


def command(config, work_dir, *options):
    tool = [sys.executable, str(REPO / 'tools/train.py'), str(config), '--work-dir', str(work_dir)]
    return [*tool, '--cfg-options', 'default_hooks.logger.interval=2', *options]


def test_terminal_shows_a_bar_and_keeps_the_results(tiny_config, tmp_path):
    status, received = run_in_terminal(command(tiny_config, tmp_path / 'work'), env=ENVIRONMENT)
    assert status == 0, received.decode()
    assert 'train ━' in re.sub(r'\x1b\[[\d;?]*[A-Za-z]', '', received.decode())
    left = '\n'.join(screen_of(received))
    assert '━' not in left
    # Above the bar, the only log lines are the two of the validation.
    assert left.count('Epoch(val)') == 2
    assert 'Epoch(train)' not in received.decode()
    assert received.count(b'\x1b[?25l') == received.count(b'\x1b[?25h') == 1  # the cursor is shown again
    log = next((tmp_path / 'work').glob('*/*.log')).read_text()
    assert log.count('Epoch(train)') == 4


def test_ctrl_c_leaves_a_clean_terminal(tiny_config, tmp_path):
    long = command(tiny_config, tmp_path / 'work', 'train_cfg.max_epochs=1000', 'train_cfg.val_interval=1000')
    status, received = run_in_terminal(long, interrupt_at=b'epoch 1', env=ENVIRONMENT)
    assert status == 130
    assert received.count(b'\x1b[?25l') == received.count(b'\x1b[?25h') == 1
    left = '\n'.join(screen_of(received))
    assert '━' not in left
    assert left.rstrip().endswith('Interrupted; what was saved before is kept')


@pytest.mark.parametrize('runner', ['mmconvnext.engine.runner', 'mmengine.runner'])
def test_error_in_the_middle_leaves_a_clean_terminal_and_its_traceback(tiny_config, tmp_path, runner):
    """Also with a Runner that does not know the bar."""
    script = (
        f'from {runner} import Runner\n'
        'from mmengine.config import Config\n'
        'from mmengine.hooks import Hook\n'
        'class Fails(Hook):\n'
        '    def after_train_iter(self, *args, **kwargs):\n'
        '        raise RuntimeError("no more paper")\n'
        f'cfg = Config.fromfile({str(tiny_config)!r})\n'
        f'cfg.work_dir = {str(tmp_path / "work")!r}\n'
        'cfg.train_dataloader.collate_fn = dict(type="default_collate")\n'
        'cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None\n'
        'cfg.test_cfg = cfg.test_dataloader = cfg.test_evaluator = None\n'
        'runner = Runner.from_cfg(cfg)\n'
        'runner.register_hook(Fails())\n'
        'runner.train()\n'
    )
    status, received = run_in_terminal([sys.executable, '-c', script], env=ENVIRONMENT)
    assert status == 1
    left = '\n'.join(screen_of(received))
    assert 'RuntimeError: no more paper' in left
    assert '━' not in left
    assert received.count(b'\x1b[?25l') == received.count(b'\x1b[?25h') == 1


def test_pipe_gets_plain_lines_once(tiny_config, tmp_path):
    run = command(tiny_config, tmp_path / 'work')
    done = subprocess.run(run, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert '\x1b' not in done.stdout
    assert '━' not in done.stdout
    trained = re.findall(r'Epoch\(train\) \[(\d)\]\[(\d)/4\]', done.stdout)
    assert trained == [('1', '2'), ('1', '4'), ('2', '2'), ('2', '4')]
    # Only the summary and the results, without environment, config, hooks and parameters.
    assert re.search(r'model +ImageClassifier, ConvNeXt, 0.\d\d M parameters', done.stdout)
    assert re.search(r'training +64 images \(Digits\), 32 x 32 pixels, 2 epochs of 4 iterations', done.stdout)
    assert re.search(r'batch +16 images\n', done.stdout)
    assert re.search(r'optimizer +AdamW, lr 0.002\n', done.stdout)
    for noise in ('System environment', 'paramwise', 'before_train', 'FileClient', 'OneDL', 'Exp name'):
        assert noise not in done.stdout + done.stderr
    assert len(done.stdout.splitlines()) < 32
    log = next((tmp_path / 'work').glob('*/*.log')).read_text()
    for detail in ('System environment', 'Config:', 'paramwise_options', 'Hooks will be executed'):
        assert detail in log
