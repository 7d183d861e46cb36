"""Exports compute what the model does, and invalid arguments are refused before anything is written."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch._inductor.config

from mmconvnext.errors import UserError
from mmconvnext.export import checking, export, formats
from mmconvnext.export.exporting import load_classifier
from mmconvnext.export.graph import Graph
from mmconvnext.export.images import Images
from mmconvnext.images.preprocessing import Preprocessing
from tests.test_export.small_classifiers import CLASSES, V1, V2, copy_of, get_model_of, save_classifier


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
