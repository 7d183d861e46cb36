"""Models by name, with weights downloaded over real HTTP in the format of each source."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

import mmconvnext
from mmconvnext.apis import load_config
from mmconvnext.errors import UserError
from mmconvnext.zoo import get_model
from tests import peers
from tests.conftest import REPO, TINY_ARCH
from tests.servers import serve

IMAGES = torch.randn(2, 3, 64, 64)


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Serve a folder as the hub and, by host name, as every other server."""
    folder = tmp_path / 'published'
    folder.mkdir()
    monkeypatch.setenv('MMCONVNEXT_HOME', str(tmp_path / 'cache'))
    with serve(folder) as url:
        monkeypatch.setenv('HF_ENDPOINT', url)
        monkeypatch.setenv('MMCONVNEXT_MIRROR', url)
        yield folder


def publish(folder, path, weights):
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, file) if file.suffix == '.safetensors' else torch.save(weights, file)


def logits(model):
    with torch.no_grad():
        return model.eval().head(model.extract_feat(IMAGES))


def test_no_file_under_a_published_name_makes_a_network_larger_than_its_weights(published):
    weights = get_model('test_convnext2.r160_in1k').state_dict()
    # The MLP of a block with so many channels would need 281 terabytes.
    weights['backbone.stages.3.0.depthwise_conv.weight'] = torch.zeros(1 << 22, 1, 1, 1)
    entry = mmconvnext.get_entry('convnext-tiny_32xb128_in1k')
    # Files that users put there themselves are used as they are.
    file = published.parent / 'cache/checkpoints' / entry.weights.rsplit('/', 1)[1]
    publish(file.parent, file.name, dict(meta=dict(mmconvnext={}), state_dict=weights))
    with pytest.raises(UserError, match='does not fit the model'):
        get_model(entry.name, pretrained=True)


@pytest.mark.parametrize('name', ['test_convnext.r160_in1k', 'test_convnext3.r160_in1k'])
def test_hub_weights_of_timm_come_with_preprocessing_and_class_names(name, published):
    theirs = peers.randomize(timm.create_model(name.split('.')[0]))
    publish(published, f'timm/{name}/model.safetensors', theirs.state_dict())
    model = mmconvnext.get_model(name, pretrained=True)
    with torch.no_grad():
        torch.testing.assert_close(logits(model), theirs.eval()(IMAGES), rtol=1e-5, atol=1e-5)
    assert model._dataset_meta['classes'][0] == 'tench, Tinca tinca'
    assert model.preprocessing == mmconvnext.get_entry(name).preprocessing
    image = Image.fromarray(np.zeros((200, 300, 3), np.uint8))
    assert model.preprocessing(image).shape == (3, 160, 160)


def test_older_hub_repositories_have_a_pickle_only(published):
    theirs = peers.randomize(timm.create_model('test_convnext2'))
    publish(published, 'timm/test_convnext2.r160_in1k/pytorch_model.bin', theirs.state_dict())
    model = get_model('test_convnext2.r160_in1k', pretrained=True)
    with torch.no_grad():
        torch.testing.assert_close(logits(model), theirs.eval()(IMAGES), rtol=1e-5, atol=1e-5)


def test_official_weights_come_from_a_url(published):
    theirs = peers.randomize(peers.Official((2, 2, 6, 2), (40, 80, 160, 320), v2=True, num_classes=1000))
    path = 'dl.fbaipublicfiles.com/convnext/convnextv2/im1k/convnextv2_atto_1k_224_ema.pt'
    publish(published, path, {'model': theirs.state_dict()})
    model = get_model('convnextv2_atto.1k_224_ema', pretrained=True)
    with torch.no_grad():
        torch.testing.assert_close(logits(model), theirs.eval()(IMAGES), rtol=1e-5, atol=1e-5)
    # A head for other classes is initialized, on the same backbone.
    tuned = get_model('convnextv2_atto.1k_224_ema', pretrained=True, head=dict(num_classes=7))
    assert logits(tuned).shape == (2, 7)
    assert torch.equal(tuned.extract_feat(IMAGES)[0], model.extract_feat(IMAGES)[0])
    assert tuned._dataset_meta == {}


def test_pre_trained_encoders_have_features_only(published):
    theirs = peers.randomize(peers.Official((2, 2, 6, 2), (40, 80, 160, 320), v2=True))
    sparse = {f'encoder.{n}': w for n, w in peers.sparse_layout(theirs.state_dict()).items()}
    path = 'dl.fbaipublicfiles.com/convnext/convnextv2/pt_only/convnextv2_atto_1k_224_fcmae.pt'
    publish(published, path, {'model': sparse | {'mask_token': torch.ones(1)}})
    model = get_model('convnextv2_atto.1k_224_fcmae', pretrained=True).eval()
    assert model.head is None
    with torch.no_grad():
        *_, last = model.backbone.hidden_states(IMAGES)
        torch.testing.assert_close(last, theirs.features(IMAGES), rtol=1e-5, atol=1e-4)


def test_hub_directory_of_transformers_says_itself_what_it_is(published):
    theirs = peers.transformers_peer(**TINY_ARCH)
    theirs.config.id2label = {i: f'kind {i}' for i in range(10)}
    theirs.base_model.layernorm.eps = theirs.config.layer_norm_eps = 0.1
    theirs.save_pretrained(published / 'facebook/convnext-tiny-224')
    processor = (
        '{"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 48}, "resample": 2}'
    )
    (published / 'facebook/convnext-tiny-224/preprocessor_config.json').write_text(processor)
    model = get_model('facebook/convnext-tiny-224', pretrained=True)
    with torch.no_grad():
        torch.testing.assert_close(logits(model), theirs.eval()(IMAGES).logits, rtol=1e-5, atol=1e-5)
    assert model._dataset_meta['classes'][9] == 'kind 9'
    assert (model.preprocessing.size, model.preprocessing.interpolation) == (48, 'bilinear')


def test_weights_of_another_network_are_not_loaded(published):
    publish(
        published,
        'timm/test_convnext.r160_in1k/model.safetensors',
        timm.create_model('test_convnext2').state_dict(),
    )
    with pytest.raises(UserError, match='does not fit the model'):
        get_model('test_convnext.r160_in1k', pretrained=True)


def test_weights_of_another_name_do_not_replace_the_network(published):
    theirs = timm.create_model('test_convnext2')
    publish(published, 'timm/test_convnext2.r160_in1k/model.safetensors', theirs.state_dict())
    for name in ('convnext_atto.d2_in1k', 'convnext-v2-atto_32xb32_in1k'):
        with pytest.raises(UserError, match='does not fit the model'):
            get_model(name, 'test_convnext2.r160_in1k')


def test_model_of_a_config_takes_weights_of_any_format_and_overrides(tmp_path):
    theirs = peers.timm_peer(**TINY_ARCH, use_grn=True, ls_init_value=None)
    torch.save(theirs.state_dict(), tmp_path / 'timm.pth')
    small = dict(backbone=dict(arch=TINY_ARCH, drop_path_rate=0.5), head=dict(num_classes=10, in_channels=32))
    model = get_model('convnext-v2-atto_32xb32_in1k', tmp_path / 'timm.pth', **small)
    with torch.no_grad():
        torch.testing.assert_close(logits(model), theirs.eval()(IMAGES), rtol=1e-5, atol=1e-5)
    assert model.backbone.stages[3][0].drop_path.drop_prob == 0.5
    # The network is inferred from the weights.
    with torch.no_grad():
        torch.testing.assert_close(logits(get_model(tmp_path / 'timm.pth')), logits(model))


@pytest.mark.parametrize(
    ('arguments', 'overrides', 'message'),
    [
        (['convnext_tiny.fb'], {}, 'model convnext_tiny.fb does not exist; did you mean'),
        (
            ['convnext-tiny_32xb128_in1k-384px', True],
            {},
            'is a recipe; the zoo has weights',
        ),
        (['convnext-atto_1xb48_digits', True], {}, "the zoo has no weights of 'convnext-atto_1xb48_digits'"),
        (
            ['convnext_atto.d2_in1k'],
            dict(backbone=dict(drop_path=0.1)),
            "has no 'drop_path'; did you mean drop_path_rate",
        ),
        (['convnext_atto.d2_in1k'], dict(had=dict(num_classes=3)), "model has no 'had'; did you mean head"),
    ],
)
def test_wrong_names_and_options_say_what_is_meant(arguments, overrides, message):
    with pytest.raises(UserError, match=message):
        get_model(*arguments, **overrides)


def test_every_entry_is_a_config_that_can_be_tested():
    for name in ('convnext_nano_ols.d1h_in1k', 'convnext_base.clip_laion2b_augreg_ft_in12k_in1k_384'):
        cfg = load_config(name)
        entry = mmconvnext.get_entry(name)
        assert cfg.test_dataloader.dataset.pipeline[1].scale in (entry.preprocessing.resize, (384, 384))
        assert cfg.data_preprocessor.mean == [255 * m for m in entry.preprocessing.mean]
        assert cfg.model.head.num_classes == entry.num_classes


@pytest.mark.parametrize('tool', ['train', 'test', 'convert', 'plot_predictions'])
def test_a_pickle_with_code_runs_nothing_through_any_tool(tool, tmp_path):
    """Except infer, which has its own test."""
    from tests.test_checkpoints.test_loading import RunsCode
    from tests.test_tools import DIGITS, call

    evil, marker = tmp_path / 'evil.pth', tmp_path / 'was_run'
    torch.save({'state_dict': {'w': torch.ones(1)}, 'extra': RunsCode(marker)}, evil)
    arguments = {
        'train': [REPO / DIGITS, '--work-dir', tmp_path / 'w', '--resume', evil],
        'test': [REPO / DIGITS, evil, '--work-dir', tmp_path / 'w'],
        'convert': [evil, tmp_path / 'out.pth'],
        'plot_predictions': [REPO / DIGITS, evil, tmp_path / 'out.png'],
    }[tool]
    result = call(REPO / f'tools/{tool}.py', *arguments, cwd=tmp_path)
    assert result.returncode == 1
    assert 'which can run arbitrary code' in result.stderr
    assert '--trust-checkpoint' in result.stderr
    assert [file.name for file in tmp_path.iterdir()] == ['evil.pth']


def test_trust_runs_what_the_file_asks_for_and_says_so(tmp_path):
    from tests.test_checkpoints.test_loading import RunsCode

    file, marker = tmp_path / 'own.pth', tmp_path / 'was_run'
    torch.save({'state_dict': peers.timm_peer(**TINY_ARCH).state_dict(), 'extra': RunsCode(marker)}, file)
    with pytest.warns(UserWarning, match='is trusted: code in it runs now, with your permissions'):
        get_model(file, trust_checkpoint=True)
    assert marker.exists()
