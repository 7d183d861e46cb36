"""Exported files in their runtimes, without this package."""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch._inductor.config
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from PIL import Image

from mmconvnext.checkpoints.reading import Weights
from mmconvnext.checkpoints.writing import save_weights
from mmconvnext.errors import UserError
from mmconvnext.export import checking, export, formats, onnx_file, torch_package
from mmconvnext.export.exporting import check_target, load_classifier
from mmconvnext.export.graph import Graph
from mmconvnext.export.images import Images, carried_photographs, real_images, why_unlabelled
from mmconvnext.export.metadata import metadata_of, resizing
from mmconvnext.images.preprocessing import Preprocessing
from mmconvnext.models.network import Network
from mmconvnext.zoo.entries import zoo
from mmconvnext.zoo.models import get_model
from tests.conftest import TINY_ARCH
from tests.peers import randomize
from tests.processes import call

V1 = dict(arch=TINY_ARCH)
# Several blocks on the smallest maps, which torch.export handles differently from a single one.
V2 = dict(arch=dict(TINY_ARCH, depths=(1, 1, 1, 3)), use_grn=True, layer_scale_init_value=0.0)
CLASSES = ('cat', 'dog', 'owl')
MEAN = (0.3, 0.4, 0.5)
PREPROCESSING = Preprocessing(size=40, resize=48, mean=MEAN)


def save_classifier(file, backbone, head=CLASSES, preprocessing=PREPROCESSING):
    """Save weights with a description of their network, preprocessing and classes."""
    torch.manual_seed(0)
    network = Network(backbone, head and dict(num_classes=len(head)))
    init_default_scope('mmpretrain')
    model = MODELS.build(network.config())
    randomize(model)
    save_weights(
        Weights(
            model.state_dict(),
            'a test',
            'openmmlab',
            network=network,
            preprocessing=preprocessing,
            classes=head,
        ),
        file,
        'openmmlab',
    )
    return file


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('exported')
    save_classifier(folder / 'v1.pth', V1)
    save_classifier(folder / 'v2.pth', V2)
    return folder


@pytest.fixture(scope='module')
def plain_onnx(folder):
    pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    return export(folder / 'v2.pth', format='onnx', out=folder / 'v2.onnx')


@pytest.fixture(scope='module')
def openvino_from_pixels(folder):
    pytest.importorskip('openvino')
    pytest.importorskip('onnxscript')
    return export(folder / 'v1.pth', format='openvino', out=folder / 'v1.xml', preprocess=True, softmax=True)


def prepared(file, size=40):
    """Return a photograph, resized and cropped with Pillow only."""
    image = Image.open(file).convert('RGB')
    scale = 48 / min(image.size)
    image = image.resize([round(side * scale) for side in image.size], Image.BICUBIC)
    left, top = ((side - size) // 2 for side in image.size)
    return np.asarray(image.crop((left, top, left + size, top + size)))


def by_torch(weights, pixels):
    """Return the logits of images (N, H, W, 3)."""
    model = get_model(weights).eval()
    images = torch.from_numpy(pixels).movedim(-1, 1).flip(1)  # BGR, as in pipelines
    with torch.inference_mode():
        return model(model.data_preprocessor(dict(inputs=images))['inputs'], mode='tensor')


def test_onnx_file_classifies_without_this_package(plain_onnx, folder):
    onnxruntime = pytest.importorskip('onnxruntime')
    session = onnxruntime.InferenceSession(plain_onnx, providers=['CPUExecutionProvider'])
    about = json.loads(session.get_modelmeta().custom_metadata_map['mmconvnext'])
    pixels = np.stack([prepared(file, about['size']) for file in carried_photographs()])
    normalised = (pixels / 255 - about['mean']) / about['std']
    images = normalised.astype(np.float32).transpose(0, 3, 1, 2)
    (logits,) = session.run(None, {'images': images})
    assert logits.shape == (3, 3)
    expected = by_torch(folder / 'v2.pth', pixels).numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max())
    assert [about['classes'][i] for i in logits.argmax(1)] == [CLASSES[i] for i in expected.argmax(1)]


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


@pytest.mark.parametrize(
    ('channels', 'images'),
    [
        (1, dict(color='gray', full_scale=65535.0, to_float32=True)),
        (5, dict(color='unchanged', full_scale=None)),
        (3, dict(color='bgr')),
    ],
)
def test_images_of_other_depths_and_channels_are_exported(channels, images, tmp_path):
    onnxruntime = pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    mean, std = (tuple(value + 0.01 * i for i in range(channels)) for value in (0.4, 0.2))
    prepare = Preprocessing(size=40, resize=None, mean=mean, std=std, backend='cv2', **images)
    file = save_classifier(tmp_path / 'a.pth', dict(V1, in_channels=channels), preprocessing=prepare)
    random, deep = np.random.default_rng(0), images['color'] != 'bgr'
    pixels = random.integers(0, 256, (40, 40, channels)).astype(np.float32 if deep else np.uint8)
    if images.get('full_scale'):
        pixels *= 257
    model = get_model(file).eval()
    with torch.inference_mode():
        expected = model(model.preprocessing(pixels)[None], mode='tensor')[0].numpy()
    out = export(file, format='onnx', out=tmp_path / 'a.onnx', preprocess=True)
    session = onnxruntime.InferenceSession(out)
    (logits,) = session.run(None, {'images': pixels[None]})
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(logits[0], expected, atol=1e-4 * np.abs(expected).max())
    about = json.loads(session.get_modelmeta().custom_metadata_map['mmconvnext'])
    assert about['full_scale'] == prepare.unit
    assert about['mean'] == pytest.approx(mean if channels == 5 else mean[::-1])  # RGB, or channels as stored


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


def test_onnx_file_takes_any_number_of_images_of_any_size(plain_onnx, folder):
    onnxruntime = pytest.importorskip('onnxruntime')
    session = onnxruntime.InferenceSession(plain_onnx)
    assert session.get_inputs()[0].shape == ['batch', 3, 'height', 'width']
    model = get_model(folder / 'v2.pth').eval()
    for shape in ((1, 3, 32, 32), (5, 3, 33, 90), (2, 3, 128, 64)):
        images = torch.randn(shape)
        with torch.inference_mode():
            expected = model(images, mode='tensor').numpy()
        (logits,) = session.run(None, {'images': images.numpy()})
        np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max())


def test_openvino_file_turns_pixels_into_probabilities(openvino_from_pixels, folder):
    openvino = pytest.importorskip('openvino')
    network = openvino.Core().read_model(openvino_from_pixels)
    about = json.loads(network.get_rt_info(['mmconvnext']).value)
    assert about['preprocessed']
    assert about['output'] == 'probabilities'
    assert about['input'] == 'uint8 (N, H, W, 3), RGB'
    assert about['mean'] == pytest.approx(MEAN)
    run = openvino.compile_model(network, 'CPU', {'EXECUTION_MODE_HINT': 'ACCURACY'})
    for shape in ((1, 32, 32, 3), (3, 41, 77, 3)):
        pixels = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
        expected = by_torch(folder / 'v1.pth', pixels).softmax(1).numpy()
        np.testing.assert_allclose(run(pixels)[0], expected, atol=1e-4)


def test_openvino_tells_the_error_that_it_has_without_options(folder, monkeypatch, tmp_path, capsys):
    """On processors with bf16, it differs from that in fp32."""
    openvino = pytest.importorskip('openvino')
    pytest.importorskip('onnxscript')
    file = export(folder / 'v2.pth', format='openvino', out=tmp_path / 'v2.xml')
    said = capsys.readouterr().out
    model = get_model(folder / 'v2.pth').eval()
    _, checked = real_images(model, None)
    pixels, _ = checked.batch(0, 3)
    expected = checking.reference(model, Graph(model), pixels)
    run = openvino.compile_model(file, 'CPU')
    error = np.abs(run(Graph(model).input_of(pixels).numpy())[0] - expected).max() / np.abs(expected).max()
    told = float(re.search('max error ([^ ]+) of the largest output', said)[1])
    assert told >= 0.99 * error
    is_bf16 = run.get_property('INFERENCE_PRECISION_HINT').get_type_name() == 'bf16'
    assert (told > 1e-4) == is_bf16
    assert ('in bf16' in said and 'with EXECUTION_MODE_HINT=ACCURACY' in said) == is_bf16


def test_graph_is_the_model_for_every_kind(folder):
    """Covers folded weights, channel orders and features, without exporting, which takes seconds."""
    images = torch.randint(256, (2, 3, 40, 52), dtype=torch.uint8)
    norm_first = dict(V1, gap_before_final_norm=False)
    for i, settings in enumerate(
        (V1, V2, norm_first, dict(V1, linear_pw_conv=False), dict(V1, stem_type='overlap'))
    ):
        for head in (CLASSES, None):
            model = get_model_of(settings, head)
            model.data_preprocessor.to_rgb = i % 2 == 0
            expected = checking.reference(model, Graph(model), images)
            for preprocess in (False, True):
                graph = Graph(model, preprocess=preprocess)
                found = graph(graph.input_of(images)).numpy()
                np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def get_model_of(backbone, head):
    init_default_scope('mmpretrain')
    cfg = Network(backbone, head and dict(num_classes=len(head))).config()
    cfg['data_preprocessor'] = Preprocessing(mean=MEAN).data_preprocessor()
    model = MODELS.build(cfg).eval()
    randomize(model)
    return model


def test_file_that_computes_something_else_is_not_kept(plain_onnx, folder, monkeypatch, tmp_path):
    """Uses a real file with other weights."""

    monkeypatch.setattr('mmconvnext.export.exporting.write', copy_of(plain_onnx))
    save_classifier(tmp_path / 'other.pth', dict(V2, act_cfg='relu'))
    with pytest.raises(UserError, match='differs from PyTorch by .* more than 1e-04'):
        export(tmp_path / 'other.pth', format='onnx', out=tmp_path / 'out.onnx')
    assert [file.name for file in tmp_path.iterdir()] == ['other.pth']
    # The same file is accepted for its own weights.
    assert export(folder / 'v2.pth', format='onnx', out=tmp_path / 'out.onnx').exists()


def test_an_output_that_is_not_a_number_fails():
    model = get_model_of(V1, CLASSES)
    graph = Graph(model)

    images = Images([dict(inputs=torch.randint(256, (3, 40, 40), dtype=torch.uint8))] * 2)
    form = formats.Format('', None, (), None, lambda _: lambda images: np.full((len(images), 3), np.nan))
    with pytest.raises(UserError, match='nan'):
        checking.check(form, Path('a.file'), graph, model, images)


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """Write crops of real photographs in one folder per class: 36 for calibration and 12 for the test."""
    root = tmp_path_factory.mktemp('photos')
    for name, file in zip(CLASSES, carried_photographs(), strict=True):
        image = Image.open(file).convert('RGB')
        for split, count in (('train', 12), ('val', 4)):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                corner = (20 * i, 10 * i)
                part = image.crop((*corner, corner[0] + 200, corner[1] + 200))
                part.save(root / split / name / f'{i}.png')
    return root


def copy_of(source):
    """Return a function to replace ``write``, whose exports take seconds, that copies a real file."""

    def write(graph, example, form, metadata, file):
        for one in source.parent.glob(f'{source.stem}.*'):
            if one.suffix in (source.suffix, '.bin'):
                shutil.copy(one, file.with_suffix(one.suffix))

    return write


def test_int8_onnx_keeps_depthwise_layers_and_metadata(plain_onnx, folder, photos, monkeypatch, capsys):
    onnx = pytest.importorskip('onnx')
    monkeypatch.setattr('mmconvnext.export.exporting.write', copy_of(plain_onnx))
    file = export(folder / 'v2.pth', format='onnx', int8=True, images=photos, out=folder / 'v2-8.onnx')
    said = capsys.readouterr().out
    assert 'of 12 images, top-1' in said
    network = onnx.load(file)
    made_by = {name: node for node in network.graph.node for name in node.output}
    kinds = {'depthwise': 0, 'others': 0}
    for node in network.graph.node:
        if node.op_type in ('Conv', 'MatMul', 'Gemm'):
            quantized = node.input[1] in made_by  # weights pass through DequantizeLinear
            depthwise = any(a.name == 'group' and a.i > 1 for a in node.attribute)
            assert quantized != depthwise, node.name
            kinds['depthwise' if depthwise else 'others'] += 1
    assert kinds == {'depthwise': 6, 'others': 4 + 2 * 6 + 1}
    assert {entry.key for entry in network.metadata_props} >= {'mmconvnext'}


def test_int8_onnx_of_weights_beside_has_its_own_beside(plain_onnx, tmp_path):
    """Models with more than two gigabytes are saved in this way."""
    onnx = pytest.importorskip('onnx')
    source, small = tmp_path / 'fp32/large.onnx', tmp_path / 'int8/large.onnx'
    for file in (source, small):
        file.parent.mkdir()
    beside = dict(save_as_external_data=True, location='large.onnx.data')
    onnx.save_model(onnx.load(plain_onnx), source, **beside)
    images = np.random.default_rng(0).normal(size=(4, 1, 3, 40, 40)).astype(np.float32)
    onnx_file.quantize(source, images, small, keep_depthwise=True)
    assert sorted(file.name for file in small.parent.iterdir()) == ['large.onnx', 'large.onnx.data']
    shutil.move(small.parent, tmp_path / 'moved')
    expected = onnx_file.load(plain_onnx)(images[0])
    found = onnx_file.load(tmp_path / 'moved/large.onnx')(images[0])
    assert np.abs(found - expected).max() < 0.1 * np.abs(expected).max()


def test_int8_openvino_keeps_depthwise_layers_and_metadata(
    openvino_from_pixels, folder, photos, monkeypatch, capsys
):
    openvino = pytest.importorskip('openvino')
    pytest.importorskip('nncf')
    monkeypatch.setattr('mmconvnext.export.exporting.write', copy_of(openvino_from_pixels))
    wishes = dict(format='openvino', int8=True, preprocess=True, softmax=True, images=photos)
    file = export(folder / 'v1.pth', **wishes, out=folder / 'v1-8.xml')
    assert 'of 12 images, top-1' in capsys.readouterr().out
    network = openvino.Core().read_model(file)
    assert json.loads(network.get_rt_info(['mmconvnext']).value)['classes'] == list(CLASSES)
    layers = {'GroupConvolution': set(), 'Convolution': set(), 'MatMul': set()}
    for node in network.get_ops():
        if node.get_type_name() in layers:
            layers[node.get_type_name()].add(node.input_value(0).get_node().get_type_name())
    assert 'FakeQuantize' not in layers['GroupConvolution']
    assert layers['MatMul'] == {'FakeQuantize'}
    assert 'FakeQuantize' in layers['Convolution']
    assert (
        file.with_suffix('.bin').stat().st_size
        < 0.6 * openvino_from_pixels.with_suffix('.bin').stat().st_size
    )


def test_int8_that_changes_the_classes_is_not_kept(plain_onnx, folder, photos, monkeypatch, tmp_path):
    monkeypatch.setattr('mmconvnext.export.exporting.write', copy_of(plain_onnx))
    monkeypatch.setattr(checking, 'LEAST_AGREEMENT', 1.01)
    with pytest.raises(UserError, match='int8 is not good enough: the same class as PyTorch for'):
        export(folder / 'v2.pth', format='onnx', int8=True, images=photos, out=tmp_path / 'out.onnx')
    assert not list(tmp_path.iterdir())


def test_folder_without_classes_is_halved(folder, photos, tmp_path):
    model = get_model(folder / 'v2.pth')
    calibrating, held_out = real_images(model, photos / 'train' / 'cat')
    assert (len(calibrating), len(held_out)) == (6, 6)
    assert not held_out.labelled
    assert held_out.spread(2).batch(0, 9)[0].shape == (2, 3, 40, 40)
    calibrating, held_out = real_images(model, photos)
    assert (len(calibrating), len(held_out)) == (36, 12)
    assert held_out.batch(3, 5)[1] == [0, 1]
    shutil.copy(photos / 'val/cat/0.png', tmp_path)
    calibrating, held_out = real_images(model, tmp_path)
    assert (len(calibrating), len(held_out)) == (1, 1)


def test_a_broken_image_among_classes_is_named(folder, photos, tmp_path):
    shutil.copytree(photos, tmp_path / 'photos')
    broken = tmp_path / 'photos/val/dog/2.png'
    broken.write_bytes(b'no image')
    _, held_out = real_images(get_model(folder / 'v2.pth'), tmp_path / 'photos')
    with pytest.raises(UserError, match=f'{broken} cannot be read as an image'):
        held_out.batch(0, len(held_out))


def test_data_of_a_config_is_used_unless_it_is_missing_or_does_not_fit(folder, photos, recwarn):
    model = get_model(folder / 'v2.pth')
    dataset = model._config.test_dataloader.dataset
    assert len(real_images(model, None)[1]) == 3 and not recwarn  # ImageNet is not here
    pipeline = dataset.pipeline
    model._config.test_dataloader.dataset = dict(
        type='CustomDataset', data_root=str(photos), pipeline=pipeline
    )
    with pytest.warns(UserWarning, match='train.*Three photographs take the place of the data'):
        assert len(real_images(model, None)[1]) == 3  # its folders are splits, not classes
    model._config.test_dataloader.dataset.data_root = str(photos / 'train')
    assert sum(map(len, real_images(model, None))) == 36


def test_folders_are_classes_by_their_names(folder, photos, tmp_path):
    model = get_model(folder / 'v2.pth')
    for name, source in dict(owl='owl', cat='dog').items():  # some of the classes
        shutil.copytree(photos / 'train' / source, tmp_path / 'some' / name)
    _, held_out = real_images(model, tmp_path / 'some')
    assert {label for i in range(len(held_out)) for label in held_out.batch(i, i + 1)[1]} == {0, 2}
    for name, source in dict(ape='cat', bee='dog', owl='owl').items():  # the same number of other classes
        shutil.copytree(photos / 'train' / source, tmp_path / 'others' / name)
    _, held_out = real_images(model, tmp_path / 'others')
    assert not held_out.labelled
    assert why_unlabelled(model, tmp_path / 'others').startswith('ape, bee in')
    model._dataset_meta = {}
    assert real_images(model, tmp_path / 'others')[1].labelled
    assert why_unlabelled(model, tmp_path / 'some').endswith('has 2 folders for 3 classes')
    assert why_unlabelled(model, photos / 'train' / 'cat').endswith('has no folders of classes')


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(format='onnx', out='v1.pth'), 'it should be .onnx'),
        (dict(format='tflite'), 'choose from onnx, openvino, torch'),
        (dict(format='openvino', out='taken.xml'), 'taken.xml exists already'),
        (dict(format='openvino', out='half.xml'), 'half.bin exists already'),
        (dict(format='onnx', out='large.onnx'), 'large.onnx.data exists already'),
        (dict(format='torch', int8=True, out='a.pt2'), '--int8 is for --format onnx and openvino'),
        (dict(format='onnx', int8=True, out='a.onnx'), 'at least 32 images, and there are 3'),
        (dict(format='onnx', images='nowhere', out='a.onnx'), '--images nowhere is not a folder'),
    ],
)
def test_wrong_wishes_are_told_and_nothing_is_written(folder, tmp_path, monkeypatch, settings, message):
    if settings['format'] in ('onnx', 'openvino'):
        for library in formats.FORMATS[settings['format']].libraries:
            pytest.importorskip(library)
    there = ['half.bin', 'large.onnx.data', 'taken.xml']
    for name in there:
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        export(folder / 'v2.pth', **settings)
    assert sorted(file.name for file in tmp_path.iterdir()) == there


def test_int8_that_cannot_be_is_refused_before_weights_are_loaded(tmp_path, monkeypatch):
    def loaded(*_, **__):
        pytest.fail('weights were loaded')

    monkeypatch.setattr('mmconvnext.export.exporting.get_model', loaded)
    backbone = next(e.name for e in zoo().values() if e.num_classes is None)
    config = tmp_path / 'backbone.py'
    Config(dict(model=Network(V1, None).config())).dump(config)
    for name in (backbone, config):
        with pytest.raises(UserError, match='has no head'):
            load_classifier(name, None, False, with_head=True)
    with pytest.raises(UserError, match='--int8 is for --format onnx and openvino'):
        check_target(None, 'convnext_atto.d2_in1k', formats.FORMATS['torch'], int8=True)


def test_detectors_and_softmax_of_features_are_refused(tmp_path):
    with pytest.raises(UserError, match='export is for classifiers'):
        export('mask_rcnn_convnext_tiny_1k_3x', format='torch')
    save_classifier(tmp_path / 'features.pth', V1, head=None)
    with pytest.raises(UserError, match='the model has no head'):
        export(tmp_path / 'features.pth', format='torch', softmax=True)


def test_weights_that_do_not_tell_their_preprocessing_are_warned_of(tmp_path, recwarn):
    torch.save(get_model_of(V1, CLASSES).state_dict(), tmp_path / 'bare.pth')
    with pytest.warns(UserWarning, match='name its config in front of it'):
        load_classifier(tmp_path / 'bare.pth', None, trust=False)
    # The values that would be assumed, but stated in the file.
    told = save_classifier(tmp_path / 'told.pth', V1, preprocessing=Preprocessing())
    recwarn.clear()
    load_classifier(told, None, trust=False)
    assert not [warning for warning in recwarn if 'does not tell' in str(warning.message)]


def test_missing_libraries_and_compilers_are_named(monkeypatch):
    found = formats.find_spec
    monkeypatch.setattr(formats, 'find_spec', lambda name: None if name == 'openvino' else found(name))
    with pytest.raises(UserError, match=r'openvino: pip install "mmconvnext\[export\]"'):
        formats.find_format('openvino', int8=True)
    monkeypatch.setattr(formats, 'find_spec', lambda name: None if name == 'nncf' else name)
    assert formats.find_format('openvino', int8=False)
    with pytest.raises(UserError, match=r'needs nncf: pip install "mmconvnext\[export\]"'):
        formats.find_format('openvino', int8=True)
    without = torch._inductor.config.patch({'cpp.cxx': (None, 'no-such-compiler')})
    with without, pytest.raises(UserError, match='there is no C'):
        formats.find_format('torch', int8=False)


def test_openvino_reports_to_nobody():
    pytest.importorskip('openvino')
    code = """
from mmconvnext.export.openvino_file import imported
imported('openvino')
from openvino.tools.ovc import telemetry_utils
print(telemetry_utils.tm.__name__)"""
    assert call(sys.executable, '-c', code).stdout.split()[-1] == 'openvino.tools.ovc.telemetry_stub'


@pytest.mark.slow
@pytest.mark.skipif(shutil.which('g++') is None, reason='needs a C++ compiler')
def test_torch_package_agrees_and_knows_its_classes(folder):
    file = export(folder / 'v2.pth', format='torch', out=folder / 'v2.pt2')
    network = torch._inductor.aoti_load_package(str(file))
    about = json.loads(network.get_metadata()['mmconvnext'])
    assert about['classes'] == list(CLASSES)
    assert about['input'].startswith('contiguous float32 (N, 3, H, W)')
    model = get_model(folder / 'v2.pth').eval()
    for shape in ((1, 3, 32, 32), (3, 3, 50, 71)):
        images = torch.randn(shape)
        with torch.inference_mode():
            expected = model(images, mode='tensor')
        by_pixel = np.ascontiguousarray(images.numpy().transpose(0, 2, 3, 1))  # the dtype of decoded images
        found = torch_package.load(file)(by_pixel.transpose(0, 3, 1, 2))
        np.testing.assert_allclose(found, expected, atol=1e-4 * expected.abs().max().item())


@pytest.mark.slow
@pytest.mark.parametrize(
    'version', [dict(), dict(use_grn=True, layer_scale_init_value=0.0)], ids=['v1', 'v2']
)
def test_tiny_agrees_with_pytorch(version, tmp_path, capsys):
    """Uses the real network with weights with which every block affects the output."""
    pytest.importorskip('onnxscript')
    for library in ('onnxruntime', 'openvino'):
        pytest.importorskip(library)
    save_classifier(tmp_path / 'tiny.pth', dict(version, arch='tiny'), head=tuple(map(str, range(1000))))
    for kind, suffix in (('onnx', 'onnx'), ('openvino', 'xml')):
        assert export(tmp_path / 'tiny.pth', format=kind, out=tmp_path / f'tiny.{suffix}').exists()
        assert 'max error' in capsys.readouterr().out
