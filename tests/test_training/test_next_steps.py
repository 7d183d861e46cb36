"""The commands that a training prints at its end."""

import os
import shlex
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from mmconvnext.apis import load_config, train
from mmconvnext.training.next_steps import finetuning
from tests.conftest import REPO, write_tiny_config


def ending(text):
    """Return tool -> arguments of its command in the output or log of a training."""
    lines = [line.split(maxsplit=1) for line in text.splitlines() if 'tools/' in line]
    return {name: shlex.split(command) for name, command in lines}


def run_command(words, folder=REPO):
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_commands_at_the_end_run_as_they_are_even_with_spaces_in_names(tiny_config, tmp_path, capfd):
    folder = tmp_path / "Anna's pictures"
    for name in ('cat', 'dog'):
        (folder / name).mkdir(parents=True)
        for i in range(8):
            pixels = np.random.default_rng(i).integers(0, 255, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f'{i} a.png')
    data = dict(_delete_=True, type='mmconvnext.ImageFolder', data_root=str(folder))
    pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    options = {
        f'{s}_dataloader.dataset': dict(**data, split=s, pipeline=pipeline) for s in ('train', 'val', 'test')
    }
    options |= {'model.head.num_classes': 2, 'train_cfg.max_epochs': 1, 'param_scheduler': None}
    config = tiny_config.rename(tmp_path / 'my config.py')
    work_dir = tmp_path / 'work $1'
    train(config, work_dir=str(work_dir), cfg_options=options)
    screen = capfd.readouterr().out
    assert f'Best checkpoint: {work_dir}/best_accuracy_top1_epoch_1.pth (accuracy/top1' in screen
    steps = ending(screen)
    assert list(steps) == ['test', 'classify', 'explain', 'export']
    run_command(steps['test'])
    assert (work_dir / 'report.html').is_file()
    assert ' a.png' in run_command(steps['classify'])
    run_command(steps['explain'])
    assert (work_dir / 'explained.png').is_file()
    assert str(REPO / steps['export'][0]) == str(REPO / 'tools/export.py')


def test_the_commands_at_the_end_work_from_other_folders(tmp_path):
    data = tmp_path / 'here/data'
    for name in ('cat', 'dog'):
        (data / name).mkdir(parents=True)
        for i in range(5):
            pixels = np.random.default_rng(i).integers(0, 255, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(data / name / f'{i}.png')
    write_tiny_config(tmp_path / 'here')
    options = ['--data-root', 'data', '--work-dir', 'work', '--cfg-options', 'train_cfg.max_epochs=1']
    tool = os.path.relpath(REPO / 'tools/train.py', tmp_path / 'here')
    folder = (tmp_path / 'here/here.py').read_text() + (
        "data = dict(_delete_=True, type='mmconvnext.ImageFolder', data_root='none',\n"
        "            pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')])\n"
        "train_dataloader['dataset'] = dict(data, split='train')\n"
        "val_dataloader['dataset'] = dict(data, split='val')\n"
        "test_dataloader['dataset'] = dict(data, split='test')\n"
        "model['head']['num_classes'] = 2\n"
    )
    (tmp_path / 'here/here.py').write_text(folder)
    steps = ending(run_command([tool, 'here.py', *options], folder=tmp_path / 'here'))
    for name in ('test', 'classify'):
        run_command(steps[name], folder=tmp_path)
    assert (tmp_path / 'here' / 'work' / 'report.html').is_file()


def test_without_validation_the_commands_take_the_last_checkpoint(tiny_config, tmp_path, capfd):
    options = {'train_cfg.max_epochs': 1}
    train(tiny_config, work_dir=str(tmp_path), no_validate=True, cfg_options=options)
    screen = capfd.readouterr().out
    assert f'Last checkpoint: {tmp_path}/epoch_1.pth' in screen
    assert 'Best checkpoint' not in screen
    assert ending(screen)['test'][2] == str(tmp_path / 'epoch_1.pth')


def test_runs_by_iterations_end_the_same_way(tiny_config, tmp_path, capfd):
    options = {
        'train_cfg': dict(_delete_=True, by_epoch=False, max_iters=4, val_interval=2),
        'param_scheduler': [dict(type='ConstantLR', factor=1.0, by_epoch=False)],
        'default_hooks.checkpoint.by_epoch': False,
        'default_hooks.checkpoint.interval': 2,
        'custom_hooks': [dict(type='mmconvnext.ClassReportHook')],
    }
    train(tiny_config, work_dir=str(tmp_path), cfg_options=options)
    (best,) = tmp_path.glob('best_*.pth')
    screen = capfd.readouterr().out
    assert f'Best checkpoint: {best} (' in screen
    assert f'Classes of {best.name}' in screen


def test_a_run_that_saves_nothing_says_so(tiny_config, tmp_path, capfd):
    silent = {'interval': -1, 'save_last': False, 'save_best': None}
    options = {f'default_hooks.checkpoint.{key}': value for key, value in silent.items()}
    train(tiny_config, work_dir=str(tmp_path), cfg_options={**options, 'train_cfg.max_epochs': 1})
    assert 'No checkpoint was saved.' in capfd.readouterr().out


@pytest.mark.parametrize(
    ('config', 'options', 'words'),
    [
        ('fcmae_convnext-v2-atto_64xb64-800e_in1k', {}, ['convnext-v2-atto_32xb32_in1k']),
        ('fcmae_convnext-v2-huge_64xb64-1600e_in1k', {}, ['convnext-v2-huge_32xb32_in1k']),
        ('fcmae_convnext-v2-tiny_folder', {}, ['convnext-v2-tiny_ft_folder', '--data-root', 'FOLDER']),
        (
            'fcmae_convnext-v2-tiny_folder',
            dict(use_grn=False, layer_scale_init_value=1e-6),
            ['convnext-tiny_ft_folder', '--data-root', 'FOLDER'],
        ),
        ('fcmae_convnext-v2-tiny_folder', dict(arch='nano'), ['CONFIG', '--data-root', 'FOLDER']),
        ('fcmae_convnext-v2-tiny_folder', dict(kernel_size=5), ['CONFIG', '--data-root', 'FOLDER']),
        ('fcmae_convnext-v2-tiny_folder', dict(in_channels=4), ['CONFIG', '--data-root', 'FOLDER']),
        ('fcmae_convnext-v2-atto_1xb48_digits', {}, ['CONFIG', '--data-root', 'FOLDER']),
    ],
)
def test_fine_tuning_takes_the_recipe_of_the_same_network_and_data(config, options, words):
    cfg = load_config(config, {f'model.backbone.{key}': value for key, value in options.items()})
    assert finetuning(cfg) == words
