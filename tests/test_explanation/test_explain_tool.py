"""The pictures and errors of tools/explain.py."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from mmconvnext.apis import explain as module
from mmconvnext.apis.explain import explain, find_class
from mmconvnext.errors import UserError
from mmconvnext.explanation import grad_cam, occlusion
from mmconvnext.explanation.grad_cam import pointing_stage
from mmconvnext.inference.classifier import ImageClassificationInferencer
from mmconvnext.reports.class_results import distinct_names
from mmconvnext.zoo import get_model
from tests.conftest import REPO
from tests.peers import randomize
from tests.processes import call


@pytest.fixture
def weights(tiny_config, tmp_path):
    """Save a checkpoint with ten named classes; occlusion hides 5 x 5 of its 32 x 32 pixels."""
    model = randomize(get_model(tiny_config))
    names = (*'012345678', 'nine $x$ <b>')
    file = tmp_path / 'net.pth'
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=names))), file)
    return file


def test_picture_shows_what_the_functions_give(tiny_config, weights, photos, tmp_path, monkeypatch, capsys):
    drawn = []
    draw = module.save_explanation
    monkeypatch.setattr(module, 'save_explanation', lambda e, out: (drawn.append(e), draw(e, out)))
    network = dict(model=str(tiny_config), checkpoint=str(weights))
    explain([str(photos)], **network, class_name='7', patch=8, out_dir=str(tmp_path / 'out'))
    inferencer = ImageClassificationInferencer(tiny_config, weights)
    for name, found in zip(('a.jpg', 'b.png'), drawn, strict=True):
        result = inferencer(photos / name)[0]
        assert found.target['label'] == 7
        assert found.target['score'] == pytest.approx(result['pred_scores'][7], rel=1e-4)
        assert [each['label'] for each in found.ranked] == [each['label'] for each in result['topk']]
        pixels = np.asarray(Image.open(photos / name).resize((32, 32), Image.Resampling.BICUBIC))
        assert np.abs(found.image.astype(int) - pixels).max() <= 2
        images = (torch.from_numpy(found.image.copy()).movedim(-1, 0)[None] - 127.5) / 127.5
        seven = torch.tensor([7])
        expected = grad_cam(inferencer.model, images, seven, stage=1)[0]
        np.testing.assert_allclose(found.grad_cam, expected, atol=1e-3)
        expected = occlusion(inferencer.model, images, seven, patch=8, stride=4)[0]
        np.testing.assert_allclose(found.occlusion, expected, atol=1e-4)
        assert [stage.shape for stage in found.stages] == [(8, 8, 3), (4, 4, 3), (2, 2, 3), (1, 1, 3)]
        picture = Image.open(tmp_path / 'out' / (name if name.endswith('.png') else f'{name}.png'))
        assert min(picture.size) > 500
    assert capsys.readouterr().out.count('Wrote ') == 2


def test_broken_images_are_told_at_the_end(tiny_config, weights, photos, tmp_path):
    (photos / 'aa.jpg').write_bytes(b'no image')
    (photos / 'b.png').rename(photos / os.fsdecode(b'gr\xfcn.png'))  # fonts have no glyphs for invalid UTF-8
    network = dict(model=str(tiny_config), checkpoint=str(weights))
    with pytest.raises(UserError, match=r'1 of 3 images could not be read.*\n.*aa.jpg: has 8 bytes'):
        explain([str(photos)], **network, out_dir=str(tmp_path / 'out'))
    assert sorted(file.name for file in (tmp_path / 'out').iterdir()) == [
        'a.jpg.png',
        os.fsdecode(b'gr\xfcn.png'),
    ]


def test_wishes_are_checked_before_the_model_is_loaded(photos, tmp_path):
    one, both = [str(photos / 'a.jpg')], [str(photos)]
    (tmp_path / 'there.png').touch()
    for inputs, options, message in (
        (one, dict(), '--out-dir'),
        (one, dict(out='a.png', out_dir='b'), '--out-dir'),
        (both, dict(out='a.png'), 'but there are 2 images'),
        (one, dict(out='a.jpg'), 'ends in .png'),
        (one, dict(out=str(tmp_path / 'there.png')), 'exists already'),
        (['nowhere.jpg'], dict(out='a.png'), 'nowhere.jpg does not exist'),
    ):
        with pytest.raises(UserError, match=message):
            explain(inputs, model='convnext_atto.d2_in1k', **options)


def test_class_is_found_by_name_or_number_and_near_ones_are_named():
    names = distinct_names(['cat', 'Dog', '10', 'great white shark', 'crane', 'crane'], 6)
    assert [find_class(wanted, names) for wanted in ('cat', 'dog', '1', '10')] == [0, 1, 1, 2]
    for wanted, near in (
        ('caat', 'did you mean cat'),
        ('great white shork', 'great white shark'),
        ('7', '10'),
        ('crane', r'crane \(5\)'),
    ):
        with pytest.raises(UserError, match=f'no class {wanted!r}.*{near}'):
            find_class(wanted, names)


def test_grad_cam_is_of_the_last_stage_that_can_point_somewhere():
    assert pointing_stage([torch.empty(1, 3, side, side) for side in (56, 28, 14, 7)]) == 3
    assert pointing_stage([torch.empty(1, 3, side, side) for side in (8, 4, 2, 1)]) == 1
    assert pointing_stage([torch.empty(1, 3, side, 9) for side in (2, 1)]) == 0


def test_tool_draws_one_picture_and_refuses_unknown_stages(tiny_config, weights, photos, tmp_path):
    command = ['tools/explain.py', photos / 'a.jpg', '--config', tiny_config, '--checkpoint', weights]
    done = call(*command, '--class', 'nine $x$ <b>', '--out', tmp_path / 'why.png')
    assert done.returncode == 0, done.stderr[-2000:]
    assert 'nine $x$ <b>' in done.stdout
    assert Image.open(tmp_path / 'why.png').width > 1000
    refused = call(*command, '--stage', 4, '--out', tmp_path / 'other.png', cwd=REPO)
    assert refused.returncode == 1
    assert refused.stderr == 'Error: --stage is 4; the network has 4 stages, numbered from 0\n'
    assert not (tmp_path / 'other.png').exists()
