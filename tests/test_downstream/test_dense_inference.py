"""Objects and areas are those that the libraries' own tools find, and are written as requested."""

import csv
import json
from typing import ClassVar

import numpy as np
import pytest
import torch
from mmdet.apis import inference_detector
from mmseg.apis import inference_model
from PIL import Image
from pycocotools.mask import decode

from mmconvnext.apis import load_config
from mmconvnext.apis.infer import infer
from mmconvnext.errors import UserError
from mmconvnext.inference.dense import DenseInferencer, classes_and_palette
from mmconvnext.registry import default_scope
from mmconvnext.zoo import get_model
from tests.test_downstream.shapes import CLASSES, SIZE, write_ade, write_coco
from tests.test_downstream.small import detection, segmentation


@pytest.fixture(scope='module')
def detector(tmp_path_factory):
    return drawn_weights(tmp_path_factory.mktemp('detector'), detection, write_coco)


@pytest.fixture(scope='module')
def segmenter(tmp_path_factory):
    return drawn_weights(tmp_path_factory.mktemp('segmenter'), segmentation, write_ade)


def drawn_weights(folder, write_config, write_data):
    """Return a config, random weights and a folder of images."""
    data = write_data(folder / 'data', count=2)
    config = write_config(folder, data, iterations=2, batch=2)
    torch.manual_seed(0)
    torch.save(dict(state_dict=get_model(config).state_dict()), folder / 'weights.pth')
    images = next(path for path in (data / 'train2017', data / 'images/training') if path.is_dir())
    return config, folder / 'weights.pth', images


def test_objects_are_those_that_mmdetection_finds(detector):
    config, weights, images = detector
    inferencer = DenseInferencer(config, weights, min_score=0.2, device='cpu')
    inferencer.model.cfg = inferencer.model._config
    for found in inferencer(images):
        with default_scope('mmdet'):
            theirs = inference_detector(inferencer.model, found['path']).pred_instances.numpy()
        kept = theirs.scores >= 0.2
        assert 0 < kept.sum() == len(found['objects'])
        for one, label, score, box, mask in zip(
            found['objects'],
            *(theirs[kept][key] for key in ('labels', 'scores', 'bboxes', 'masks')),
            strict=True,
        ):
            assert one['class'] == CLASSES[label]
            np.testing.assert_allclose((one['label'], one['score']), (label, score), rtol=1e-6)
            np.testing.assert_allclose(one['box'], box, rtol=1e-6)
            np.testing.assert_array_equal(decode(one['mask']), mask)


def test_areas_are_those_that_mmsegmentation_finds(segmenter):
    config, weights, images = segmenter
    inferencer = DenseInferencer(config, weights, device='cpu')
    inferencer.model.cfg = inferencer.model._config
    for found in inferencer(images):
        with default_scope('mmseg'):
            theirs = inference_model(inferencer.model, found['path']).pred_sem_seg.data[0].numpy()
        np.testing.assert_array_equal(found['labels'], theirs)
        for area in found['areas']:
            assert area['class'] == ('ground', *CLASSES)[area['label']]
            assert area['share'] == pytest.approx((theirs == area['label']).mean())
        assert sum(area['share'] for area in found['areas']) == pytest.approx(1)


def test_results_of_a_detector_are_written(detector, tmp_path, capsys):
    config, weights, images = detector
    options = dict(model=str(config), checkpoint=str(weights), device='cpu')
    infer([str(images)], **options, min_score=0.2, out=str(tmp_path / 'r.json'), out_dir=str(tmp_path / 'd'))
    results = json.loads((tmp_path / 'r.json').read_text())
    assert [one['mask']['size'] for one in results[0]['objects'][:1]] == [[SIZE, SIZE]]
    assert [Image.open(tmp_path / 'd' / f'{i:012d}.jpg').size for i in range(2)] == [(SIZE, SIZE)] * 2
    assert results[0]['objects'][0]['class'] in capsys.readouterr().out

    infer([str(images)], **options, min_score=0.2, out=str(tmp_path / 'r.csv'))
    rows = list(csv.DictReader((tmp_path / 'r.csv').open()))
    assert len(rows) == sum(len(result['objects']) for result in results)
    assert float(rows[0]['right']) == pytest.approx(results[0]['objects'][0]['box'][2])

    infer([str(images)], **options, min_score=1.0, out=str(tmp_path / 'none.csv'))
    assert [row['class'] for row in csv.DictReader((tmp_path / 'none.csv').open())] == ['', '']
    assert 'nothing' in capsys.readouterr().out


def test_results_of_a_segmenter_are_written(segmenter, tmp_path):
    config, weights, images = segmenter
    (tmp_path / 'broken.jpg').write_bytes(b'\xff\xd8')
    inputs = [str(images), str(tmp_path / 'broken.jpg')]
    options = dict(model=str(config), checkpoint=str(weights), device='cpu')
    with pytest.raises(UserError, match='1 of 3 images could not be read'):
        infer(inputs, **options, out=str(tmp_path / 'r.json'), out_dir=str(tmp_path / 'd'))
    *found, broken = json.loads((tmp_path / 'r.json').read_text())
    assert 'error' in broken
    for number, result in enumerate(found):
        assert 'labels' not in result
        labels = np.array(Image.open(tmp_path / 'd' / f'{number}.jpg.labels.png'))
        largest = result['areas'][0]
        assert (labels == largest['label']).mean() == pytest.approx(largest['share'])
        assert Image.open(tmp_path / 'd' / f'{number}.jpg').size == (SIZE, SIZE)


@pytest.mark.parametrize(
    ('name', 'count', 'first'),
    [
        ('mask-rcnn_convnext-tiny_fpn_8xb2-amp-ms-3x_coco', 80, 'person'),
        ('upernet_convnext-tiny_8xb2-amp-160k_ade20k-512px', 150, 'wall'),
    ],
)
def test_official_configs_know_names_and_colours(name, count, first):
    class Model(torch.nn.Module):
        _dataset_meta: ClassVar[dict] = {}

    meta = classes_and_palette(load_config(name), Model())
    assert (len(meta['classes']), meta['classes'][0], len(meta['palette'])) == (count, first, count)


def test_names_of_the_weights_come_before_those_of_the_data(segmenter, tmp_path):
    config, weights, images = segmenter
    names = ('a', 'b', 'c', 'd')
    content = dict(torch.load(weights), meta=dict(dataset_meta=dict(classes=names)))
    torch.save(content, tmp_path / 'named.pth')
    inferencer = DenseInferencer(config, tmp_path / 'named.pth')
    for result in inferencer(images, show_dir=tmp_path / 'drawn'):  # in default colors
        assert {area['class'] for area in result['areas']} <= set(names)

    content['meta'] = dict(dataset_meta=dict(classes=names[:3]))
    torch.save(content, tmp_path / 'named.pth')
    with pytest.raises(UserError, match='3 class names for 4 outputs'):
        DenseInferencer(config, tmp_path / 'named.pth')


def test_image_that_the_network_refuses_does_not_end_the_run(segmenter, tmp_path):
    config, weights, images = segmenter
    Image.new('RGB', (20, 20)).save(tmp_path / 'small.png')
    small, *others = DenseInferencer(config, weights)([tmp_path / 'small.png', images])
    assert '20 x 20 pixels; this ConvNeXt needs at least 32' in small['error']
    assert [len(result['labels']) for result in others] == [SIZE, SIZE]


def test_classifiers_are_told_apart():
    with pytest.raises(UserError, match='convnext-tiny_32xb128_in1k is not a detector or segmenter'):
        DenseInferencer('convnext-tiny_32xb128_in1k', 'x.pth')


def test_weights_of_a_detector_need_their_config(detector):
    _, weights, images = detector
    with pytest.raises(UserError, match='holds a detector or segmenter.*name its config too'):
        infer([str(images)], checkpoint=str(weights))


def test_weights_of_another_detector_are_refused(detector, segmenter):
    with pytest.raises(UserError, match=r'does not fit the model: \d+ missing'):
        DenseInferencer(detector[0], segmenter[1])


@pytest.mark.parametrize(
    ('arguments', 'problem'),
    [(dict(pretrained=False), 'predict at random'), (dict(min_score=3), 'min_score is 3')],
)
def test_wrong_arguments_are_named(arguments, problem, detector):
    with pytest.raises(UserError, match=problem):
        DenseInferencer(detector[0], **{'pretrained': detector[1], **arguments})
