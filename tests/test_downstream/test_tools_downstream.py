"""The tools with detectors and segmenters: exact resuming, tests and drawings."""

from importlib import import_module
from pathlib import Path

import mmengine
import pytest
import torch

from mmconvnext.apis import evaluate, train
from mmconvnext.errors import UserError
from tests.processes import call, run
from tests.test_downstream.shapes import write_ade, write_coco
from tests.test_downstream.small import detection, segmentation

TASKS = {'detection': (detection, write_coco), 'segmentation': (segmentation, write_ade)}


@pytest.mark.parametrize('task', TASKS)
def test_killed_and_resumed_ends_as_the_uninterrupted(task, tmp_path):
    write_config, write_data = TASKS[task]
    config = write_config(tmp_path, write_data(tmp_path / 'data', count=8), iterations=6, batch=2)
    options = {
        'default_hooks.checkpoint.interval': 2,
        'train_cfg.val_interval': 100,
        'model.backbone.drop_path_rate': 0.3,
    }
    assert run(config, tmp_path / 'whole', options) == [0]
    kill = ('mmconvnext.hooks.preemption:PreemptionHook.after_train_iter', 3)
    assert run(config, tmp_path / 'killed', options, kill=kill) == [-9]
    assert run(config, tmp_path / 'killed', options, resume='auto') == [0]
    whole, killed = (
        torch.load(tmp_path / name / 'iter_6.pth', weights_only=False) for name in ('whole', 'killed')
    )
    torch.testing.assert_close(killed['state_dict'], whole['state_dict'], rtol=0, atol=0)


@pytest.mark.parametrize(
    ('task', 'pictures', 'metric'),
    [('detection', '*.jpg', 'coco/bbox_mAP'), ('segmentation', '*.png', 'mIoU')],
)
def test_a_trained_model_is_tested_and_every_image_drawn(task, pictures, metric, tmp_path, monkeypatch):
    write_config, write_data = TASKS[task]
    config = write_config(tmp_path, write_data(tmp_path / 'data', count=4), iterations=60, batch=2)
    train(config, work_dir=str(tmp_path / 'w'), no_validate=True)
    where = dict(work_dir=str(tmp_path / 't'), data_root=str((tmp_path / 'data').rename(tmp_path / 'moved')))
    monkeypatch.chdir(tmp_path)
    assert metric in evaluate(
        config, tmp_path / 'w/iter_60.pth', show_dir='shown', out='predictions.pkl', **where
    )
    assert len(list((tmp_path / 'shown').rglob(pictures))) == 4
    (predicted, *others) = mmengine.load('predictions.pkl')
    assert len(others) == 3
    if task == 'detection':
        assert all('counts' in mask for mask in predicted['pred_instances']['masks'])
    if task == 'segmentation':
        assert metric in evaluate(config, tmp_path / 'w/iter_60.pth', tta=True, **where)
    else:
        with pytest.raises(UserError, match='no tta_pipeline'):
            evaluate(config, tmp_path / 'w/iter_60.pth', tta=True, **where)


@pytest.mark.parametrize('task', TASKS)
def test_wrong_class_count_stops_before_the_first_step(task, tmp_path):
    write_config, write_data = TASKS[task]
    config = write_config(tmp_path, write_data(tmp_path / 'data', count=4), iterations=6, batch=2)
    heads = {
        'detection': {'model.roi_head.bbox_head.num_classes': 7},
        'segmentation': {'model.decode_head.num_classes': 7},
    }
    with pytest.raises(UserError, match='but the head has 7 outputs; set num_classes of the heads to [34]'):
        train(config, work_dir=str(tmp_path / 'w'), cfg_options=heads[task])


@pytest.mark.parametrize(
    ('task', 'library', 'metric'),
    [('detection', 'mmdet', 'coco/segm_mAP_50'), ('segmentation', 'mmseg', 'mIoU')],
)
def test_tools_of_the_library_train_and_test(task, library, metric, tmp_path):
    write_config, write_data = TASKS[task]
    config = write_config(tmp_path, write_data(tmp_path / 'data', count=2), iterations=2, batch=2)
    tools = Path(import_module(library).__file__).parent / '.mim/tools'
    # Without our tools, mixed precision needs a GPU.
    options = ('--cfg-options', 'optim_wrapper.type=OptimWrapper')
    trained = call('python', tools / 'train.py', config, '--work-dir', tmp_path / 'w', *options)
    assert trained.returncode == 0, trained.stderr
    tested = call(
        'python', tools / 'test.py', config, tmp_path / 'w/iter_2.pth', '--work-dir', tmp_path / 't'
    )
    assert tested.returncode == 0, tested.stderr
    assert metric in tested.stdout + tested.stderr
