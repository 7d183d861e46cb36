"""Networks trained from scratch find the shapes of the training images. This takes minutes."""

import pytest

from mmconvnext.apis import train
from tests.test_downstream.shapes import write_ade, write_coco
from tests.test_downstream.small import detection, segmentation


@pytest.mark.slow
def test_mask_rcnn_finds_boxes_and_masks(tmp_path):
    data = write_coco(tmp_path / 'data', count=16)
    runner = train(detection(tmp_path, data, iterations=800, batch=2, lr=2e-3), work_dir=str(tmp_path / 'w'))
    for kind in ('bbox', 'segm'):
        assert runner.message_hub.get_scalar(f'val/coco/{kind}_mAP_50').current() >= 0.8


@pytest.mark.slow
def test_upernet_finds_areas(tmp_path):
    data = write_ade(tmp_path / 'data', count=16)
    runner = train(segmentation(tmp_path, data, iterations=300, batch=4), work_dir=str(tmp_path / 'w'))
    assert runner.message_hub.get_scalar('val/mIoU').current() >= 90
