"""Detectors and segmenters go on exactly when they were stopped."""

import pytest
import torch

from tests.processes import run
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
