"""One tiny pre-training checkpoint through all doors, without renaming anything."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.registry import MODELS
from timm.models.convnext import ConvNeXt

from mmconvnext import ImageClassificationInferencer, get_model
from mmconvnext.apis import evaluate, load_config, train
from mmconvnext.apis.convert import convert
from mmconvnext.apis.explain import explain
from mmconvnext.apis.infer import infer
from mmconvnext.apis.publish import publish
from mmconvnext.config.description import describe_training
from mmconvnext.errors import UserError
from mmconvnext.export.exporting import export
from mmconvnext.images.preprocessing import Preprocessing
from mmconvnext.models.outputs import outputs_of
from mmconvnext.zoo.mmengine_loader import safe_loading
from mmconvnext.zoo.names import load_weights
from tests.conftest import REPO, TINY_ARCH

# Patches of 8 pixels need a network of stride 8.
ARCH = dict(TINY_ARCH, stem_patch_size=1)
DECODER = 'neck.mask_token, neck.proj, neck.decoder, neck.pred'
NO_CLASSES = 'pre-trains a network without labels.*load_from=FILE'
NO_CLASSIFIER = 'was pre-trained without a classifier: .*Fine-tune it .*load_from='


def write_config(file, base, **model):
    model['backbone'] = dict(arch=dict(_delete_=True, **ARCH), **model.get('backbone', {}))
    small = 'dict(batch_size=16, dataset=dict(indices=32))'
    tested = '' if base.startswith('fcmae') else f'val_dataloader = test_dataloader = {small}\n'
    file.write_text(
        f"_base_ = '{REPO / 'configs/digits' / base}'\nmodel = {model}\ntrain_dataloader = {small}\n{tested}"
        'train_cfg = dict(max_epochs=1)\n'
    )
    return file


@pytest.fixture(scope='module')
def pretrained(tmp_path_factory):
    """Pre-train for two iterations, with an average of the weights."""
    folder = tmp_path_factory.mktemp('pretrained')
    config = write_config(folder / 'fcmae.py', 'fcmae_convnext-v2-atto_1xb48_digits.py', decoder_channels=16)
    classifier = write_config(folder / 'v2.py', 'convnext-v2-atto_1xb48_digits.py', head=dict(in_channels=32))
    options = {'custom_hooks': [dict(type='mmconvnext.EMAHook', momentum=0.5)], 'load_from': None}
    train(config, work_dir=str(folder / 'w'), cfg_options=options)
    file = folder / 'w/epoch_1.pth'
    saved = torch.load(file, weights_only=False)
    return SimpleNamespace(config=config, classifier=classifier, file=file, weights=saved['state_dict'])


def run(config, work_dir, load_from, **options):
    """Start from weights without changing them, and return the weights and the lines of the log on them."""
    still = {'optim_wrapper.optimizer.lr': 0.0, 'optim_wrapper.optimizer.weight_decay': 0.0}
    cfg_options = {'load_from': str(load_from), **still, **options}
    train(config, work_dir=str(work_dir), cfg_options=cfg_options, no_validate=True, rehearsal=False)
    (log,) = work_dir.glob('*/*.log')
    lines = [line.partition('WARNING - ')[2] for line in log.read_text().splitlines() if 'loaded' in line]
    return torch.load(work_dir / 'epoch_1.pth', weights_only=False)['state_dict'], lines


def assert_same(found, weights, start='backbone.'):
    names = {name for name in weights if name.startswith(start)}
    assert names
    assert names <= {*found}
    assert all(torch.equal(found[name], weights[name]) for name in names)


def encoder_of(weights):
    return {name: weight for name, weight in weights.items() if name.startswith('backbone.')}


def test_fine_tuning_starts_from_the_encoder_and_says_so_in_a_line(pretrained, tmp_path):
    found, lines = run(pretrained.classifier, tmp_path / 'w', pretrained.file)
    assert_same(found, pretrained.weights)
    changed = f'left out: {DECODER}; initialized from scratch: backbone.norm3, head.fc'
    assert lines == [f'{pretrained.file} is loaded; {changed}']


def test_classes_of_the_pre_training_are_not_those_of_a_head(pretrained, tmp_path):
    assert load_weights(pretrained.file).classes is None
    options = {'model.head.num_classes': None, 'train_dataloader.dataset.metainfo.classes': [*'abcdefghij']}
    _, (line,) = run(pretrained.classifier, tmp_path / 'w', pretrained.file, **options)
    assert line.endswith('head.fc')


def test_v1_network_does_not_start_from_v2_weights(pretrained, tmp_path):
    config = write_config(tmp_path / 'v1.py', 'convnext-atto_1xb48_digits.py', head=dict(in_channels=32))
    with pytest.raises(UserError, match=r'weights of a ConvNeXt V2 .*, the model is a ConvNeXt V1 '):
        train(config, work_dir=str(tmp_path / 'w'), cfg_options={'load_from': str(pretrained.file)})


def test_pre_training_goes_on_with_its_decoder(pretrained, tmp_path):
    found, lines = run(pretrained.config, tmp_path / 'w', pretrained.file)
    assert_same(found, pretrained.weights)
    assert_same(found, pretrained.weights, 'neck.')
    assert lines == []


@pytest.mark.parametrize('name', ['official-fcmae', 'openmmlab', 'timm', 'transformers'])
def test_pre_training_goes_on_from_an_encoder_of_every_publisher(pretrained, tmp_path, name):
    file = tmp_path / ('encoder' if name == 'transformers' else 'encoder.pth')
    convert(pretrained.file, file, target_format=name)
    found, lines = run(pretrained.config, tmp_path / 'w', file)
    assert_same(found, pretrained.weights)
    assert lines == [f'{file} is loaded; initialized from scratch: {DECODER}']


def test_pre_training_goes_on_from_a_classifier(pretrained, tmp_path):
    start, _ = run(pretrained.classifier, tmp_path / 'fine-tuned', pretrained.file)
    file = tmp_path / 'fine-tuned/epoch_1.pth'
    found, lines = run(pretrained.config, tmp_path / 'w', file)
    assert_same(found, {n: w for n, w in encoder_of(start).items() if 'norm3' not in n})
    changed = f'left out: backbone.norm3, head.fc; initialized from scratch: {DECODER}'
    assert lines == [f'{file} is loaded; {changed}']


@pytest.mark.parametrize('prefix', ['backbone.', None])
def test_detectors_start_from_it_through_init_cfg(pretrained, prefix):
    init_cfg = dict(type='Pretrained', checkpoint=str(pretrained.file), prefix=prefix)
    settings = dict(
        type='mmconvnext.ConvNeXt',
        arch=ARCH,
        use_grn=True,
        layer_scale_init_value=0.0,
        out_indices=(0, 1, 2, 3),
        gap_before_final_norm=False,
        init_cfg=init_cfg,
    )
    with safe_loading():
        net = MODELS.build(settings)
        if prefix is None:
            with pytest.raises(UserError, match="prefix='backbone.'"):
                net.init_weights()
            return
        net.init_weights()
    assert_same({f'backbone.{n}': w for n, w in net.state_dict().items()}, pretrained.weights)


def test_file_alone_is_a_feature_extractor(pretrained):
    model = get_model(pretrained.file).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        outputs = outputs_of(model, images)
        (features,) = model.extract_feat(images)
    wanted = get_model(pretrained.config, pretrained.file).eval()
    with torch.no_grad():
        (last,) = wanted.extract_feat(images)
    torch.testing.assert_close(outputs.last_hidden_state, last)
    pooled = torch.nn.functional.layer_norm(last.mean(dim=(2, 3)), (32,), eps=1e-6)
    torch.testing.assert_close(outputs.pooler_output, pooled)
    torch.testing.assert_close(features, pooled)
    assert outputs.logits is None


def test_file_tells_how_the_network_computes_and_how_images_are_prepared(pretrained, tmp_path):
    model = get_model(pretrained.file)
    assert model.preprocessing_told
    assert model.preprocessing == Preprocessing(32, None, mean=(0.5,) * 3, std=(0.5,) * 3)
    run(pretrained.config, tmp_path / 'w', pretrained.file, **{'model.backbone.act_cfg': 'relu'})
    assert load_weights(tmp_path / 'w/epoch_1.pth').network.backbone['act_cfg'] == 'relu'


def test_timm_computes_the_same_features(pretrained, tmp_path):
    convert(pretrained.file, tmp_path / 'timm.pth', target_format='timm')
    settings = dict(use_grn=True, ls_init_value=None, num_classes=0, patch_size=1)
    theirs = ConvNeXt(depths=ARCH['depths'], dims=ARCH['channels'], **settings).eval()
    missing, unexpected = theirs.load_state_dict(torch.load(tmp_path / 'timm.pth'), strict=False)
    assert {*missing} == {'head.norm.weight', 'head.norm.bias'}
    assert not unexpected
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        ours = outputs_of(get_model(pretrained.file).eval(), images)
        torch.testing.assert_close(ours.last_hidden_state, theirs.forward_features(images))
        torch.testing.assert_close(ours.pooler_output, theirs(images))


def test_config_with_the_file_is_the_pre_training_itself(pretrained):
    model = get_model(pretrained.config, pretrained.file)
    assert_same(model.state_dict(), pretrained.weights)
    assert_same(model.state_dict(), pretrained.weights, 'neck.')
    with pytest.raises(UserError, match=r'get_model\(FILE\)'):
        outputs_of(model, torch.randn(1, 3, 32, 32))
    with pytest.raises(UserError, match='gives features, not classes'):
        ImageClassificationInferencer(model)


@pytest.mark.parametrize('head', [None, dict(num_classes=7)])
def test_classification_config_takes_the_encoder_for_features_or_a_new_head(pretrained, head):
    model = get_model(pretrained.classifier, pretrained=pretrained.file, head=head)
    assert_same(model.state_dict(), pretrained.weights)
    assert (model.head is None) == (head is None)


@pytest.mark.parametrize(
    'name',
    ['openmmlab', 'official', 'official-fcmae', 'official-downstream', 'timm', 'transformers', 'tensorflow'],
)
def test_encoder_goes_to_other_formats_and_back(pretrained, tmp_path, capsys, name):
    directory = name in ('transformers', 'tensorflow')
    there, back = tmp_path / ('there' if directory else 'there.pth'), tmp_path / 'back.pth'
    convert(pretrained.file, there, target_format=name)
    assert f'Left out, since our network has no place for it: {DECODER}\n' in capsys.readouterr().out
    convert(there, back)
    encoder = encoder_of(pretrained.weights)
    found = torch.load(back)['state_dict']
    assert {*found} == {*encoder}
    for name, weight in encoder.items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=0)


def test_formats_without_grn_say_so(pretrained, tmp_path):
    with pytest.raises(UserError, match='torchvision has no place for 10 weights'):
        convert(pretrained.file, tmp_path / 'x.pth', target_format='torchvision')


def test_average_and_weights_of_a_pre_training_are_told_apart(pretrained, tmp_path):
    files = {which: tmp_path / f'{which}.pth' for which in ('ema', 'raw')}
    for which, file in files.items():
        convert(pretrained.file, file, weights=which)
    found = {which: torch.load(file)['state_dict'] for which, file in files.items()}
    assert_same(found['ema'], pretrained.weights)
    name = 'backbone.stages.0.0.pointwise_conv1.weight'
    assert not torch.equal(found['ema'][name], found['raw'][name])


def test_published_file_is_the_encoder(pretrained, tmp_path, capsys):
    file = publish(pretrained.file, tmp_path / 'mine.pth')
    assert {*load_weights(file).tensors} == {*encoder_of(pretrained.weights)}
    assert f'Left out, since our network has no place for it: {DECODER}\n' in capsys.readouterr().out


def test_training_ends_with_the_commands_that_reconstruct_and_fine_tune(tmp_path, capfd):
    config = REPO / 'configs/digits/fcmae_convnext-v2-atto_1xb48_digits.py'
    few = {'train_dataloader.dataset.indices': 8, 'train_dataloader.batch_size': 4, 'train_cfg.max_epochs': 1}
    options = {
        'model.backbone.stem_patch_size': 4,
        'model.patch_size': 32,
        'model.decoder_channels': 8,
        **few,
    }
    pipeline = [
        dict(type='Resize', scale=(64, 64)),
        dict(type='mmconvnext.MaskPatches', patch_size=32, mask_ratio=0.5),
        dict(type='mmconvnext.PackInputs'),
    ]
    options['train_dataloader.dataset.pipeline'] = pipeline
    train(config, work_dir=str(tmp_path / 'w'), cfg_options=options, rehearsal=False)
    steps = capfd.readouterr().out.partition('Last checkpoint')[2].splitlines()[1:]
    file, recipe = f'{tmp_path}/w/epoch_1.pth', 'convnext-v2-atto_ft_folder --data-root FOLDER'
    assert steps == [
        f'  reconstruct tools/reconstruct.py IMAGE {tmp_path}/w/{config.name} {file} '
        f'--out {tmp_path}/w/reconstructed.png',
        f'  fine-tune   tools/train.py {recipe} --cfg-options load_from={file}',
    ]


@pytest.mark.parametrize(
    ('loader', 'crop', 'expected'),
    [
        (
            dict(type='LoadImageFromFile'),
            dict(type='RandomResizedCrop', scale=(48, 64)),
            dict(size=(48, 64), resize=None, backend='pillow', interpolation='bicubic'),
        ),
        (
            dict(type='LoadImageForCrop', scale=64, crop_ratio_range=(0.2, 1.0), color_type='unchanged'),
            dict(type='RandomResizedCrop', scale=64),
            dict(size=64, resize=73, color='unchanged', full_scale=None),
        ),
    ],
)
def test_checkpoints_describe_images_as_the_tools_prepare_them(loader, crop, expected):
    cfg = load_config('fcmae_convnext-v2-atto_64xb64-800e_in1k')
    cfg.train_dataloader.dataset.pipeline[:2] = [loader, crop]
    cfg.model.backbone.in_channels = 5 if 'color_type' in loader else 3
    cfg.data_preprocessor = dict(mean=[1.0] * cfg.model.backbone.in_channels, std=[2.0] * 5, to_rgb=True)
    cfg.data_preprocessor.std = cfg.data_preprocessor.std[: cfg.model.backbone.in_channels]
    preprocessing = describe_training(cfg).preprocessing
    assert {name: getattr(preprocessing, name) for name in expected} == expected


# What asks for classes: its options, of {pre-training config, classification config, file}.
DOORS = {
    'test': lambda model, file, folder: evaluate(model, file, work_dir=str(folder / 't')),
    'infer': lambda model, file, folder: infer([str(folder)], model=str(model), checkpoint=str(file)),
    'explain': lambda model, file, folder: explain(
        [str(folder)], model=str(model), checkpoint=str(file), out_dir=str(folder / 'e')
    ),
    'export': lambda model, file, folder: export(model, file, format='onnx', out=folder / 'x.onnx'),
    'python': lambda model, file, folder: ImageClassificationInferencer(model, file),
}


@pytest.mark.parametrize('door', DOORS)
def test_pre_training_is_no_classifier(pretrained, tmp_path, door):
    from PIL import Image

    if door == 'export':
        pytest.importorskip('onnxscript')
    Image.new('RGB', (40, 40)).save(tmp_path / 'a.png')
    for config, message in ((pretrained.config, NO_CLASSES), (pretrained.classifier, NO_CLASSIFIER)):
        with pytest.raises(UserError, match=message):
            DOORS[door](config, pretrained.file, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ['a.png']


@pytest.mark.parametrize('door', ['infer', 'explain', 'python'])
def test_file_alone_is_no_classifier(pretrained, tmp_path, door):
    from PIL import Image

    Image.new('RGB', (40, 40)).save(tmp_path / 'a.png')
    calls = {
        'infer': lambda: infer([str(tmp_path)], checkpoint=str(pretrained.file)),
        'explain': lambda: explain(
            [str(tmp_path)], checkpoint=str(pretrained.file), out=str(tmp_path / 'e.png')
        ),
        'python': lambda: ImageClassificationInferencer(pretrained.file),
    }
    with pytest.raises(UserError, match=NO_CLASSIFIER):
        calls[door]()


def test_published_encoder_is_not_tested_as_a_classifier(pretrained, tmp_path):
    with pytest.raises(UserError, match=f'^convnextv2_atto.fcmae {NO_CLASSIFIER}'):
        evaluate('convnextv2_atto.fcmae', work_dir=str(tmp_path / 't'))


def test_weights_without_a_decoder_are_no_pre_training(pretrained, tmp_path):
    convert(pretrained.file, tmp_path / 'encoder.pth')
    with pytest.raises(UserError, match='encoder.pth has no decoder.*load_from='):
        get_model(pretrained.config, tmp_path / 'encoder.pth')


def test_runs_of_another_kind_are_not_resumed(pretrained, tmp_path):
    with pytest.raises(UserError, match=f'epoch_1.pth {NO_CLASSIFIER}'):
        train(pretrained.classifier, work_dir=str(pretrained.file.parent), resume='latest')
    run(pretrained.classifier, tmp_path / 'w', pretrained.file)
    with pytest.raises(UserError, match=r'epoch_1.pth has no decoder.*another\s--work-dir'):
        train(pretrained.config, work_dir=str(tmp_path / 'w'), resume='latest')
