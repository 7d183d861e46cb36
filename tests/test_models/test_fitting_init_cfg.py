"""In a config of any library, a backbone is initialized with the weights that its init_cfg names."""

import pytest
import timm
import torch
from mmengine.registry import MODELS, DefaultScope
from safetensors.torch import save_file

from mmconvnext import get_model
from mmconvnext.errors import UserError
from tests.servers import serve

# Represents any published name: 0.3 million parameters.
NAME = 'test_convnext.r160_in1k'
ARCH = dict(depths=(1, 2, 4, 2), channels=(24, 32, 48, 64))
FROM_ZOO = dict(type='Pretrained', checkpoint=f'mmconvnext://{NAME}', prefix='backbone.')
DENSE = dict(out_indices=(0, 1, 2, 3), gap_before_final_norm=False)


@pytest.fixture(autouse=True)
def _published(tmp_path, monkeypatch):
    """Serve random weights under the published name."""
    (tmp_path / f'hub/timm/{NAME}').mkdir(parents=True)
    weights = timm.create_model('test_convnext').state_dict()
    save_file(
        {n: torch.randn_like(w) for n, w in weights.items()}, tmp_path / f'hub/timm/{NAME}/model.safetensors'
    )
    with serve(tmp_path / 'hub') as url:
        monkeypatch.setenv('HF_ENDPOINT', url)
        monkeypatch.setenv('MMCONVNEXT_HOME', str(tmp_path / 'cache'))
        yield


def build(**arguments):
    """Build a backbone in the scope of a library that does not know ours."""
    with DefaultScope.overwrite_default_scope('mmengine'):
        backbone = MODELS.build(
            dict(type='mmconvnext.ConvNeXt', **{'arch': ARCH, 'init_cfg': FROM_ZOO, **arguments})
        )
        backbone.init_weights()
    return backbone


def expected():
    weights = get_model(NAME, pretrained=True).backbone.state_dict()
    return {n: w for n, w in weights.items() if not n.startswith('norm')}


def test_name_of_the_zoo_is_downloaded_and_converted():
    found = build(**DENSE).state_dict()
    torch.testing.assert_close({n: w for n, w in found.items() if not n.startswith('norm')}, expected())
    for stage in range(4):  # new, as in the official detectors: a classifier's norm follows its pooling
        assert found[f'norm{stage}.weight'].eq(1).all()
        assert found[f'norm{stage}.bias'].eq(0).all()


def test_a_classifier_keeps_its_norm():
    ours = build().state_dict()
    torch.testing.assert_close(ours, get_model(NAME, pretrained=True).backbone.state_dict())


def test_norms_of_a_detector_are_kept(tmp_path):
    detector = build(**DENSE, init_cfg=None).state_dict()
    torch.save(
        dict(state_dict={f'backbone.{n}': torch.randn_like(w) for n, w in detector.items()}),
        tmp_path / 'd.pth',
    )
    init = dict(type='Pretrained', checkpoint=str(tmp_path / 'd.pth'), prefix='backbone.')
    written = torch.load(tmp_path / 'd.pth')['state_dict']
    torch.testing.assert_close(
        {f'backbone.{n}': w for n, w in build(**DENSE, init_cfg=init).state_dict().items()}, written
    )


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(arch='atto'), 'does not fit the model: .*of another shape'),
        (dict(use_grn=True, layer_scale_init_value=0.0), 'does not fit the model: .* missing .*grn'),
        (
            dict(init_cfg=dict(type='Pretrained', checkpoint=f'mmconvnext://{NAME}')),
            "write init_cfg=.*prefix='backbone.'",
        ),
        (dict(init_cfg={**FROM_ZOO, 'checkpoint': 'mmconvnext://convnext_tinny'}), 'the zoo has no'),
    ],
)
def test_weights_of_another_network_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        build(**DENSE, **arguments)
