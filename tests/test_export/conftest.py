"""Small classifiers, exported files that several tests read, and photographs."""

import pytest
from PIL import Image

from mmconvnext.export import export
from mmconvnext.export.images import carried_photographs
from tests.test_export.small_classifiers import CLASSES, V1, V2, save_classifier


@pytest.fixture(scope='session')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('exported')
    save_classifier(folder / 'v1.pth', V1)
    save_classifier(folder / 'v2.pth', V2)
    return folder


@pytest.fixture(scope='session')
def plain_onnx(folder):
    pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    return export(folder / 'v2.pth', format='onnx', out=folder / 'v2.onnx')


@pytest.fixture(scope='session')
def openvino_from_pixels(folder):
    pytest.importorskip('openvino')
    pytest.importorskip('onnxscript')
    return export(folder / 'v1.pth', format='openvino', out=folder / 'v1.xml', preprocess=True, softmax=True)


@pytest.fixture(scope='session')
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
