"""Files in the format of each peer give the same logits in our network, and convert back bit for bit."""

import json
from pathlib import Path

import mmpretrain
import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from timm.models.convnext import checkpoint_filter_fn
from torch import nn

from mmconvnext.apis.convert import convert
from mmconvnext.checkpoints import FORMATS, load_checkpoint
from mmconvnext.checkpoints.reading import check_whole, recognise, weight_file
from mmconvnext.errors import UserError
from mmconvnext.models import ARCHS
from mmconvnext.models.fitting import network_of
from mmconvnext.zoo.names import load_weights
from tests import peers
from tests.conftest import TINY_ARCH

BASE = pytest.param('base', marks=pytest.mark.slow)
ARCH_NAMES = ['tiny', 'atto', BASE]


def arch_of(name):
    return {key: ARCHS[name][key] for key in ('depths', 'channels')}


def assert_same_logits(file, theirs, source_format='auto', size=64):
    """Convert a file, load it strictly into the network that its weights describe, and compare logits."""
    loaded = load_weights(file, source_format)
    check_whole(loaded)
    network = loaded.network or network_of(loaded.tensors)
    init_default_scope('mmpretrain')
    ours = MODELS.build(network.config()).eval()
    ours.load_state_dict(loaded.tensors, strict=True)
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        expected = theirs.eval()(images)
        found = ours(images)
    found = found[-1] if isinstance(found, tuple) else found
    expected = next(
        (getattr(expected, n) for n in ('logits', 'pooler_output') if hasattr(expected, n)), expected
    )
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * max(1, expected.abs().max().item()))
    return loaded


def assert_same_bits(file, there, back, target_format):
    """Convert a file to our format and back, and check that the tensors are the same."""
    convert(file, there)
    convert(there, back, target_format=target_format)
    first, last = (flat(load_checkpoint(weight_file(f) if f.is_dir() else f)) for f in (file, back))
    assert set(first) == set(last)
    for name, tensor in first.items():
        assert tensor.dtype == last[name].dtype
        assert torch.equal(tensor, last[name]), name


def flat(checkpoint):
    for key in ('model', 'state_dict'):
        if key in checkpoint:
            return checkpoint[key]
    return checkpoint


def test_timm_files(tmp_path):
    for name in ('convnext_tiny', 'convnext_atto', 'convnextv2_tiny', 'convnextv2_atto'):
        check_timm(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['convnext_base', 'convnextv2_base'])
def test_timm_files_of_base(name, tmp_path):
    check_timm(name, tmp_path)


VARIANTS = [
    *('convnext_zepto_rms', 'convnext_zepto_rms_ols', 'convnext_atto_ols', 'convnext_femto_ols'),
    *('convnext_pico_ols', 'convnext_nano_ols', 'convnext_nano'),
]


@pytest.mark.parametrize('name', VARIANTS)
def test_timm_files_of_its_own_variants(name, tmp_path):
    check_timm(name, tmp_path)


def check_timm(name, folder, target_format='timm'):
    theirs = peers.randomize(timm.create_model(name, num_classes=10))
    file = folder / f'{name}.pth'
    torch.save(theirs.state_dict(), file)
    assert assert_same_logits(file, theirs).format == target_format
    back = folder / f'{name}-back.safetensors'
    assert_same_bits(file, folder / f'{name}-ours.pth', back, target_format)
    # timm itself loads the exported file.
    again = timm.create_model(name, num_classes=10, checkpoint_path=str(back))
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(again.eval()(images), theirs.eval()(images))


def test_timm_network_with_the_norm_before_the_pooling(tmp_path):
    theirs = peers.randomize(timm.create_model('convnext_tiny_hnf', num_classes=10))
    file = tmp_path / 'hnf.pth'
    torch.save(theirs.state_dict(), file)
    loaded = load_weights(file)
    assert loaded.format == 'timm-norm-first'
    ours = MODELS.build(loaded.network.config()).eval()
    ours.load_state_dict(loaded.tensors, strict=True)
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(ours(images), theirs.eval()(images), rtol=1e-4, atol=1e-4)
    assert_same_bits(file, tmp_path / 'ours.pth', tmp_path / 'back.pth', 'timm-norm-first')
    # Our file keeps options that weights do not show; formats that cannot represent them refuse the network.
    assert load_weights(tmp_path / 'ours.pth').network.backbone['gap_before_final_norm'] is False
    for target_format in ('timm', 'torchvision'):
        with pytest.raises(UserError, match='before the pooling|has no such network: gap_before'):
            convert(tmp_path / 'ours.pth', tmp_path / 'wrong.pth', target_format=target_format)


def test_timm_network_with_a_hidden_layer_in_the_head(tmp_path):
    theirs = peers.timm_peer(**TINY_ARCH, head_hidden_size=20)
    torch.save(theirs.state_dict(), tmp_path / 'mlp.pth')
    assert_same_logits(tmp_path / 'mlp.pth', theirs)
    assert_same_bits(tmp_path / 'mlp.pth', tmp_path / 'ours.pth', tmp_path / 'back.pth', 'timm')


def test_open_clip_tower_is_timms_network_without_the_bias_of_the_projection(tmp_path):
    for hidden, layers in ((None, {'head.proj': 'head.fc'}), (20, {'head.mlp.fc1': 'head.pre_logits.fc'})):
        theirs = peers.timm_peer(**TINY_ARCH, head_hidden_size=hidden)
        nn.init.zeros_(theirs.head.fc.bias)
        last = 'head.mlp.fc2' if hidden else 'head.proj'
        renames = {'head.fc': last} | {their: our for our, their in layers.items()}
        tower = {}
        for name, weight in theirs.state_dict().items():
            layer, _, kind = name.rpartition('.')
            if layer in renames:
                tower[f'visual.{renames[layer]}.{kind}'] = weight
            else:
                tower[f'visual.trunk.{name}'] = weight
        del tower[f'visual.{last}.bias']
        text = {'transformer.resblocks.0.ln_1.weight': torch.ones(2), 'logit_scale': torch.ones(())}
        torch.save(tower | text, tmp_path / f'clip{hidden}.bin')
        loaded = assert_same_logits(tmp_path / f'clip{hidden}.bin', theirs)
        assert loaded.format == 'open_clip'
        assert set(loaded.left_out) == set(text)
    with pytest.raises(UserError, match='open_clip can be read but not written'):
        convert(tmp_path / 'clipNone.bin', tmp_path / 'out.bin', target_format='open_clip')


@pytest.mark.slow
@pytest.mark.parametrize('name', ARCH_NAMES)
def test_torchvision_files(name, tmp_path):
    theirs = peers.torchvision_peer(**arch_of(name))
    file, back = tmp_path / 'theirs.pth', tmp_path / 'back.pth'
    torch.save(theirs.state_dict(), file)
    assert assert_same_logits(file, theirs).format == 'torchvision'
    assert_same_bits(file, tmp_path / 'ours.pth', back, 'torchvision')
    theirs.load_state_dict(torch.load(back, weights_only=True), strict=True)


@pytest.mark.slow
@pytest.mark.parametrize('version', [1, 2])
@pytest.mark.parametrize('name', ARCH_NAMES)
def test_official_files(name, version, tmp_path):
    theirs = peers.randomize(peers.Official(**arch_of(name), v2=version == 2))
    file, back = tmp_path / 'theirs.pth', tmp_path / 'back.pth'
    torch.save({'model': theirs.state_dict()}, file)
    assert assert_same_logits(file, theirs).format == 'official'
    assert_same_bits(file, tmp_path / 'ours.pth', back, 'official')
    theirs.load_state_dict(torch.load(back, weights_only=True)['model'], strict=True)


@pytest.mark.parametrize('version', [1, 2])
def test_official_names_are_those_that_timm_expects(version):
    """timm also converts official files, to the same names and logits."""
    official = peers.randomize(peers.Official(**TINY_ARCH, v2=version == 2))
    v2 = dict(use_grn=True, ls_init_value=None) if version == 2 else {}
    theirs = peers.timm_peer(**TINY_ARCH, **v2)
    theirs.load_state_dict(checkpoint_filter_fn({'model': official.state_dict()}, theirs), strict=True)
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(official(images), theirs(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('name', ['isotropic-small'])
def test_official_isotropic_files(name, tmp_path):
    theirs = peers.randomize(peers.OfficialIsotropic(ARCHS[name]['depths'][0], ARCHS[name]['channels'][0]))
    torch.save({'model': theirs.state_dict()}, tmp_path / 'theirs.pth')
    assert assert_same_logits(tmp_path / 'theirs.pth', theirs).format == 'official-isotropic'
    assert_same_bits(
        tmp_path / 'theirs.pth', tmp_path / 'ours.pth', tmp_path / 'back.pth', 'official-isotropic'
    )


@pytest.mark.slow
@pytest.mark.parametrize('name', ['atto', 'tiny', BASE])
def test_sparse_files_of_fcmae(name, tmp_path):
    dense = peers.randomize(peers.Official(**arch_of(name), v2=True))
    encoder = {f'encoder.{n}': w for n, w in peers.sparse_layout(dense.state_dict()).items()}
    decoder = {
        'mask_token': torch.ones(1, 8, 1, 1),
        'decoder.0.dwconv.weight': torch.ones(2),
        'pred.bias': torch.ones(3),
    }
    file, back = tmp_path / 'fcmae.pt', tmp_path / 'back.pt'
    torch.save({'model': encoder | decoder}, file)
    loaded = load_weights(file)
    assert loaded.format == 'official-fcmae'
    assert set(loaded.left_out) == set(decoder)
    ours = MODELS.build(network_of(loaded.tensors).config()).backbone.eval()
    missing = ours.load_state_dict(
        {n.removeprefix('backbone.'): w for n, w in loaded.tensors.items()}, strict=False
    )
    assert set(missing.missing_keys) == {'norm3.weight', 'norm3.bias'}
    assert not missing.unexpected_keys
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        *_, last = ours.hidden_states(images)
        torch.testing.assert_close(last, dense.features(images), rtol=1e-5, atol=1e-4)
    convert(file, tmp_path / 'ours.pth')
    convert(tmp_path / 'ours.pth', back, target_format='official-fcmae')
    again = load_checkpoint(back)['model']
    assert set(again) == set(encoder)
    assert all(torch.equal(again[n], encoder[n]) for n in encoder)


@pytest.mark.slow
@pytest.mark.parametrize('version', [1, 2])
@pytest.mark.parametrize('name', ARCH_NAMES)
def test_transformers_directories(name, version, tmp_path):
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    theirs = peers.transformers_peer(**arch_of(name), v2=version == 2)
    theirs.config.id2label = {i: f'kind {i}' for i in range(10)}
    theirs.config.layer_norm_eps = theirs.base_model.layernorm.eps = 1e-12
    theirs.save_pretrained(tmp_path / 'theirs')
    loaded = assert_same_logits(tmp_path / 'theirs', theirs)
    assert loaded.format == 'transformers'
    assert loaded.classes == tuple(f'kind {i}' for i in range(10))
    convert(tmp_path / 'theirs', tmp_path / 'back', target_format='transformers')
    assert_same_bits(
        tmp_path / 'theirs/model.safetensors',
        tmp_path / 'ours.pth',
        tmp_path / 'through_ours',
        'transformers',
    )
    convert(tmp_path / 'theirs', tmp_path / 'official.pth', target_format='official')
    again = AutoModelForImageClassification.from_pretrained(tmp_path / 'back')
    assert again.config.id2label == theirs.config.id2label
    assert again.config.layer_norm_eps == 1e-12
    for key, value in theirs.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key
    processor = AutoImageProcessor.from_pretrained(tmp_path / 'back')
    assert type(processor).__name__.startswith('ConvNextImageProcessor')


def test_bare_model_of_transformers(tmp_path):
    from transformers import ConvNextModel

    theirs = peers.transformers_peer(**TINY_ARCH)
    theirs.base_model.save_pretrained(tmp_path / 'theirs')
    loaded = assert_same_logits(tmp_path / 'theirs', theirs.base_model)
    assert loaded.network.head is None
    assert isinstance(theirs.base_model, ConvNextModel)


def test_dinov3_directories(tmp_path):
    from transformers import AutoModel, DINOv3ConvNextConfig, DINOv3ConvNextModel

    sizes = dict(depths=[1, 1, 2, 1], hidden_sizes=[8, 16, 24, 32])
    theirs = peers.randomize(DINOv3ConvNextModel(DINOv3ConvNextConfig(**sizes, layer_norm_eps=1e-5)))
    theirs.save_pretrained(tmp_path / 'theirs')
    loaded = assert_same_logits(tmp_path / 'theirs', theirs)
    assert loaded.format == 'transformers-dinov3'
    assert loaded.network.backbone['norm_cfg']['eps'] == 1e-5
    convert(tmp_path / 'theirs', tmp_path / 'back', target_format='transformers-dinov3')
    again = AutoModel.from_pretrained(tmp_path / 'back')
    assert again.config.layer_norm_eps == 1e-5
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(again.eval()(images).pooler_output, theirs.eval()(images).pooler_output)


@pytest.mark.parametrize('version', [{}, dict(use_grn=True, layer_scale_init_value=0.0)])
def test_files_of_mmpretrain_and_of_mmcls_with_averaged_weights(version, tmp_path):
    init_default_scope('mmpretrain')
    model = dict(
        type='ImageClassifier',
        backbone=dict(type='ConvNeXt', arch=dict(TINY_ARCH), out_indices=(3,), **version),
        head=dict(type='LinearClsHead', num_classes=10, in_channels=32),
    )
    theirs = peers.randomize(MODELS.build(model))
    averages = {f'ema_{n.replace(".", "_")}': w for n, w in theirs.state_dict().items()}
    torch.save(
        {'meta': {'CLASSES': 'abc'}, 'state_dict': theirs.state_dict() | averages}, tmp_path / 'old.pth'
    )
    loaded = assert_same_logits(tmp_path / 'old.pth', theirs)
    assert loaded.format == 'openmmlab'
    assert set(loaded.left_out) == set(averages)


@pytest.mark.parametrize('names', ['official', 'openmmlab'])
def test_detectors_and_segmenters_keep_the_names_of_their_heads(names, tmp_path):
    official = peers.randomize(peers.Official(**TINY_ARCH)).state_dict()
    backbone = {n: w for n, w in official.items() if not n.startswith(('norm', 'head'))}
    norms = {
        f'backbone.norm{i}.{k}': torch.rand(c)
        for i, c in enumerate(TINY_ARCH['channels'])
        for k in ('weight', 'bias')
    }
    heads = {
        'roi_head.bbox_head.0.fc_cls.weight': torch.rand(3, 4),
        'neck.lateral_convs.0.conv.weight': torch.rand(2, 2),
    }
    file = tmp_path / 'cascade.pth'
    torch.save({'state_dict': {f'backbone.{n}': w for n, w in backbone.items()} | norms | heads}, file)
    if names == 'openmmlab':
        convert(file, tmp_path / 'ours.pth')
        file = tmp_path / 'ours.pth'
    loaded = load_weights(file)
    assert loaded.format == {'official': 'official-downstream'}.get(names, names)
    check_whole(loaded)
    assert network_of(loaded.tensors).backbone['out_indices'] == (0, 1, 2, 3)
    assert all(torch.equal(loaded.tensors[name], weight) for name, weight in (norms | heads).items())
    assert_same_bits(file, tmp_path / 'there.pth', tmp_path / 'back.pth', loaded.format)


def test_every_format_is_tested_here():
    tested = Path(__file__).read_text()
    assert [
        name for name in FORMATS if f"'{name}'" not in tested and name not in ('tensorflow', 'keras')
    ] == []


def test_pre_training_of_spark_leaves_its_decoder_behind(monkeypatch):
    """Uses the parameter names of the model that mmpretrain's own config builds."""
    linspace = torch.linspace
    monkeypatch.setattr(torch, 'linspace', lambda *args, **_: linspace(*args, device='cpu'))
    init_default_scope('mmpretrain')
    configs = Path(mmpretrain.__file__).parent / '.mim/configs/spark'
    cfg = Config.fromfile(configs / 'spark_sparse-convnextv2-tiny_16xb256-amp-coslr-800e_in1k.py')
    with torch.device('meta'):
        theirs = MODELS.build(cfg.model)
    loaded = recognise(theirs.state_dict(), 'spark')
    assert loaded.format == 'openmmlab'
    assert loaded.unknown == ()
    check_whole(loaded)
    assert network_of(loaded.tensors).backbone == dict(arch='tiny', use_grn=True, layer_scale_init_value=0.0)


def test_activation_eps_and_preprocessing_survive_our_own_format(tmp_path):
    theirs = peers.transformers_peer(**TINY_ARCH, hidden_act='relu')
    theirs.base_model.layernorm.eps = theirs.config.layer_norm_eps = 0.1
    theirs.save_pretrained(tmp_path / 'theirs')
    (tmp_path / 'theirs/preprocessor_config.json').write_text('{"size": {"shortest_edge": 48}}')
    convert(tmp_path / 'theirs', tmp_path / 'ours.pth')
    loaded = assert_same_logits(tmp_path / 'ours.pth', theirs)
    assert loaded.preprocessing.size == 48
    convert(tmp_path / 'ours.pth', tmp_path / 'back', target_format='transformers')
    config = json.loads((tmp_path / 'back/config.json').read_text())
    assert (config['hidden_act'], config['layer_norm_eps']) == ('relu', 0.1)
