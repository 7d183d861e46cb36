"""The metafiles list every checkpoint completely, and match the networks that we build."""

import json
from functools import cache

import pytest
import timm
import torch
import yaml
from mmengine.config import Config
from torch.utils.flop_counter import FlopCounterMode

from mmconvnext.apis import load_config
from mmconvnext.checkpoints import FORMATS
from mmconvnext.errors import UserError
from mmconvnext.paths import CONFIGS, MIM
from mmconvnext.training.model import build_on_meta
from mmconvnext.zoo import get_entry, list_models
from mmconvnext.zoo.architectures import ARCHITECTURES
from mmconvnext.zoo.entries import DENSE_TASKS, read_model_index, zoo

ENTRIES = list(zoo().values())
# Detection and segmentation are tested in tests/test_downstream, with the libraries they need.
WITHOUT_DENSE = [entry for entry in ENTRIES if entry.task not in DENSE_TASKS]


@cache
def cost(architecture, num_classes, resolution):
    """Return the number of parameters and multiply-accumulates, counted by torch."""
    entry = next(e for e in ENTRIES if (e.architecture, e.num_classes) == (architecture, num_classes))
    model = entry.network.build_on_meta().eval()
    with torch.device('meta'), FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(1, 3, resolution, resolution))
    return sum(p.numel() for p in model.parameters()), counter.get_total_flops() // 2


@cache
def weights_of_timm(architecture, num_classes):
    with torch.device('meta'):
        return timm.create_model(architecture, num_classes=num_classes).state_dict()


def test_all_232_public_checkpoints_are_there():
    assert len(ENTRIES) == 232
    sources = [entry.source for entry in ENTRIES]
    assert {s: sources.count(s) for s in set(sources)} == dict(
        official=53 + 13, openmmlab=56, timm=101, torchvision=4, huggingface=5
    )
    assert len(WITHOUT_DENSE) == 219


@pytest.mark.slow
@pytest.mark.parametrize('entry', WITHOUT_DENSE, ids=lambda entry: entry.name)
def test_entry_builds_with_the_stated_parameters_and_operations(entry):
    parameters, macs = cost(entry.architecture, entry.num_classes, entry.resolution)
    assert (entry.parameters, entry.macs) == (parameters, macs)


@pytest.mark.slow
@pytest.mark.parametrize('entry', [e for e in ENTRIES if e.source == 'timm'], ids=lambda entry: entry.name)
def test_entry_of_timm_is_its_network_and_preprocessing(entry):
    """Compares with timm's own table, and with parameter names, shapes and stem of its network."""
    published = timm.models.get_pretrained_cfg(entry.name)
    assert (published.num_classes or None) == entry.num_classes
    assert published.input_size[-1] == entry.resolution == entry.preprocessing.size
    preprocessing = entry.preprocessing
    assert (preprocessing.mean, preprocessing.std) == (tuple(published.mean), tuple(published.std))
    assert preprocessing.interpolation == published.interpolation
    squash = published.crop_mode == 'squash'
    assert preprocessing.resize == (None if squash else int(entry.resolution / published.crop_pct))
    assert entry.license.lower().replace(' ', '-') == published.license
    renamed = FORMATS[entry.format].read(weights_of_timm(entry.architecture, published.num_classes))
    ours = entry.network.build_on_meta().state_dict()
    assert not renamed.unknown
    assert {n: w.flatten(1).shape if w.ndim > 1 else w.shape for n, w in renamed.weights.items()} == {
        n: w.flatten(1).shape if w.ndim > 1 else w.shape for n, w in ours.items()
    }


@pytest.mark.parametrize('config', sorted({e.config for e in WITHOUT_DENSE if e.config}))
def test_recipe_of_an_entry_has_its_network_and_preprocessing(config):
    cfg = load_config(config)
    shapes = {n: w.shape for n, w in build_on_meta(cfg).state_dict().items()}
    for entry in (e for e in ENTRIES if e.config == config):
        found = {n: w.shape for n, w in entry.network.build_on_meta().state_dict().items()}
        # Pretrained encoders name the recipe that fine-tunes them.
        assert found == {n: s for n, s in shapes.items() if entry.num_classes or n.startswith('backbone')}
        if entry.num_classes and cfg.get('test_dataloader') is not None:
            assert [
                dict(step) for step in cfg.test_dataloader.dataset.pipeline[1:-1]
            ] == entry.preprocessing.pipeline()
            expected = entry.preprocessing.data_preprocessor()
            assert cfg.data_preprocessor.mean == pytest.approx(expected['mean'])
            assert cfg.data_preprocessor.std == pytest.approx(expected['std'])


def test_what_a_config_starts_from_is_in_the_zoo():
    for file in CONFIGS.glob('convnext*/*.py'):
        start = Config.fromfile(file).load_from
        if start is not None:
            assert get_entry(start.removeprefix('mmconvnext://')).name


def test_every_architecture_is_that_of_an_entry():
    assert set(ARCHITECTURES) == {entry.architecture for entry in ENTRIES}


def test_weights_of_v2_say_that_they_are_not_for_commerce():
    for entry in ENTRIES:
        if entry.collection == 'ConvNeXt V2' and entry.method != 'SparK' and entry.pretraining != 'SparK':
            assert entry.license == 'CC-BY-NC-4.0', entry.name


def test_published_accuracies_are_kept():
    assert get_entry('convnext-base_in21k-pre-3rdparty_in1k-384px').top1 == 86.82
    assert get_entry('ConvNeXt_Tiny_Weights.IMAGENET1K_V1').top5 == 96.146
    assert get_entry('convnextv2_huge.22k_512_ema').top1 == 88.9
    assert get_entry('convnext_base.22k_1k_384').details['Published']['FLOPs'] == '47.0G'


def test_models_are_found_by_pattern_source_and_task():
    assert (
        list_models('*zepto*')
        == list_models('zepto')
        == [
            'convnext_zepto_rms.ra4_e3600_r224_in1k',
            'convnext_zepto_rms_ols.ra4_e3600_r224_in1k',
        ]
    )
    assert len(list_models(source='torchvision')) == 4
    assert all('clip' in name.lower() for name in list_models(task='Image Embedding'))
    with pytest.raises(UserError, match="source is 'facebook'; choose from huggingface, official"):
        list_models(source='facebook')
    with pytest.raises(UserError, match="the zoo has no 'convnext_tiny.in1k'; did you mean convnext_tiny"):
        get_entry('convnext_tiny.in1k')


@pytest.mark.parametrize('entry', [e for e in ENTRIES if e.task == 'Image Classification'][::20], ids=str)
def test_classes_have_their_names(entry):
    names = entry.class_names
    assert names is None or len(names) == entry.num_classes


def test_class_names_are_those_of_mmpretrain():
    from mmpretrain.datasets.categories import IMAGENET_CATEGORIES

    names = get_entry('convnext_atto.d2_in1k').class_names
    assert sum(a == b for a, b in zip(names, IMAGENET_CATEGORIES, strict=True)) >= 998
    assert get_entry('convnext_tiny.22k_224').class_names[0] == 'organism, being'


ENTRY = {
    'Name': 'mine',
    'In Collection': 'ConvNeXt',
    'Weights': 'http://localhost/mine.pth',
    'Format': 'openmmlab',
    'Metadata': dict(
        Architecture='convnext_atto',
        Task='Image Classification',
        Classes=3,
        Resolution=32,
        Parameters=1,
        FLOPs=1,
    ),
}


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'Weight': 1}, r'entry mine: missing fields \[\], unknown fields .\'Weight\'.'),
        ({'Format': 'caffe'}, "entry mine: Format is 'caffe'; expected one of openmmlab"),
        ({'Metadata': {}}, r"entry mine, Metadata: missing fields .'Task', 'Classes'"),
        (
            {'Metadata': ENTRY['Metadata'] | dict(Architecture='vgg')},
            "architecture 'vgg' is not in mmconvnext/zoo",
        ),
        ({'Weights': ['a', 'b']}, r"entry mine: Weights is \['a', 'b'\]; expected text"),
        ({'Name': 3}, 'entry 3: Name is 3; expected text'),
        ({'Metadata': [1]}, r'entry mine: Metadata is \[1\]; expected an object'),
        *(
            (
                {'Metadata': ENTRY['Metadata'] | {field: value}},
                f'entry mine, Metadata: {field} is .*; expected',
            )
            for field, value in (
                *(('Classes', 0), ('Classes', '3'), ('Classes', 10**9), ('Parameters', 1.5), ('FLOPs', -1)),
                *(('Resolution', True), ('Resolution', 10**9), ('Task', 'Chess'), ('Method', 3)),
            )
        ),
        *(
            ({'Preprocessing': {field: value}}, f'entry mine, Preprocessing: {field} is .*; expected')
            for field, value in (('Size', '224'), ('Std', [0]), ('Interpolation', 'magic'), ('Mean', 0.5))
        ),
        ({'Preprocessing': {'Padding': 3}}, r"entry mine, Preprocessing: .* unknown fields .'Padding'"),
        ({'Results': [dict(Metrics={'Top 1 Accuracy': 'good'})]}, 'entry mine: Results is .*; expected'),
    ],
)
def test_wrong_metafile_names_entry_and_field(change, message, tmp_path):
    (tmp_path / 'model-index.yml').write_text('Import: [metafile.yml]')
    (tmp_path / 'metafile.yml').write_text(yaml.safe_dump({'Models': [ENTRY | change]}))
    with pytest.raises(UserError, match=message):
        read_model_index(tmp_path / 'model-index.yml')


def test_broken_or_missing_metafile_is_named(tmp_path):
    (tmp_path / 'model-index.yml').write_text('Import: [none.yml]')
    with pytest.raises(UserError, match='none.yml cannot be read as YAML'):
        read_model_index(tmp_path / 'model-index.yml')
    (tmp_path / 'none.yml').write_text(json.dumps([1]))
    with pytest.raises(UserError, match='none.yml contains a list'):
        read_model_index(tmp_path / 'model-index.yml')


def test_mim_reads_the_index():
    """Uses the library that OpenMMLab provides for this."""
    import modelindex

    index = modelindex.load(str(MIM / 'model-index.yml'))
    index.build_models_with_collections()
    assert len(index.models) == 232
    assert {model.name for model in index.models} == set(zoo())
