"""The weight average compared with ModelEma of timm in every step."""

import mmengine
import pytest
import torch
from mmengine.hooks import EMAHook as MMEngineEMAHook
from timm.utils import ModelEma

from mmconvnext.apis import evaluate, train
from mmconvnext.apis.convert import convert
from mmconvnext.hooks import EMAHook
from mmconvnext.registry import HOOKS

DECAY = 0.9  # low, so that the average differs clearly from the weights after a few steps


@HOOKS.register_module()
class TimmBeside(EMAHook):
    """Update timm's average beside ours, after the optimizer step as in the official engine.py."""

    updates = 0

    def before_train(self, runner):
        super().before_train(runner)
        self.timm = ModelEma(runner.model, decay=DECAY)
        self.started_from = {n: w.clone() for n, w in self.ema_model.module.state_dict().items()}
        self.timm.ema.load_state_dict(self.started_from)
        step = runner.optim_wrapper.step

        def step_and_update(**kwargs):
            step(**kwargs)
            self.timm.update(runner.model)
            self.updates += 1

        runner.optim_wrapper.step = step_and_update

    def after_train_iter(self, runner, *args, **kwargs):
        super().after_train_iter(runner, *args, **kwargs)
        for name, theirs in self.timm.ema.state_dict().items():
            # timm rounds two products and a sum; a single lerp rounds less.
            torch.testing.assert_close(self.ema_model.module.state_dict()[name], theirs, rtol=1e-6, atol=1e-8)


def run(config, folder, *, accumulation=1, hook='mmconvnext.TimmBeside', **kwargs):
    options = {
        'custom_hooks': [dict(type=hook, momentum=1 - DECAY)],
        'optim_wrapper.accumulative_counts': accumulation,
        # The learning rate starts at 0, where nothing changes.
        'param_scheduler': None,
        **kwargs.pop('options', {}),
    }
    runner = train(config, work_dir=str(folder), cfg_options=options, no_validate=True, **kwargs)
    return runner, next(h for h in runner.hooks if isinstance(h, MMEngineEMAHook))


@pytest.mark.parametrize(('accumulation', 'updates'), [(1, 8), (3, 2)])
def test_average_is_timms_after_every_batch(tiny_config, tmp_path, accumulation, updates):
    """With three accumulated batches, an epoch of four has one step, and the last batch is dropped."""
    runner, hook = run(tiny_config, tmp_path, accumulation=accumulation)
    assert hook.updates == updates == hook.ema_model.steps
    weight, average = (m.state_dict()['head.fc.weight'] for m in (runner.model, hook.ema_model.module))
    assert (weight - average).abs().max() > 1e-4


def test_average_goes_on_from_the_resumed_one_as_timms_does(tiny_config, tmp_path):
    run(tiny_config, tmp_path / 'w', options={'train_cfg.max_epochs': 1})
    saved = torch.load(tmp_path / 'w/epoch_1.pth', weights_only=False)['state_dict']
    _, hook = run(tiny_config, tmp_path / 'w', resume='auto')
    assert hook.updates == 4
    torch.testing.assert_close(hook.started_from, dict(saved), rtol=0, atol=0)


def test_average_starts_from_the_weights_that_were_loaded_and_from_the_same_new_head(tiny_config, tmp_path):
    run(tiny_config, tmp_path / 'a', options={'train_cfg.max_epochs': 1})
    start = torch.load(tmp_path / 'a/epoch_1.pth', weights_only=False)['state_dict']
    start['head.fc.weight'], start['head.fc.bias'] = torch.ones(7, 32), torch.ones(7)
    torch.save(dict(state_dict=start), tmp_path / 'start.pth')
    still = {
        'load_from': str(tmp_path / 'start.pth'),
        'optim_wrapper.optimizer.lr': 0.0,
        'optim_wrapper.optimizer.weight_decay': 0.0,
    }
    runner, hook = run(tiny_config, tmp_path / 'b', options=still)
    average = hook.ema_model.module.state_dict()
    for name, weight in runner.model.state_dict().items():
        torch.testing.assert_close(average[name], weight)
    torch.testing.assert_close(average['backbone.norm3.weight'], start['backbone.norm3.weight'])
    assert average['head.fc.weight'].std() > 0


@pytest.mark.parametrize('pair', [('EMAHook', 'mmconvnext.EMAHook'), ('mmconvnext.EMAHook', 'EMAHook')])
def test_checkpoints_of_mmengines_hook_and_ours_resume_each_other(tiny_config, tmp_path, pair):
    once = {'train_cfg.max_epochs': 1}
    run(tiny_config, tmp_path / 'w', hook=pair[0], options=once)
    # Resumed at the end, so that no training follows.
    runner, hook = run(tiny_config, tmp_path / 'w', hook=pair[1], resume='auto', options=once)
    saved = torch.load(tmp_path / 'w/epoch_1.pth', weights_only=False)
    average, weights = hook.ema_model.state_dict(), runner.model.state_dict()
    for name in weights:
        assert torch.equal(average[f'module.{name}'], saved['state_dict'][name])
        assert torch.equal(weights[name], saved['ema_state_dict'][f'module.{name}'])
    assert any(not torch.equal(weights[name], saved['state_dict'][name]) for name in weights)


def test_average_is_what_is_validated_and_tested(tiny_config, tmp_path):
    """The average hardly moves from the random start, while the weights learn."""
    options = {'custom_hooks': [dict(type='mmconvnext.EMAHook', momentum=1e-9)], 'train_cfg.max_epochs': 1}
    runner = train(tiny_config, work_dir=str(tmp_path / 'w'), cfg_options=options)
    file = tmp_path / 'w/epoch_1.pth'
    saved = torch.load(file, weights_only=False)
    assert saved['state_dict']['backbone.norm3.weight'].allclose(torch.ones(32), rtol=0, atol=1e-7)
    assert not saved['ema_state_dict']['module.backbone.norm3.weight'].allclose(torch.ones(32), atol=1e-4)
    validated = runner.message_hub.get_scalar('val/accuracy/top1').current()
    for hooks in ({}, options):  # with and without the hook, which takes the averaged weights from the file
        tested = evaluate(tiny_config, file, work_dir=str(tmp_path / 't'), cfg_options=hooks)
        assert tested['accuracy/top1'] == validated


def test_average_or_weights_of_a_training_are_tested_and_converted_as_asked(tiny_config, tmp_path):
    options = {'train_cfg.max_epochs': 1}
    run(tiny_config, tmp_path / 'w', hook='mmconvnext.EMAHook', options=options)
    file = tmp_path / 'w/epoch_1.pth'
    saved = torch.load(file, weights_only=False)
    expected = {
        'ema': saved['state_dict'],
        'raw': {n.removeprefix('module.'): w for n, w in saved['ema_state_dict'].items() if n != 'steps'},
    }
    scores = {}
    for which, weights in expected.items():
        torch.save(dict(state_dict=weights), tmp_path / f'{which}.pth')
        convert(file, tmp_path / f'converted_{which}.pth', weights=which)
        for name, source, chosen in (('asked', file, which), ('alone', tmp_path / f'{which}.pth', None)):
            out = tmp_path / f'{which}_{name}.pkl'
            evaluate(tiny_config, source, work_dir=str(tmp_path / 't'), out=str(out), weights=chosen)
            scores[which, name] = torch.stack([sample['pred_score'] for sample in mmengine.load(out)])
        converted = torch.load(tmp_path / f'converted_{which}.pth')['state_dict']
        torch.testing.assert_close(converted, weights, rtol=0, atol=0)
        assert torch.equal(scores[which, 'asked'], scores[which, 'alone'])
    assert not torch.equal(scores['ema', 'alone'], scores['raw', 'alone'])
