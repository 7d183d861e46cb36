"""Detectors and segmenters learn drawn shapes, and go on exactly when they were stopped."""

import pytest
import torch

from mmconvnext.apis import evaluate, train
from tests.processes import run
from tests.test_downstream.shapes import write_ade, write_coco
from tests.test_downstream.small import detection, segmentation

TASKS = {'detection': (detection, write_coco), 'segmentation': (segmentation, write_ade)}


@pytest.mark.slow
def test_mask_rcnn_finds_the_shapes_and_their_masks(tmp_path):
    config = detection(tmp_path, write_coco(tmp_path / 'coco'), iterations=300)
    train(config, work_dir=str(tmp_path / 'w'))
    metrics = evaluate(
        config, tmp_path / 'w/iter_300.pth', work_dir=str(tmp_path / 't'), show_dir=str(tmp_path / 'shown')
    )
    assert metrics['coco/bbox_mAP_50'] >= 0.8
    assert metrics['coco/segm_mAP_50'] >= 0.8
    assert len(list((tmp_path / 'shown').rglob('*.jpg'))) == 16


@pytest.mark.slow
def test_upernet_finds_the_shapes(tmp_path):
    config = segmentation(tmp_path, write_ade(tmp_path / 'ade'), iterations=300)
    train(config, work_dir=str(tmp_path / 'w'))
    metrics = evaluate(
        config, tmp_path / 'w/iter_300.pth', work_dir=str(tmp_path / 't'), show_dir=str(tmp_path / 'shown')
    )
    assert metrics['mIoU'] >= 90
    assert len(list((tmp_path / 'shown').rglob('*.png'))) == 16


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
