"""Exported files in their runtimes, without this package."""

import json
import re
import shutil
import sys

import numpy as np
import pytest
import torch
import torch._inductor.config
from PIL import Image

from mmconvnext.export import checking, export, torch_package
from mmconvnext.export.graph import Graph
from mmconvnext.export.images import carried_photographs, real_images
from mmconvnext.images.preprocessing import Preprocessing
from mmconvnext.zoo.models import get_model
from tests.processes import call
from tests.test_export.small_classifiers import CLASSES, MEAN, V1, save_classifier


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
