"""Published weights of SparK start further pre-training and fine-tuning; their values here are random."""

import pytest
import torch
from mmpretrain.registry import MODELS as MMPRETRAIN

from mmconvnext.apis import train
from mmconvnext.errors import UserError
from tests.conftest import REPO

DEPTHS, CHANNELS = (1, 1, 2), (8, 16, 32)
DECODER = 'neck.norms, neck.mask_tokens, neck.projections, neck.decoder'


def write_config(file, bases, model, **backbone):
    arch = dict(_delete_=True, depths=DEPTHS, channels=CHANNELS, stem_patch_size=2)
    model = dict(model, backbone=dict(arch=arch, drop_path_rate=0.0, **backbone))
    bases = [str(REPO / f'configs/{base}.py') for base in bases]
    few = 'dict(batch_size=16, dataset=dict(indices=32))'
    file.write_text(
        f'_base_ = {bases}\nmodel = {model}\ntrain_dataloader = {few}\n'
        'param_scheduler = dict(epochs=2, warmup_epochs=1)\ntrain_cfg = dict(max_epochs=1)\n'
    )
    return file


def pretraining(folder, **backbone):
    bases = ('models/spark', 'datasets/digits_masked_32', 'schedules/spark_1600e', 'default_runtime')
    model = dict(patch_size=8, decoder_channels=16)
    return write_config(folder / 'spark.py', [f'_base_/{base}' for base in bases], model, **backbone)


def fine_tuning(folder, version, **backbone):
    base = f'digits/convnext-{version}atto_1xb48_digits'
    return write_config(folder / 'ft.py', [base], dict(head=dict(in_channels=32)), **backbone)


def start(config, work_dir, load_from):
    """Start from weights without changing them, and return the weights and the lines of the log on them."""
    options = {
        'load_from': str(load_from),
        'optim_wrapper.optimizer.lr': 0.0,
        'optim_wrapper.optimizer.weight_decay': 0.0,
    }
    train(config, work_dir=str(work_dir), cfg_options=options, no_validate=True, rehearsal=False)
    (log,) = work_dir.glob('*/*.log')
    lines = [line.partition('WARNING - ')[2] for line in log.read_text().splitlines() if 'loaded' in line]
    return torch.load(work_dir / 'epoch_1.pth', weights_only=False)['state_dict'], lines


def official_encoder():
    """Return random weights of an encoder without norm and classifier, named as in models/convnext.py."""
    torch.manual_seed(0)
    shapes = {}
    for i, (depth, channels) in enumerate(zip(DEPTHS, CHANNELS, strict=True)):
        before = CHANNELS[i - 1] if i else 3
        convolution, norm, normed = (1, 0, before) if i else (0, 1, channels)
        kernel = 2
        shapes[f'downsample_layers.{i}.{convolution}.weight'] = (channels, before, kernel, kernel)
        shapes[f'downsample_layers.{i}.{convolution}.bias'] = (channels,)
        shapes[f'downsample_layers.{i}.{norm}.weight'] = (normed,)
        shapes[f'downsample_layers.{i}.{norm}.bias'] = (normed,)
        for j in range(depth):
            for name, shape in {
                'gamma': (channels,),
                'dwconv.weight': (channels, 1, 7, 7),
                'dwconv.bias': (channels,),
                'norm.weight': (channels,),
                'norm.bias': (channels,),
                'pwconv1.weight': (4 * channels, channels),
                'pwconv1.bias': (4 * channels,),
                'pwconv2.weight': (channels, 4 * channels),
                'pwconv2.bias': (channels,),
            }.items():
                shapes[f'stages.{i}.{j}.{name}'] = shape
    return {name: torch.randn(shape) * 0.1 for name, shape in shapes.items()}


def ours(name):
    for theirs, own in {'dwconv': 'depthwise_conv', 'pwconv': 'pointwise_conv'}.items():
        name = name.replace(theirs, own)
    return f'backbone.{name}'


# As pretrain/main.py writes it, and as the official README expects it, too.
@pytest.mark.parametrize('key', [None, 'module'])
def test_official_encoder_starts_pre_training_and_fine_tuning(tmp_path, key):
    weights, file = official_encoder(), tmp_path / 'convnextS_1kpretrained_official_style.pth'
    torch.save({key: weights} if key else weights, file)
    found, lines = start(pretraining(tmp_path), tmp_path / 'w', file)
    assert lines == [f'{file} is loaded; initialized from scratch: {DECODER}']
    tuned, lines = start(fine_tuning(tmp_path, ''), tmp_path / 'ft', file)
    assert lines == [f'{file} is loaded; initialized from scratch: backbone.norm2, head.fc']
    for name, weight in weights.items():
        assert torch.equal(found[ours(name)], weight), name
        assert torch.equal(tuned[ours(name)], weight), name


def test_mmpretrains_checkpoint_starts_pre_training_and_fine_tuning(tmp_path):
    torch.manual_seed(0)
    model = MMPRETRAIN.build(
        dict(
            type='SparK',
            input_size=32,
            downsample_raito=8,
            enc_dec_norm_cfg=dict(type='SparseLN2d', eps=1e-6),
            enc_dec_norm_dim=32,
            backbone=dict(
                type='SparseConvNeXt',
                arch=dict(depths=DEPTHS, channels=CHANNELS),
                stem_patch_size=2,
                out_indices=(0, 1, 2),
                gap_before_output=False,
                layer_scale_init_value=0.0,
                use_grn=True,
            ),
            neck=dict(type='SparKLightDecoder', feature_dim=16, upsample_ratio=8, norm_cfg=dict(type='BN')),
            head=dict(type='SparKPretrainHead', loss=dict(type='PixelReconstructionLoss', criterion='L2')),
        )
    )
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    file = tmp_path / 'spark.pth'
    torch.save(dict(meta={}, state_dict=model.state_dict()), file)
    settings = dict(use_grn=True, layer_scale_init_value=0.0)
    found, lines = start(pretraining(tmp_path, **settings), tmp_path / 'w', file)
    assert 'left out: neck.decoder, neck.proj, enc_dec_norms.0,' in lines[0]
    assert lines[0].endswith(f'initialized from scratch: {DECODER}')
    tuned, lines = start(fine_tuning(tmp_path, 'v2-', **settings), tmp_path / 'ft', file)
    assert lines[0].endswith('initialized from scratch: backbone.norm2, head.fc')
    encoder = {name: weight for name, weight in model.backbone.named_parameters() if 'norm2' not in name}
    for name, weight in encoder.items():
        assert torch.equal(found[f'backbone.{name}'], weight), name
        assert torch.equal(tuned[f'backbone.{name}'], weight), name


def test_weights_of_the_other_version_are_refused(tmp_path):
    torch.save(official_encoder(), tmp_path / 'v1.pth')
    config = pretraining(tmp_path, use_grn=True, layer_scale_init_value=0.0)
    with pytest.raises(UserError, match='weights of a ConvNeXt V1 .*, the model is a ConvNeXt V2 '):
        start(config, tmp_path / 'w', tmp_path / 'v1.pth')
    assert not (tmp_path / 'w').exists()
