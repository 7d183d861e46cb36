"""Mistakes are found before the start, and the rehearsal does not change a valid run."""

import tempfile
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import HOOKS

from mmconvnext.apis import train
from mmconvnext.errors import UserError

HOOK = 'default_hooks.'
LOSS = 'model.head.loss'
SEVERAL_SIZES = [dict(type='RandomChoiceResize', scales=[(32, 32), (40, 40)]), dict(type='PackInputs')]

# Invalid options, and the start of their error message.
WRONG = [
    # metrics
    ({'val_evaluator.topk': 11}, r'val_evaluator.topk=\(11,\) asks for more than the 10 classes'),
    ({'val_evaluator.topk': (1, 0)}, r'val_evaluator.topk=\(1, 0\): expected numbers from 1 to 10'),
    ({'val_evaluator.type': 'Acuracy'}, "val_evaluator.type='Acuracy' is unknown; did you mean Accuracy"),
    ({'val_evaluator': [dict(type='Accuracy'), dict(type='F1')]}, r"val_evaluator\[1\].type='F1' is unknown"),
    (
        {'val_evaluator': dict(_delete_=True, type='SingleLabelMetric', items=('accuracy',))},
        r'val_evaluator \(SingleLabelMetric\) cannot be built: The metric accuracy',
    ),
    ({'val_evaluator': dict(_delete_=True, type='VQAAcc')}, r'val_evaluator \(VQAAcc\) does not fit'),
    ({'val_evaluator.thrs': 'high'}, r'val_evaluator \(Accuracy\) does not fit this training'),
    (
        {'val_evaluator': [dict(type='Accuracy'), dict(type='Accuracy')]},
        'val_evaluator does not fit this training: There are multiple evaluation results',
    ),
    ({'val_evaluator': None}, 'val_evaluator missing: validation takes val_cfg, val_dataloader'),
    # hooks and schedules that need a metric
    (
        {HOOK + 'checkpoint.save_best': 'accuracy/top2'},
        "checkpoint.save_best='accuracy/top2': .*did you mean accuracy/top",
    ),
    (
        {HOOK + 'checkpoint.save_best': ['accuracy/top1', 'coco/bbox_mAP']},
        "save_best='coco/bbox_mAP': validation gives no such metric",
    ),
    (
        {HOOK + 'checkpoint.save_best': 'quality'},
        r'default_hooks.checkpoint .* cannot be built: Cannot infer',
    ),
    (
        {'custom_hooks': [dict(type='EarlyStoppingHook', monitor='acc')]},
        "custom_hooks: EarlyStoppingHook.monitor='acc': validation gives no such metric",
    ),
    (
        {'param_scheduler': dict(_delete_=True, type='ReduceOnPlateauLR', monitor='accuracy')},
        "param_scheduler.monitor='accuracy': validation gives no such metric",
    ),
    # hooks
    (
        {'custom_hooks': [dict(type='ClassReport')]},
        r"custom_hooks\[0\].type='ClassReport' is unknown; did you mean mmconvnext.ClassReportHook",
    ),
    (
        {'custom_hooks': [dict(type='mmconvnext.EMAHook', momntum=0.1)]},
        r'custom_hooks\[0\] \(mmconvnext.EMAHook\) cannot be built: .*momntum',
    ),
    ({'custom_hooks': [dict(type='EMAHook', interval=0)]}, r'custom_hooks\[0\].interval=0: expected a whole'),
    (
        {'custom_hooks': [dict(type='EMAHook', priority='FIRST')]},
        r'custom_hooks\[0\].priority=.FIRST.: .*LOW',
    ),
    (
        {HOOK + 'logger.type': 'Logger'},
        "default_hooks.logger.type='Logger' is unknown; did you mean LoggerHook",
    ),
    ({HOOK + 'checkpoint.interval': 0}, 'default_hooks.checkpoint.interval=0: expected a whole number'),
    ({HOOK + 'checkpoint.every_iters': 0}, 'default_hooks.checkpoint.every_iters=0: expected a whole number'),
    ({HOOK + 'checkpoint.keep': 3}, r'default_hooks.checkpoint \(CheckpointHook\) does not fit .*keep'),
    (
        {HOOK + 'checkpoint.filename_tmpl': '{}_{}.pth'},
        r'default_hooks.checkpoint \(CheckpointHook\) does not',
    ),
    # loops and data
    ({'train_cfg': dict(_delete_=True, by_epoch=False)}, 'train_cfg does not fit this training: .*max_iters'),
    ({'val_dataloader.prefetch_factor': 4}, 'val_dataloader: num_workers=0, prefetch_factor=4'),
    ({'train_dataloader.sampler.type': 'Default'}, "train_dataloader.sampler.type='Default' is unknown"),
    (
        {'train_dataloader.dataset.pipeline': SEVERAL_SIZES},
        'train_dataloader: the images of a batch have different sizes .*crop or resize',
    ),
    ({'data_preprocessor.mean': [1.0, 2.0]}, r'data_preprocessor \(ClsDataPreprocessor\) does not fit'),
    ({'data_preprocessor.mean': ['a', 'b', 'c']}, 'model or data_preprocessor does not fit'),
    # losses
    (
        {LOSS: dict(type='LabelSmoothLoss', label_smooth_val=0.1, num_classes=7)},
        r'model.head.loss_module \(LabelSmoothLoss\) does not fit',
    ),
    (
        {LOSS: dict(_delete_=True, type='CrossEntropyLoss', class_weight=[1.0, 2.0])},
        r'model.head.loss_module \(CrossEntropyLoss\) does not fit .*weight tensor',
    ),
    (
        {LOSS: dict(_delete_=True, type='CrossEntropyLoss', use_soft=True)},
        r'model.head.loss_module \(CrossEntropyLoss\) does not fit',
    ),
    (
        {'model.neck': dict(type='LinearNeck', in_channels=16, out_channels=32)},
        r'model.neck.fc \(Linear\) does not fit .*8x32 and 16x32',
    ),
    # the rest of a run
    ({'optim_wrapper.optimizer.type': 'AdamWW'}, "optim_wrapper.optimizer.type='AdamWW' is unknown"),
    ({'optim_wrapper.clip_grad': dict(norm=1)}, r'optim_wrapper \(OptimWrapper\) does not fit .*norm'),
    ({'log_level': 'LOUD'}, 'log_level does not fit this training'),
    ({'log_processor': dict(window=3)}, 'log_processor does not fit this training'),
    ({'visualizer.type': 'Vis'}, "visualizer.type='Vis' is unknown"),
    (
        {'visualizer.vis_backends': [dict(type='Tensorbord')]},
        r"visualizer.vis_backends\[0\].type='Tensorbord'",
    ),
    ({'env_cfg.mp_cfg.mp_start_method': 'thread'}, 'env_cfg does not fit this training'),
]


@pytest.mark.parametrize(('options', 'message'), WRONG)
def test_an_option_that_does_not_work_is_named_before_anything_is_written(
    tiny_config, tmp_path, options, message
):
    with pytest.raises(UserError, match=message):
        train(tiny_config, work_dir=str(tmp_path / 'work'), cfg_options=options)
    assert not (tmp_path / 'work').exists()


@pytest.mark.parametrize('priority', ['FIRST', '', 101, -1, 1.5])
@pytest.mark.parametrize('place', ['custom_hooks', 'default_hooks.timer'])
def test_a_wrong_priority_is_named_without_a_rehearsal_too(tiny_config, tmp_path, place, priority):
    hook = dict(type='IterTimerHook', priority=priority)
    options = {place: [hook] if place == 'custom_hooks' else hook}
    with pytest.raises(UserError, match=rf'{place}.*\.priority=.*one of HIGHEST, .*LOWEST, or a number'):
        train(tiny_config, work_dir=str(tmp_path / 'work'), rehearsal=False, cfg_options=options)
    assert not (tmp_path / 'work').exists()


def weights(folder):
    checkpoint = torch.load(folder / 'epoch_2.pth', weights_only=False)
    states = checkpoint['optimizer']['state'].values()
    moments = {f'moment {i}': state['exp_avg'] for i, state in enumerate(states)}
    return checkpoint['state_dict'] | moments


def test_a_training_is_the_same_bit_for_bit_without_its_rehearsal(tiny_config, tmp_path):
    """Drop path, mixup, averages and accumulation draw random numbers or keep counters."""
    options = {
        'model.backbone.drop_path_rate': 0.3,
        'model.train_cfg': dict(_delete_=True, augments=[dict(type='Mixup', alpha=0.8)]),
        'custom_hooks': [dict(type='mmconvnext.EMAHook', momentum=0.01)],
        'optim_wrapper.accumulative_counts': 2,
    }
    for rehearsal in (True, False):
        train(tiny_config, work_dir=str(tmp_path / str(rehearsal)), rehearsal=rehearsal, cfg_options=options)
    with_rehearsal, without = weights(tmp_path / 'True'), weights(tmp_path / 'False')
    assert with_rehearsal.keys() == without.keys()
    for name, tensor in without.items():
        assert torch.equal(tensor, with_rehearsal[name]), name


def test_a_training_of_the_config_resumes_after_a_rehearsal_as_without(tiny_config, tmp_path):
    train(tiny_config, work_dir=str(tmp_path / 'whole'))
    train(tiny_config, work_dir=str(tmp_path / 'parts'), cfg_options={'train_cfg.max_epochs': 1})
    train(tiny_config, work_dir=str(tmp_path / 'parts'), resume='latest')
    whole, parts = weights(tmp_path / 'whole'), weights(tmp_path / 'parts')
    assert all(torch.equal(tensor, parts[name]) for name, tensor in whole.items())


@HOOKS.register_module(force=True)
class NotingHook(Hook):
    noted = []  # of all runs in a test

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.noted.append(('step', runner.work_dir))

    def after_val_epoch(self, runner, metrics=None):
        self.noted.append(('validation', runner.work_dir))

    def after_train(self, runner):
        self.noted.append(('end', runner.work_dir))


@pytest.mark.parametrize('by_epoch', [True, False])
def test_a_rehearsal_is_a_step_and_a_validation_elsewhere_that_no_hook_takes_for_the_end(
    tiny_config, tmp_path, by_epoch
):
    NotingHook.noted = []
    length = dict(max_epochs=1) if by_epoch else dict(max_iters=4, val_interval=4)
    options = {
        'custom_hooks': [dict(type='NotingHook')],
        'train_cfg': dict(_delete_=True, by_epoch=by_epoch, **length),
        'param_scheduler': [dict(type='ConstantLR', factor=1.0, by_epoch=by_epoch)],
        HOOK + 'checkpoint.by_epoch': by_epoch,
    }
    train(tiny_config, work_dir=str(tmp_path / 'work'), cfg_options=options)
    elsewhere = [what for what, folder in NotingHook.noted if folder != str(tmp_path / 'work')]
    here = [what for what, folder in NotingHook.noted if folder == str(tmp_path / 'work')]
    assert elsewhere == ['step', 'validation']
    assert here == [*4 * ['step'], 'validation', 'end']


def test_nothing_of_a_rehearsal_stays(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path / 'temporary'))
    (tmp_path / 'temporary').mkdir()
    loggers, hubs = len(MMLogger._instance_dict), len(MessageHub._instance_dict)
    with pytest.raises(UserError, match='top2'):
        train(
            tiny_config,
            work_dir=str(tmp_path / 'work'),
            cfg_options={HOOK + 'checkpoint.save_best': 'accuracy/top2'},
        )
    assert not list((tmp_path / 'temporary').iterdir())
    assert (loggers, hubs) == (len(MMLogger._instance_dict), len(MessageHub._instance_dict))


def test_a_rehearsal_can_be_left_out(tiny_config, tmp_path):
    options = {HOOK + 'checkpoint.save_best': 'accuracy/top2'}
    with pytest.raises(KeyError, match='accuracy/top2'):
        train(tiny_config, work_dir=str(tmp_path / 'work'), rehearsal=False, cfg_options=options)


@HOOKS.register_module(force=True)
class GreedyHook(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        torch.empty(10**15)


def test_too_little_memory_names_the_batch(tiny_config, tmp_path):
    options = {'custom_hooks': [dict(type='GreedyHook')]}
    with pytest.raises(UserError, match='train_dataloader.batch_size=16 needs more memory than there is'):
        train(tiny_config, work_dir=str(tmp_path / 'work'), cfg_options=options)


def test_validation_is_rehearsed_on_images_from_all_over_the_data(tiny_config, tmp_path):
    """The first images of a folder belong to one class, for which some metrics are undefined."""
    from mmengine.evaluator import BaseMetric
    from mmengine.registry import METRICS

    seen = []

    @METRICS.register_module(force=True)
    class LabelsMetric(BaseMetric):
        def process(self, data_batch, data_samples):
            self.results += [int(sample['gt_label']) for sample in data_samples]

        def compute_metrics(self, results):
            seen.append(sorted(results))
            return {}

    options = {
        'val_evaluator': [dict(type='Accuracy'), dict(type='LabelsMetric')],
        'train_cfg.max_epochs': 1,
        'val_dataloader.dataset.indices': None,
    }
    train(tiny_config, work_dir=str(tmp_path / 'work'), cfg_options=options)
    rehearsed, validated = seen
    assert len(rehearsed) == 8
    assert len(set(rehearsed)) > 3
    assert len(validated) > 100


def test_top_5_of_three_classes_is_left_out_with_a_line(tiny_config, tmp_path):
    options = {'val_evaluator.topk': (1, 5, 11), 'train_cfg.max_epochs': 1}
    runner = train(tiny_config, work_dir=str(tmp_path / 'work'), cfg_options=options)
    assert runner.val_evaluator.metrics[0].topk == (1, 5)
    log = next(tmp_path.glob('work/*/*.log')).read_text()
    assert log.count('val_evaluator: top-11 is left out, since the model has 10 classes') == 1


def test_a_head_for_several_labels_has_no_report_on_classes(tiny_config, tmp_path):
    head = dict(_delete_=True, type='MultiLabelLinearClsHead', num_classes=10, in_channels=32)
    options = {
        'model.head': head,
        'val_evaluator': dict(_delete_=True, type='AveragePrecision'),
        'custom_hooks': [dict(type='mmconvnext.ClassReportHook')],
        'train_cfg.max_epochs': 2,
    }
    train(tiny_config, work_dir=str(tmp_path / 'work'), cfg_options=options)
    log = next(tmp_path.glob('work/*/*.log')).read_text()
    assert log.count('No report on classes') == 1
    assert not (tmp_path / 'work/classes.csv').exists()


def test_the_cost_is_in_the_log_and_off_the_screen(tiny_config, tmp_path, capfd):
    train(tiny_config, work_dir=str(tmp_path / 'work'), cfg_options={'train_cfg.max_epochs': 1})
    line = 'One training step and one validation batch were tried in'
    assert next(tmp_path.glob('work/*/*.log')).read_text().count(line) == 1
    assert line not in capfd.readouterr().out


def test_wrong_configs_leave_the_run_before_them_alone(tiny_config, tmp_path):
    work_dir = tmp_path / 'work'
    train(tiny_config, work_dir=str(work_dir), cfg_options={'train_cfg.max_epochs': 1})
    before = {path: path.read_bytes() for path in Path(work_dir).rglob('*') if path.is_file()}
    with pytest.raises(UserError, match='save_best'):
        train(
            tiny_config,
            work_dir=str(work_dir),
            resume='latest',
            cfg_options={HOOK + 'checkpoint.save_best': 'accuracy/top2'},
        )
    assert before == {path: path.read_bytes() for path in Path(work_dir).rglob('*') if path.is_file()}
