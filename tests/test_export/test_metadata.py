"""Exported files contain all information that is needed to use them."""

import json

import pytest
from mmengine.config import Config

from mmconvnext.export.graph import Graph
from mmconvnext.export.metadata import metadata_of, resizing
from mmconvnext.images.preprocessing import Preprocessing
from mmconvnext.zoo.models import get_model
from tests.test_export.small_classifiers import CLASSES, MEAN


def test_metadata_says_all_it_takes_to_use_the_file(plain_onnx):
    onnxruntime = pytest.importorskip('onnxruntime')
    session = onnxruntime.InferenceSession(plain_onnx)
    about = json.loads(session.get_modelmeta().custom_metadata_map['mmconvnext'])
    assert about.pop('name') == 'v2.pth'  # but not the path of the checkpoint
    assert about.pop('mmconvnext')
    assert about.pop('mean') == pytest.approx(MEAN)
    assert about.pop('std') == pytest.approx(Preprocessing().std)
    assert about == dict(
        license=None,
        classes=list(CLASSES),
        input='float32 (N, 3, H, W), (value / 255 - mean) / std, RGB',
        output='logits',
        preprocessed=False,
        channels='RGB',
        full_scale=255.0,
        min_size=32,
        size=40,
        resize=48,
        interpolation='bicubic',
        by='pillow',
        crop='round',
    )


def test_metadata_of_a_published_name_has_its_license_and_preprocessing():
    model = get_model('convnext_atto.d2_in1k')
    about = metadata_of('mmconvnext://convnext_atto.d2_in1k', model, Graph(model, preprocess=True))
    assert about['name'] == 'convnext_atto.d2_in1k'
    assert about['license'] == 'Apache-2.0'
    expected = model.preprocessing
    assert (about['size'], about['resize'], about['mean']) == (
        expected.size,
        expected.resize,
        pytest.approx(expected.mean),
    )


def test_resizing_of_other_steps_is_told_as_it_is():
    def told(*steps):
        pipeline = [dict(type='LoadImageFromFile'), *steps, dict(type='PackInputs')]
        return resizing(Config(dict(test_dataloader=dict(dataset=dict(pipeline=pipeline)))))

    warp = dict(type='Resize', scale=(32, 32))
    assert told(warp) == dict(size=32, resize=None, interpolation='bilinear', by='cv2', crop=None)
    pad = dict(type='Pad', size=(40, 40))
    assert told(warp, pad) == dict(steps=[warp, pad])
    assert told() == dict(steps=[])
