"""The comparison with peers measures equal networks, and its rows state the conditions."""

import json

import compare as comparison
import contenders
import pytest
import timing
import torch
from compare import compare
from contenders import Condition, build, contender
from dense_masking import DenseFCMAE
from mmpretrain.structures import DataSample
from PIL import Image

from mmconvnext.errors import UserError
from mmconvnext.models import FCMAE, ConvNeXt
from mmconvnext.models.inference import InferenceConvNeXt


@pytest.fixture(autouse=True)
def _brief(monkeypatch):
    monkeypatch.setattr(timing, 'SHORTEST_TIMING', 1e-4)


@pytest.mark.parametrize('arch', ['tiny', 'v2-tiny'])
def test_everybody_has_the_same_number_of_parameters(arch):
    libraries = ['mmconvnext', 'timm', 'transformers', 'mmpretrain', 'torchvision'][
        : 4 if 'v2' in arch else 5
    ]
    sizes = {library: sum(p.numel() for p in build(library, arch).parameters()) for library in libraries}
    assert set(sizes.values()) == {28589128 if arch == 'tiny' else 28635496}, sizes


@pytest.mark.parametrize('mode', ['inference', 'training'])
def test_rows_hold_speed_and_conditions(mode, tmp_path, capsys):
    names = ['mmconvnext eager', 'mmconvnext optimized', 'timm eager', 'torchvision eager']
    options = dict(mode=[mode], size=32, contenders=names, plot=tmp_path / 'bars.png')
    compare(arch=['atto', 'tiny'], quick=True, out=tmp_path / 'new/rows.jsonl', **options)
    rows = [json.loads(line) for line in (tmp_path / 'new/rows.jsonl').read_text().splitlines()]
    # torchvision has no atto, and a network optimized for inference does not train.
    able = ['mmconvnext eager', *names[1:2][: mode == 'inference'], 'timm eager']
    assert [(row['batch'], row['contender']) for row in rows] == [(b, n) for b in (1, 8) for n in able]
    for row in rows:
        assert row['lower_quartile'] <= row['images_per_second'] <= row['upper_quartile']
        assert (row['arch'], row['mode'], row['size'], row['device']) == ('atto', mode, 32, 'cpu')
        assert row['peak_mib'] is None  # which takes long
        assert row['conditions']['torch'] == torch.__version__
    assert f'atto {mode} fp32' in capsys.readouterr().out
    assert Image.open(tmp_path / 'bars.png').width == 960


def test_pretraining_is_compared_with_whole_maps(tmp_path):
    compare(arch=['v2-atto'], mode=['pretraining'], batch=[2], size=64, rounds=2, out=tmp_path / 'rows.jsonl')
    rows = [json.loads(line) for line in (tmp_path / 'rows.jsonl').read_text().splitlines()]
    assert [row['contender'] for row in rows] == ['mmconvnext eager', 'dense_masking eager']
    assert all(row['mode'] == 'pretraining' and row['peak_mib'] > 0 for row in rows)


def test_pretraining_on_whole_maps_has_the_same_loss():
    backbone = ConvNeXt('atto', use_grn=True, layer_scale_init_value=0.0, out_indices=())
    ours, dense = FCMAE(backbone), DenseFCMAE(backbone)
    dense.load_state_dict(ours.state_dict())
    images, masked = (
        torch.randn(2, 3, 64, 96),
        torch.tensor([[0, 1, 1, 1, 0, 1], [1, 0, 1, 1, 0, 1]]).view(2, 2, 3),
    )
    samples = [DataSample().set_mask(mask.bool()) for mask in masked]
    torch.testing.assert_close(ours.loss(images, samples), dense.loss(images, samples))


def test_wrong_form_is_not_timed(monkeypatch, tmp_path):
    right = InferenceConvNeXt.forward
    monkeypatch.setattr(InferenceConvNeXt, 'forward', lambda self, x: tuple(y + 0.1 for y in right(self, x)))
    with pytest.raises(UserError, match='differ by .* it is not timed until they agree'):
        compare(arch=['atto'], mode=['inference'], batch=[1], size=32, out=tmp_path / 'rows.jsonl')
    assert not (tmp_path / 'rows.jsonl').exists()


@pytest.mark.parametrize(
    ('options', 'problem'),
    [
        (dict(arch=['giant']), 'network giant is unknown'),
        (
            dict(contenders=['keras eager']),
            'keras eager cannot be measured here; choose from mmconvnext eager',
        ),
        (dict(rounds=1), '--rounds is 1'),
    ],
)
def test_wrong_arguments_are_named(options, problem):
    with pytest.raises(UserError, match=problem):
        compare(**options)


def test_training_step_changes_every_weight():
    condition = Condition('atto', 'training', 'fp32', 2, 32, 'cpu')
    built = []
    original = contenders.build
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contenders, 'build', lambda *args: built.append(original(*args)) or built[0])
        step = contender('mmconvnext eager', condition)
    before = [p.clone() for p in built[0].parameters()]
    step()
    assert all(not torch.equal(a, b) for a, b in zip(before, built[0].parameters(), strict=True))


def test_memory_is_that_of_the_call():
    small, large = (
        comparison.peak_memory('mmconvnext eager', Condition('atto', 'training', 'fp32', batch, 64, 'cpu'))
        for batch in (2, 64)
    )
    assert large > small + 100
