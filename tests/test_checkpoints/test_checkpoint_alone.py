"""A training checkpoint alone predicts the same as with its config in ``tools/test.py``."""

import json
import pickle
import warnings

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from mmpretrain.datasets import build_dataset
from PIL import Image

from mmconvnext import ImageClassificationInferencer, get_model
from mmconvnext.apis import load_config, train
from mmconvnext.apis.convert import convert
from mmconvnext.apis.evaluate import evaluate
from mmconvnext.apis.infer import infer
from mmconvnext.apis.publish import publish
from mmconvnext.config.description import preprocessing_of_test
from mmconvnext.errors import UserError
from mmconvnext.explanation.classifier import classifier_of
from tests.conftest import REPO, TINY_ARCH

CONFIG = f"""
_base_ = '{REPO}/configs/convnext_v2/convnext-v2-atto_ft_folder.py'
load_from = None
model = dict(backbone=dict(arch=dict(_delete_=True, **{TINY_ARCH})), head=dict(in_channels=32))
train = [dict(type='LoadImageFromFile'), dict(type='RandomResizedCrop', scale=64), dict(type='PackInputs')]
test = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(64, 64)), dict(type='PackInputs')]
train_dataloader = dict(batch_size=4, num_workers=0, dataset=dict(pipeline=train))
val_dataloader = dict(batch_size=4, num_workers=0, dataset=dict(pipeline=test))
test_dataloader = dict(batch_size=4, num_workers=0, dataset=dict(pipeline=test))
train_cfg = dict(max_epochs=1)
param_scheduler = dict(epochs=1, warmup_epochs=0)
custom_hooks = []
"""
GRAY = """
for steps in (train, test): steps[0]['color_type'] = 'grayscale'
model['backbone']['in_channels'] = 1
data_preprocessor = dict(mean=[114.], std=[58.], to_rgb=False)
"""
DEEP = """
for steps in (train, test): steps[0].update(color_type='grayscale', to_float32=True, full_scale=65535)
model['backbone']['in_channels'] = 1
data_preprocessor = dict(mean=[30000.], std=[15000.], to_rgb=False)
"""
BGR = 'data_preprocessor = dict(mean=[100.0, 110.0, 120.0], std=[50.0, 60.0, 70.0])'
CROP = "test[1:2] = [dict(type='ResizeEdge', scale=60), dict(type='CenterCrop', crop_size=48)]"
MULTI_LABEL = """
model['head'] = dict(_delete_=True, type='MultiLabelLinearClsHead', num_classes=2, in_channels=32)
labels = dict(_delete_=True, type='MultiLabelDataset', data_root='{root}', ann_file='labels.json')
train_dataloader['dataset'] = dict(labels, pipeline=train)
test_dataloader['dataset'] = val_dataloader['dataset'] = dict(labels, pipeline=test)
val_evaluator = test_evaluator = dict(_delete_=True, type='MultiLabelMetric', topk=1)
default_hooks = dict(checkpoint=dict(save_best=None))
"""
# Changes to a plain resize to 64 x 64 pixels by OpenCV with the mean and std of ImageNet.
KINDS = {
    'warp': '',
    'oblong': "test[1] = dict(type='Resize', scale=(48, 64), backend='pillow', interpolation='bicubic')",
    'crop': "test[1:2] = [dict(type='ResizeEdge', scale=60), dict(type='CenterCrop', crop_size=49)]",
    'another size': CROP,
    'gray': GRAY,
    '16 bits': DEEP,
    '16 bits as stored': DEEP.replace("'grayscale'", "'unchanged'").replace(', full_scale=65535', ''),
    '16 bits, dark': DEEP.replace('30000.', '200.').replace('15000.', '90.'),
    '12 bits': DEEP.replace('65535', '4095').replace('30000.', '2000.').replace('15000.', '1000.'),
    'white is 1': (
        'for steps in (train, test): steps[0].update(to_float32=True, full_scale=1.0)\n'
        'data_preprocessor = dict(mean=[0.4, 0.5, 0.6], std=[0.2, 0.3, 0.25], to_rgb=True)'
    ),
    'float': "test[0]['to_float32'] = True",
    'bgr': BGR,
    'unnormalised': 'data_preprocessor = dict(mean=None, std=None, to_rgb=True)',
    'activation': "model['backbone']['act_cfg'] = dict(type='SiLU')",
    'eps': "model['backbone']['out_norm_cfg'] = dict(type='LN2d', eps=0.3)",
    'several labels': MULTI_LABEL,
}


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return pictures(tmp_path_factory.mktemp('data'), 256, np.uint8, 3)


@pytest.fixture(scope='module')
def deep_root(tmp_path_factory):
    return pictures(tmp_path_factory.mktemp('deep'), 4096, np.uint16)


def pictures(root, white, dtype, *channels):
    random = np.random.default_rng(0)
    labels = []
    for split in ('train', 'val'):
        for name in ('bars', 'rows'):
            (root / split / name).mkdir(parents=True)
            for i in range(4):
                pixels = random.integers(0, white, (70 + 10 * i, 90, *channels), dtype=dtype)
                Image.fromarray(pixels).save(root / split / name / f'{i}.png')
                labels.append(dict(img_path=f'{split}/{name}/{i}.png', gt_label=[i % 2]))
    content = dict(metainfo=dict(classes=['bars', 'rows']), data_list=labels)
    (root / 'labels.json').write_text(json.dumps(content))
    return root


def trained(root, folder, more):
    config = folder / f'{folder.name}.py'
    config.write_text(CONFIG + more.replace('{root}', str(root)))
    own_data = 'MultiLabel' in more
    where = dict(data_root=None if own_data else str(root), work_dir=str(folder / 'run'))
    if more == CROP:
        where['image_size'] = 56
    train(config, **where)
    return config, folder / 'run/epoch_1.pth', where


def enlarge_head(checkpoint):
    """Enlarge the head's weights, so that scores differ between images after three training steps."""
    content = torch.load(checkpoint, weights_only=False)
    content['state_dict']['head.fc.weight'] *= 100
    torch.save(content, checkpoint)


@pytest.mark.parametrize('kind', KINDS)
def test_checkpoint_alone_scores_as_in_the_test(kind, root, deep_root, tmp_path):
    config, checkpoint, where = trained(deep_root if 'bits' in kind else root, tmp_path, KINDS[kind])
    enlarge_head(checkpoint)
    evaluate(config, checkpoint, out=str(tmp_path / 'out.pkl'), **where)
    tested = pickle.loads((tmp_path / 'out.pkl').read_bytes())
    paths = [str(sample['img_path']) for sample in tested]
    expected = np.stack([sample['pred_score'].numpy() for sample in tested])

    published = publish(checkpoint, tmp_path / 'published.pth')
    for source in (checkpoint, published):
        with warnings.catch_warnings():
            warnings.simplefilter('error')  # a warning would say that the preprocessing is assumed
            classify = ImageClassificationInferencer(source)
        found = np.stack([result['pred_scores'] for result in classify(paths)])
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    sample = classify.pipeline(classify.pipeline.read(paths[0]))
    images = classify.model.data_preprocessor(dict(inputs=sample['inputs'][None]))['inputs']
    explained = classifier_of(classify.model).probabilities(images)[0].numpy()
    np.testing.assert_allclose(explained, expected[0], rtol=0, atol=1e-6)


def test_regression_scores_as_in_the_test_and_shows_values(root, tmp_path, capsys):
    samples = [
        dict(img_path=f'{split}/{name}/{i}.png', gt_score=[10.0 * i])
        for split in ('train', 'val')
        for name in ('bars', 'rows')
        for i in range(4)
    ]
    (tmp_path / 'values.json').write_text(json.dumps(dict(metainfo={}, data_list=samples)))
    values = (
        "model['head'] = dict(_delete_=True, type='mmconvnext.LinearClsHead', num_classes=1,\n"
        '                     in_channels=32)\n'
        f"values = dict(_delete_=True, type='BaseDataset', data_root='{root}',\n"
        f"              ann_file='{tmp_path}/values.json')\n"
        "train_dataloader['dataset'] = dict(values, pipeline=train)\n"
        "test_dataloader['dataset'] = dict(values, pipeline=test)\n"
        'val_dataloader = val_cfg = val_evaluator = None\n'
        "test_evaluator = dict(_delete_=True, type='mmpretrain.RetrievalRecall', topk=1)\n"
    )
    config = tmp_path / 'regression.py'
    config.write_text(CONFIG + values)
    train(config, work_dir=str(tmp_path / 'run'))
    checkpoint = tmp_path / 'run/epoch_1.pth'
    content = torch.load(checkpoint, weights_only=False)
    content['state_dict']['head.fc.bias'].fill_(-7)
    torch.save(content, checkpoint)
    image = root / 'val/bars/0.png'
    expected, found = (
        ImageClassificationInferencer(*source)(image)[0]['pred_scores']
        for source in ((config, checkpoint), (checkpoint,))
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    capsys.readouterr()
    infer([str(image)], checkpoint=str(checkpoint), out_dir=str(tmp_path / 'drawn'))
    assert f'{expected[0]:.4g}' in capsys.readouterr().out
    assert list((tmp_path / 'drawn').iterdir())


def test_steps_without_words_leave_the_note_about_a_guess(root, tmp_path):
    padded = "test.insert(2, dict(type='Pad', size=(70, 70)))"
    _, checkpoint, _ = trained(root, tmp_path, padded)
    with pytest.warns(UserWarning, match='does not tell how its images were prepared'):
        ImageClassificationInferencer(checkpoint)


def test_network_without_words_needs_its_config(root, tmp_path):
    slope = "model['backbone']['act_cfg'] = dict(type='LeakyReLU', negative_slope=0.3)"
    config, checkpoint, _ = trained(root, tmp_path, slope)
    with pytest.raises(UserError, match='has the activation .*LeakyReLU.* name its config too'):
        get_model(checkpoint)
    with pytest.raises(UserError, match='for which timm has no words'):
        convert(checkpoint, tmp_path / 'out.pth', target_format='timm')
    get_model(config, checkpoint)


def test_kind_of_head_and_gray_images_survive_a_folder_of_transformers(root, tmp_path):
    gray = KINDS['gray'].replace('for steps', "test[1]['backend'] = 'pillow'\nfor steps")
    _, checkpoint, _ = trained(root, tmp_path, MULTI_LABEL + gray)
    convert(checkpoint, tmp_path / 'folder', target_format='transformers')
    image = root / 'val/bars/0.png'
    expected, found = (
        ImageClassificationInferencer(source)(image)[0]['pred_scores']
        for source in (checkpoint, tmp_path / 'folder')
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_what_a_format_cannot_say_is_told(root, tmp_path, capsys):
    _, checkpoint, _ = trained(root, tmp_path, MULTI_LABEL)
    told = {}
    for target_format, name in (('timm', 'timm.pth'), ('transformers', 'folder'), ('openmmlab', 'ours.pth')):
        convert(checkpoint, tmp_path / name, target_format=target_format)
        told[target_format] = [line for line in capsys.readouterr().out.splitlines() if 'Not said' in line]
    assert 'the outputs are those of a sigmoid' in told['timm'][0]
    assert 'resized by OpenCV' in told['transformers'][0]
    assert not told['openmmlab']


def test_other_names_of_classes_than_outputs_are_refused(root, tmp_path):
    config, checkpoint, _ = trained(root, tmp_path, '')
    content = torch.load(checkpoint, weights_only=False)
    for classes in (['one'], ['one', 'two', 'three']):
        content['meta']['dataset_meta'] = dict(classes=classes)
        torch.save(content, tmp_path / 'wrong.pth')
        for arguments in ((tmp_path / 'wrong.pth',), (config, tmp_path / 'wrong.pth')):
            with pytest.raises(UserError, match=f'names {len(classes)} class(es)? for 2 outputs'):
                get_model(*arguments)
        with pytest.raises(UserError, match='for 2 outputs'):
            convert(tmp_path / 'wrong.pth', tmp_path / 'folder', target_format='transformers')
    get_model(tmp_path / 'wrong.pth', head=dict(num_classes=5))


def test_digits_are_expressible_and_their_gray_numbers_the_same_in_either_order():
    config = load_config('convnext-atto_1xb48_digits')
    assert preprocessing_of_test(config).size == 32
    images = [sample['inputs'] for sample in build_dataset(config.test_dataloader.dataset)][:20]
    prepared = [
        MODELS.build(
            dict(type='mmpretrain.ClsDataPreprocessor', **config.data_preprocessor | dict(to_rgb=to_rgb))
        )(dict(inputs=images))['inputs']
        for to_rgb in (False, True)
    ]
    assert torch.equal(*prepared)


@pytest.mark.parametrize('channels', [1, 2, 4, 5])
def test_rgb_weights_in_other_channels_are_those_of_timm(channels, tmp_path):
    from timm.models import adapt_input_conv

    rgb = get_model('convnext-v2-atto_ft_folder', head=dict(num_classes=2))
    torch.save(rgb.state_dict(), tmp_path / 'rgb.pth')
    stem = rgb.backbone.downsample_layers[0][0].weight.detach()
    model = get_model(tmp_path / 'rgb.pth', backbone=dict(in_channels=channels))
    found = model.backbone.downsample_layers[0][0].weight.detach()
    torch.testing.assert_close(found, adapt_input_conv(channels, stem.clone()))
    assert model.preprocessing.channels == channels


def test_rgb_weights_are_adapted_only_where_that_was_asked_for(root, tmp_path):
    config = tmp_path / 'gray.py'
    config.write_text(CONFIG + GRAY)
    gray = get_model(config, head=dict(num_classes=2))
    rgb = get_model(config, head=dict(num_classes=2), backbone=dict(in_channels=3))
    torch.save(rgb.state_dict(), tmp_path / 'rgb.pth')
    assert gray.backbone.downsample_layers[0][0].in_channels == 1
    with pytest.raises(UserError, match='the model is .* for images of 1 channel'):
        ImageClassificationInferencer(config, tmp_path / 'rgb.pth')


def test_training_starts_from_rgb_weights_with_one_channel(root, tmp_path):
    config = tmp_path / 'rgb.py'
    config.write_text(CONFIG)
    rgb = get_model(config, head=dict(num_classes=2))
    torch.save(rgb.state_dict(), tmp_path / 'rgb.pth')
    frozen = f"\nload_from = '{tmp_path}/rgb.pth'\noptim_wrapper = dict(optimizer=dict(lr=0.0))"
    _, checkpoint, _ = trained(root, tmp_path, GRAY + frozen)
    found = torch.load(checkpoint, weights_only=False)['state_dict']['backbone.downsample_layers.0.0.weight']
    stem = rgb.backbone.downsample_layers[0][0].weight.detach()
    torch.testing.assert_close(found, stem.sum(1, keepdim=True))
