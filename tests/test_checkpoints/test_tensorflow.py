import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from mmconvnext.apis.convert import convert
from mmconvnext.checkpoints import tensorflow
from mmconvnext.checkpoints.formats import FORMATS
from mmconvnext.checkpoints.tensorflow import read_h5, write_h5
from mmconvnext.errors import UserError
from mmconvnext.zoo.names import load_weights
from tests import peers

DATA = Path(__file__).parents[1] / 'data'
FILES = {
    'transformers': DATA / 'transformers.h5',
    'transformersv2': DATA / 'transformersv2.h5',
    'keras': DATA / 'keras.h5',
    'keras3': DATA / 'keras3.weights.h5',
}
RECORDED = np.load(DATA / 'tensorflow.npz')
ARCH = dict(depths=(1, 1, 2, 1), channels=(4, 8, 12, 16))
V2 = dict(use_grn=True, layer_scale_init_value=0.0)


def format_of(kind):
    return FORMATS['keras' if kind.startswith('keras') else 'tensorflow']


def ours_from(file, kind):
    read = format_of(kind).read(read_h5(file))
    assert not read.unknown
    network = peers.Ours(arch=ARCH, **(V2 if kind == 'transformersv2' else {})).eval()
    network.load_state_dict(read.weights, strict=True)
    assert all(weight.is_contiguous() for weight in read.weights.values())
    return network


def images_for(kind):
    """Return the images of make_tensorflow_fixtures.py; keras.applications normalizes them itself."""
    shape = (2, 3, 64, 48)
    images = (torch.arange(np.prod(shape)) ** 2 % 251).float().view(shape)
    if kind.startswith('transformers'):
        return images / 64 - 2
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
    return (images / 255 - mean) / std


def datasets(file):
    found = {}
    with h5py.File(file) as h5:
        h5.visititems(lambda name, item: found.update({name: item[()]} if hasattr(item, 'dtype') else {}))
    return found


@pytest.mark.parametrize('kind', FILES)
def test_logits_are_those_that_tensorflow_computed(kind):
    logits = ours_from(FILES[kind], kind)(images_for(kind))
    torch.testing.assert_close(logits, torch.from_numpy(RECORDED[kind]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('kind', ['transformers', 'transformersv2', 'keras'])
def test_weights_written_back_are_the_file_again(kind, tmp_path):
    written = format_of(kind).write(ours_from(FILES[kind], kind).state_dict())
    assert not written.unknown
    write_h5(tmp_path / 'ours.h5', written.weights)
    theirs, ours = datasets(FILES[kind]), datasets(tmp_path / 'ours.h5')
    assert ours.keys() == theirs.keys()
    for name in theirs:
        assert ours[name].dtype == theirs[name].dtype
        assert ours[name].tobytes() == theirs[name].tobytes()
        assert ours[name].shape == theirs[name].shape


def test_weights_of_keras_3_are_written_in_the_older_layout_and_stay_the_same(tmp_path):
    theirs = read_h5(FILES['keras3'])
    written = format_of('keras').write(ours_from(FILES['keras3'], 'keras3').state_dict())
    write_h5(tmp_path / 'ours.h5', written.weights)
    ours = read_h5(tmp_path / 'ours.h5')
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_layers_and_weights_are_in_the_order_of_keras_which_loads_by_position(tmp_path):
    def order(file):
        with h5py.File(file) as h5:
            names = {layer: list(h5[layer].attrs['weight_names']) for layer in h5.attrs['layer_names']}
        return [(layer, weights) for layer, weights in names.items() if weights]

    shuffled = dict(sorted(read_h5(FILES['keras']).items(), key=lambda item: item[0][::-1]))
    write_h5(tmp_path / 'ours.h5', shuffled)
    assert order(tmp_path / 'ours.h5') == order(FILES['keras'])


@pytest.mark.parametrize('head', [True, False])
@pytest.mark.parametrize(
    ('kind', 'size'),
    [
        *[(kind, size) for kind in ('transformers', 'transformersv2') for size in ('tiny', 'base')],
        *[('keras', size) for size in ('tiny', 'base', 'xlarge')],
    ],
)
def test_names_and_shapes_of_the_full_networks(kind, size, head):
    with torch.device('meta'):
        network = peers.Ours(arch=size, **(V2 if kind == 'transformersv2' else {}))
    ours = {n: w for n, w in network.state_dict().items() if head or not n.startswith('head.')}
    written = format_of(kind).write(ours)
    assert not written.unknown
    place = tensorflow.keras_layers if kind == 'keras' else tensorflow.transformers_layers
    lines = [
        f'{layer}/{name} {tuple(weight.shape)}'
        for layer, members in place(written.weights).items()
        for name, weight in members.items()
    ]
    assert sorted(lines) == sorted(RECORDED[f'{kind}-{size}-{head}'].tolist())
    read = format_of(kind).read(written.weights)
    assert {n: w.shape for n, w in read.weights.items()} == {n: w.shape for n, w in ours.items()}


@pytest.fixture
def keras_file(tmp_path):
    return Path(shutil.copy(FILES['keras'], tmp_path / 'keras.h5'))


def layer_scale_without_a_name(h5):  # Keras 2.10 to 2.12
    for layer in [layer for layer in h5 if layer.endswith('_layer_scale')]:
        h5[layer].move(f'{layer}/gamma:0', 'Variable:0')


def numbered_layer_scale(h5):  # Keras 3
    for i, layer in enumerate([layer for layer in h5 if layer.endswith('_layer_scale')]):
        h5[layer].move(f'{layer}/gamma:0', f'{layer}/variable_{i}')


def whole_model(h5):  # model.save, with the weight averages of the optimizer
    for layer in list(h5):
        h5.move(layer, f'model_weights/{layer}')
    h5['optimizer_weights/Adam/m/convnext_stem_conv/kernel:0'] = np.ones(3)


def layer_of_another_model(h5):
    for layer in list(h5):
        h5.move(layer, f'convnext_around_it/{layer}')


@pytest.mark.parametrize(
    'variant', [layer_scale_without_a_name, numbered_layer_scale, whole_model, layer_of_another_model]
)
def test_other_ways_in_which_keras_wrote_it_are_read_the_same(keras_file, variant):
    with h5py.File(keras_file, 'r+') as h5:
        variant(h5)
    expected = format_of('keras').read(read_h5(FILES['keras'])).weights
    read = format_of('keras').read(read_h5(keras_file))
    assert not read.unknown
    assert read.weights.keys() == expected.keys()
    assert all(torch.equal(read.weights[name], expected[name]) for name in expected)


def test_norm_without_head_is_read_whatever_number_keras_gave_it():
    weights = {name: w for name, w in read_h5(FILES['keras']).items() if not name.startswith('head_dense')}
    weights['layer_normalization_23/gamma'] = weights.pop('head_layernorm/gamma')
    weights['layer_normalization_23/beta'] = weights.pop('head_layernorm/beta')
    read = format_of('keras').read(weights)
    assert not read.unknown
    assert 'layer_normalization/gamma' in format_of('keras').write(read.weights).weights
    assert 'backbone.norm3.weight' in read.weights


def truncated(file):
    file.write_bytes(file.read_bytes()[:-200])


def text(file):
    file.write_text('<html>404 Not Found</html>')


def empty(file):
    file.write_bytes(b'')


def name_that_is_no_text(file):
    file.write_bytes(file.read_bytes().replace(b'convnext_stem\0', b'convnext_\xff\xfe\xff\xfe\0'))


@pytest.mark.parametrize('damage', [truncated, text, empty, name_that_is_no_text])
def test_damaged_file_is_named_with_its_size(keras_file, damage):
    damage(keras_file)
    size = f'{keras_file.stat().st_size:,} bytes'
    with pytest.raises(UserError, match=rf'keras\.h5 \({size}\) is truncated or not an HDF5 file'):
        read_h5(keras_file)


def without_weights(h5):
    h5.clear()
    h5.create_group('convnext_stem')


def external_link(h5):
    h5['convnext_stem/stolen'] = h5py.ExternalLink('secret.h5', '/secret')


def soft_link(h5):
    h5['convnext_stem/again'] = h5py.SoftLink('/convnext_head_dense')


def virtual_dataset(h5):
    layout = h5py.VirtualLayout(shape=(3,), dtype='f4')
    layout[:] = h5py.VirtualSource('secret.h5', 'secret', shape=(3,))
    h5.create_virtual_dataset('stolen', layout)


def external_storage(h5):
    h5.create_dataset('stolen', (3,), 'f4', external=[('secret.h5', 0, 12)])


def words(h5):
    h5['words'] = 'text'


def more_than_the_file_can_hold(h5):
    h5.create_dataset('zeros', (1 << 40,), 'f4', chunks=(1 << 20,))


def same_weight_in_two_layers(h5):
    h5['other/convnext_stem_conv/kernel:0'] = np.ones(3)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (without_weights, r"contains no weights; its groups are \['convnext_stem'\]"),
        (external_link, 'contains the link convnext_stem/stolen'),
        (soft_link, 'contains the link convnext_stem/again'),
        (virtual_dataset, 'stolen is stored in another file'),
        (external_storage, 'stolen is stored in another file'),
        (words, 'contains words of type object'),
        (more_than_the_file_can_hold, r'declares 4,398,\d+,\d+,\d+ bytes of weights'),
        (same_weight_in_two_layers, 'contains stem_conv/kernel twice'),
    ],
)
def test_what_weights_do_not_need_is_refused(keras_file, change, message):
    with h5py.File(keras_file.with_name('secret.h5'), 'w') as secret:
        secret['secret'] = np.ones(3, 'f4')
    with h5py.File(keras_file, 'r+') as h5:
        change(h5)
    with pytest.raises(UserError, match=message):
        read_h5(keras_file)


def test_layers_that_are_only_numbered_are_refused_with_a_way_out(tmp_path):
    file = Path(shutil.copy(FILES['keras3'], tmp_path))
    with h5py.File(file, 'r+') as h5:
        h5.visititems(lambda name, item: item.attrs.clear() if name.endswith('vars') else None)
    with pytest.raises(UserError, match=r"numbers its layers .* model\.save\('NAME\.h5'\)"):
        read_h5(file)


def test_oddly_shaped_weights_are_left_to_the_comparison_with_the_model():
    read = format_of('keras').read({'stem_conv/kernel': torch.ones(3), 'head_dense/kernel': torch.ones(3)})
    assert read.weights['backbone.downsample_layers.0.0.weight'].shape == (3,)
    assert read.weights['head.fc.weight'].shape == (3,)


def without_layer_scale(weights):
    del weights['stage_2_block_1_layer_scale/gamma']


def with_grn(weights):
    weights['stage_0_block_0_grn/gamma'] = torch.ones(16)


def isotropic(weights):
    for name in [name for name in weights if name.startswith(('stage_1', 'stage_2', 'stage_3', 'down'))]:
        del weights[name]


def small_patches(weights):
    weights['stem_conv/kernel'] = torch.ones(2, 2, 3, 4)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (without_layer_scale, 'only has ConvNeXt V1 .* stage_2_block_1_layer_scale/gamma'),
        (with_grn, 'only has ConvNeXt V1 .* stage_0_block_0_grn/gamma'),
        (isotropic, 'four stages, .* downsampling_conv_0/bias, .*, ...$'),
        (small_patches, r'kernel of \(2, 2\)'),
    ],
)
def test_networks_that_keras_does_not_have_are_not_written(tmp_path, change, message):
    weights = read_h5(FILES['keras'])
    change(weights)
    with pytest.raises(UserError, match=message):
        write_h5(tmp_path / 'ours.h5', weights)
    assert not list(tmp_path.iterdir())


def test_name_that_keras_3_would_take_for_its_own_layout_is_refused(tmp_path):
    with pytest.raises(UserError, match='choose a name that ends in .h5 only'):
        write_h5(tmp_path / 'ours.weights.h5', read_h5(FILES['keras']))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_lower_precision_survives(dtype, tmp_path):
    weights = {name: weight.to(dtype) for name, weight in read_h5(FILES['keras']).items()}
    write_h5(tmp_path / 'ours.h5', weights)
    written = read_h5(tmp_path / 'ours.h5')
    assert all(torch.equal(written[name].float(), weight.float()) for name, weight in weights.items())


# Needs TensorFlow: networks with new weights, converted in both directions.


@pytest.fixture
def make():
    return pytest.importorskip('tests.data.make_tensorflow_fixtures', exc_type=ImportError)


def build(make, kind):
    if kind.startswith('transformers'):
        return make.transformers_model(v2=kind == 'transformersv2')
    return make.keras_model(make.Keras3ConvNeXt if kind == 'keras3' else make.Keras2ConvNeXt)


def logits_of(model, make, kind):
    if kind.startswith('transformers'):
        return torch.from_numpy(model(make.IMAGES / 64 - 2).logits.numpy())
    return torch.from_numpy(model(make.IMAGES.transpose(0, 2, 3, 1)).numpy())


@pytest.mark.parametrize('kind', FILES)
def test_tensorflow_computes_the_same_before_and_after(make, kind, tmp_path):
    theirs = build(make, kind)
    make.randomize(theirs)
    if kind.startswith('transformers'):
        theirs.save_pretrained(tmp_path)
        saved = written = tmp_path / 'tf_model.h5'
    else:
        saved, written = tmp_path / ('x.weights.h5' if kind == 'keras3' else 'x.h5'), tmp_path / 'ours.h5'
        theirs.save_weights(saved)
    expected = logits_of(theirs, make, kind)
    ours = ours_from(saved, kind)
    torch.testing.assert_close(ours(images_for(kind)), expected, rtol=1e-5, atol=1e-5)

    saved.unlink()
    write_h5(written, format_of(kind).write(ours.state_dict()).weights)
    if kind.startswith('transformers'):
        again = type(theirs).from_pretrained(tmp_path)
    else:
        again = build(make, kind)
        again.load_weights(written)
    torch.testing.assert_close(logits_of(again, make, kind), expected, rtol=0, atol=0)


@pytest.mark.parametrize('kind', ['keras', 'keras3'])
def test_whole_model_of_keras_is_read_like_its_weights(make, kind, tmp_path):
    theirs = build(make, kind)
    make.randomize(theirs)
    theirs.save(tmp_path / 'model.h5')
    logits = ours_from(tmp_path / 'model.h5', kind)(images_for(kind))
    torch.testing.assert_close(logits, logits_of(theirs, make, kind), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('kind', ['transformers', 'transformersv2', 'keras'])
def test_files_are_recognised_and_converted_there_and_back(kind, tmp_path):
    target_format = 'keras' if kind == 'keras' else 'tensorflow'
    back = tmp_path / ('back.h5' if kind == 'keras' else 'back')
    assert convert(FILES[kind], tmp_path / 'ours.pth').format == target_format
    convert(tmp_path / 'ours.pth', back, target_format=target_format)
    again = back if kind == 'keras' else back / 'tf_model.h5'
    assert datasets(again).keys() == datasets(FILES[kind]).keys()
    assert load_weights(back).format == target_format
