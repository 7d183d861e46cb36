"""Quantized files keep what has to stay in fp32, and are refused if they change the classes."""

import json
import shutil

import numpy as np
import pytest
from mmengine.config import Config

from mmconvnext.errors import UserError
from mmconvnext.export import checking, export, formats, onnx_file
from mmconvnext.export.exporting import check_target, load_classifier
from mmconvnext.models.network import Network
from mmconvnext.zoo.entries import zoo
from tests.test_export.small_classifiers import CLASSES, V1, copy_of


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
