"""Training on files with five channels gives a checkpoint that knows how to read them."""

import json
import pickle

import cv2
import numpy as np
import pytest
from mmengine.registry import DefaultScope

from mmconvnext import ImageClassificationInferencer, get_model
from mmconvnext.apis import evaluate, train
from mmconvnext.apis.browse import browse_dataset
from mmconvnext.datasets import Shards
from mmconvnext.datasets.shard_writing import make_shards
from mmconvnext.errors import UserError
from mmconvnext.export import export
from mmconvnext.paths import CONFIGS
from tests.conftest import TINY_ARCH

CHANNELS = 5
CONFIG = """
_base_ = [
    'CONFIGS/_base_/models/convnext.py',
    'CONFIGS/_base_/schedules/adamw_12e.py',
    'CONFIGS/_base_/default_runtime.py',
]
model = dict(
    backbone=dict(arch=dict(_delete_=True, TINY_ARCH), in_channels=5, drop_path_rate=0.0),
    head=dict(num_classes=2, in_channels=32),
    train_cfg=None,
)
data_preprocessor = dict(mean=[10, 20, 30, 40, 50], std=[51, 52, 53, 54, 55], to_rgb=False)
train_pipeline = [
    dict(type='LoadImageFromFile', color_type='unchanged'),
    dict(type='RandomResizedCrop', scale=32, backend='cv2'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile', color_type='unchanged'),
    dict(type='ResizeEdge', scale=36, edge='short', backend='cv2'),
    dict(type='CenterCrop', crop_size=32),
    dict(type='PackInputs'),
]
data = dict(type='mmconvnext.ImageFolder', data_root='PHOTOS')
loader = dict(batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False))
train_dataloader = dict(**loader, dataset=dict(**data, split='train', pipeline=train_pipeline))
val_dataloader = dict(**loader, dataset=dict(**data, split='val', pipeline=test_pipeline))
test_dataloader = dict(**loader, dataset=dict(**data, split='test', pipeline=test_pipeline))
val_evaluator = test_evaluator = dict(type='Accuracy', topk=(1,))
val_cfg = test_cfg = dict()
train_cfg = dict(max_epochs=1)
"""


def filled(text, **values):
    for name, value in values.items():
        text = text.replace(name, str(value))
    return text


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Return a folder of images, its config and a checkpoint."""
    folder = tmp_path_factory.mktemp('five')
    noise = np.random.default_rng(0)
    for label, name in enumerate(('dry', 'wet')):
        (folder / 'photos' / name).mkdir(parents=True)
        for i in range(8):
            pixels = noise.normal(60 + 90 * label, 40, (40, 44, CHANNELS)).clip(0, 255).astype(np.uint8)
            np.save(folder / 'photos' / name / f'{i}.npy', pixels)
    config = folder / 'five.py'
    config.write_text(
        filled(CONFIG, CONFIGS=CONFIGS, PHOTOS=folder / 'photos', TINY_ARCH='**' + str(TINY_ARCH))
    )
    train(config, work_dir=str(folder / 'w'))
    return folder / 'photos', config, folder / 'w/epoch_1.pth'


def test_a_checkpoint_alone_gives_the_scores_of_the_test(trained, tmp_path):
    _, config, checkpoint = trained
    evaluate(config, checkpoint, work_dir=str(tmp_path / 'w'), out=str(tmp_path / 'p.pkl'))
    tested = pickle.loads((tmp_path / 'p.pkl').read_bytes())
    infer = ImageClassificationInferencer(str(checkpoint))
    model = get_model(checkpoint).eval()
    assert len(tested) >= 2
    for sample in tested:
        pixels = np.load(sample['img_path'])
        logits = model(model.preprocessing(pixels)[None], mode='tensor')
        scores = [infer([given])[0]['pred_scores'] for given in (sample['img_path'], pixels)]
        for found in (*scores, logits.softmax(1)[0].detach().numpy()):
            np.testing.assert_allclose(found, sample['pred_score'].numpy(), atol=1e-5)
    assert np.ptp([sample['pred_score'].numpy() for sample in tested]) > 1e-3


def test_exported_files_take_the_channels_as_stored(trained, tmp_path):
    onnxruntime = pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    photos, _, checkpoint = trained
    out = export(
        str(checkpoint), format='onnx', out=tmp_path / 'a.onnx', preprocess=True, softmax=True, images=photos
    )
    session = onnxruntime.InferenceSession(out)
    about = json.loads(session.get_modelmeta().custom_metadata_map['mmconvnext'])
    assert about['channels'] == '5 channels'
    assert np.multiply(about['mean'], about['full_scale']).tolist() == pytest.approx([10, 20, 30, 40, 50])
    pixels = np.load(next(photos.glob('*/*.npy')))[:36, :36]
    resized = cv2.resize(pixels, (36, 36))[2:34, 2:34]
    (scores,) = session.run(None, {'images': resized[None].astype(np.float32)})
    model = get_model(checkpoint).eval()
    expected = model(model.preprocessing(pixels)[None], mode='tensor').softmax(1).detach().numpy()
    np.testing.assert_allclose(scores, expected, atol=1e-4)


def test_images_of_many_channels_are_browsed_and_come_out_of_shards(trained, tmp_path):
    photos, config, _ = trained
    browse_dataset(config, tmp_path / 'page.html', number=4)
    assert 'cannot be read' not in (tmp_path / 'page.html').read_text()
    make_shards(photos, tmp_path / 'shards')
    steps = [
        dict(type='LoadImageFromFile', color_type='unchanged'),
        dict(type='CenterCrop', crop_size=32),
        dict(type='PackInputs'),
    ]
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        samples = list(Shards(str(tmp_path / 'shards'), steps, batch_size=4, training=False))
    assert [tuple(sample['inputs'].shape) for sample in samples] == [(5, 32, 32)] * 16


def test_images_of_many_channels_are_drawn(trained, tmp_path):
    photos, config, checkpoint = trained
    places = dict(show_dir=str(tmp_path / 'drawn'), report=str(tmp_path / 'report.html'))
    evaluate(config, checkpoint, work_dir=str(tmp_path / 'w'), **places)
    assert len([*(tmp_path / 'drawn').rglob('*.jpg')]) == 4
    ImageClassificationInferencer(str(checkpoint))([str(photos)], show_dir=tmp_path / 'shown')
    assert len([*(tmp_path / 'shown').rglob('*.jpg')]) == 16


def test_another_number_of_channels_is_named_before_anything_is_written(trained, tmp_path):
    _, config, checkpoint = trained
    for name in ('dry', 'wet'):
        (tmp_path / 'other' / name).mkdir(parents=True)
        for i in range(6):
            np.save(tmp_path / 'other' / name / f'{i}.npy', np.zeros((40, 40, 4), np.uint8))
    with pytest.raises(UserError, match=r'data_preprocessor .* \(4\) must match the size of tensor b \(5\)'):
        train(config, data_root=str(tmp_path / 'other'), work_dir=str(tmp_path / 'w'))
    assert not (tmp_path / 'w').exists()
    (result,) = ImageClassificationInferencer(str(checkpoint))([str(tmp_path / 'other/dry/0.npy')])
    assert 'has 4 channels, but the network expects 5' in result['error']
