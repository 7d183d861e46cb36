"""The number and the errors of tools/linear_probe.py."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from mmconvnext.apis.linear_probe import choose, linear_probe
from mmconvnext.errors import UserError
from mmconvnext.images.preprocessing import Preprocessing
from mmconvnext.inference.probing import fit_linear_probe, fit_neighbors
from mmconvnext.zoo import get_model
from tests.conftest import REPO, write_tiny_config, write_tiny_pretraining
from tests.peers import randomize
from tests.processes import call

RANDOM = 'ignore:.* is a config without weights'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Two classes of 8 training and 4 validation images: stripes down and across, in noise."""
    root, noise = tmp_path_factory.mktemp('data'), np.random.default_rng(0)
    for split, count in (('train', 8), ('val', 4)):
        for name in ('across', 'down'):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                image = noise.integers(0, 150, (40, 48, 3))
                image[tuple(slice(None, None, 4 if name == axis else 1) for axis in ('across', 'down'))] += (
                    100
                )
                Image.fromarray(image.astype(np.uint8)).save(root / split / name / f'{number}.png')
    return root


@pytest.fixture
def copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / 'copied')


@pytest.fixture(scope='module')
def networks(tmp_path_factory):
    """Return configs of a classifier and a pre-training, and weights of each."""
    place = tmp_path_factory.mktemp('networks')
    files = []
    for write in (write_tiny_config, write_tiny_pretraining):
        config = write(place)
        torch.manual_seed(1)
        model = randomize(get_model(config))
        torch.save(dict(state_dict=model.state_dict()), place / f'{config.stem}.pth')
        files.append((config, place / f'{config.stem}.pth'))
    return files


def split_of(folder, split, backbone):
    """Return features before the final norm and labels, with plain torch."""
    files = sorted((folder / split).glob('*/*.png'))
    preprocessing = Preprocessing(size=32, resize=None, mean=(0.5,) * 3, std=(0.5,) * 3)
    images = torch.stack([preprocessing(Image.open(file)) for file in files])
    with torch.no_grad():
        pooled = backbone.hidden_states(images)[-1].mean((2, 3))
    return pooled, np.array([file.parent.name == 'down' for file in files]).astype(int)


@pytest.mark.parametrize('knn', [None, 3])
def test_accuracy_is_that_of_features_taken_with_plain_torch(knn, folder, networks, capsys):
    config, weights = networks[0]
    backbone = get_model(config, weights).eval().backbone
    (train, labels), (val, val_labels) = (split_of(folder, split, backbone) for split in ('train', 'val'))
    train, val = (backbone.norm3.normalize(each).detach().double().numpy() for each in (train, val))
    probe = fit_linear_probe(train, labels, 0) if knn is None else fit_neighbors(train, labels, knn)
    expected = probe.accuracy(val, val_labels)
    assert linear_probe(config, folder, checkpoint=weights, knn=knn) == expected
    assert capsys.readouterr().out == (
        f'Top-1 {expected:.2%} of 8 validation images ({probe.title}, 16 training images, 32 features)\n'
    )


def test_pretraining_is_probed_on_its_own_size_without_masks(folder, networks):
    """By its config, which has no test data; the digits are resized to 32 px without a crop."""
    config, weights = networks[1]
    backbone = get_model(config, weights).eval().backbone
    (train, labels), (val, val_labels) = (split_of(folder, split, backbone) for split in ('train', 'val'))
    expected = fit_linear_probe(train.double().numpy(), labels, 0).accuracy(val.double().numpy(), val_labels)
    assert linear_probe(config, folder, checkpoint=weights) == expected


def test_weights_of_a_pretraining_fit_the_config_of_a_classifier(folder, networks, tmp_path):
    """And give the same number there, whose new head and norm are of no use."""
    (config, _), (pretraining, weights) = networks
    same = tmp_path / 'same.py'
    same.write_text(
        f"_base_ = '{config}'\n"
        'model = dict(backbone=dict(use_grn=True, layer_scale_init_value=0.0, stem_patch_size=1))\n'
    )
    expected = linear_probe(pretraining, folder, checkpoint=weights)
    assert linear_probe(same, folder, checkpoint=weights) == expected


def test_weights_alone_are_taken_with_the_preprocessing_of_imagenet(folder, networks):
    with pytest.warns(UserWarning, match='does not tell how its images were prepared'):
        accuracy = linear_probe(networks[1][1], folder)
    assert 0 <= accuracy <= 1


@pytest.mark.filterwarnings(RANDOM)
def test_config_is_its_own_data_or_that_of_a_pretraining(networks, capsys):
    (config, _), (pretraining, weights) = networks
    linear_probe(config)
    linear_probe(pretraining, config, checkpoint=weights)
    out = capsys.readouterr().out.splitlines()
    assert [line.partition(' of ')[2].partition(' (')[0] for line in out] == ['32 validation images'] * 2
    assert all('64 training images' in line for line in out)


def test_random_features_depend_on_the_seed_alone(networks):
    state = torch.get_rng_state(), np.random.get_state()[1].copy()
    with pytest.warns(UserWarning, match='is a config without weights: the features are random'):
        first = [linear_probe(networks[0][0], knn=1, seed=seed) for seed in (0, 1, 2, 3)]
    assert torch.equal(torch.get_rng_state(), state[0])
    assert (np.random.get_state()[1] == state[1]).all()
    torch.rand(5)
    with pytest.warns(UserWarning, match='random'):
        assert [linear_probe(networks[0][0], knn=1, seed=seed) for seed in (0, 1, 2, 3)] == first
    assert len(set(first)) > 1


def test_images_of_each_class_are_chosen_by_the_seed():
    labels = np.repeat([2, 0, 1], [10, 20, 5])
    chosen = choose(labels, 4, seed=0)
    assert np.bincount(labels[chosen]).tolist() == [4, 4, 4]
    assert len(set(chosen)) == 12 and (np.diff(chosen) > 0).all()
    assert choose(labels, 4, seed=0).tolist() == chosen.tolist() != choose(labels, 4, seed=1).tolist()
    assert choose(labels, None, seed=0).tolist() == list(range(35))
    with pytest.warns(UserWarning, match='1 class of 3 have fewer than 6 training images, the smallest 5'):
        assert np.bincount(labels[choose(labels, 6, seed=0)]).tolist() == [6, 5, 6]


@pytest.mark.filterwarnings(RANDOM)
def test_fewer_labels_are_used(networks, folder, capsys):
    linear_probe(networks[0][0], folder, labels_per_class=3)
    assert '6 training images' in capsys.readouterr().out


@pytest.mark.filterwarnings(RANDOM)
def test_classes_of_one_split_alone_are_named(networks, copied):
    for file in (copied / 'val/down').iterdir():
        file.unlink()
    with pytest.warns(UserWarning, match='no validation image, so that the accuracy .*: down'):
        linear_probe(networks[0][0], copied)


@pytest.mark.filterwarnings(RANDOM)
def test_single_validation_image_is_enough(networks, copied, capsys):
    for file in sorted((copied / 'val').glob('*/*.png'))[1:]:
        file.unlink()
    with pytest.warns(UserWarning, match='no validation image'):
        assert linear_probe(networks[0][0], copied) in (0, 1)
    assert 'of 1 validation image (' in capsys.readouterr().out


@pytest.mark.filterwarnings(RANDOM)
def test_broken_training_images_are_left_out_and_validation_images_refused(networks, copied, capsys):
    (copied / 'train/down/0.png').write_bytes(b'no image')
    with pytest.warns(UserWarning, match='1 of 16 training images cannot be read and are left out: .*0.png'):
        linear_probe(networks[0][0], copied)
    assert '15 training images' in capsys.readouterr().out
    (copied / 'val/across/1.png').write_bytes(b'no image')
    with pytest.raises(UserError, match='1 of 8 validation images cannot be read; .*1.png'):
        linear_probe(networks[0][0], copied)


@pytest.mark.filterwarnings(RANDOM)
@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(data='nowhere'), 'data folder or config nowhere does not exist'),
        (dict(data='convnext_tiny.fb_in1k'), 'has no data to train on: name a folder'),
        (
            dict(model='fcmae_convnext-v2-atto_1xb48_digits', data=None),
            'has no val_dataloader: name a folder',
        ),
        (dict(model='resnet50'), 'model resnet50 does not exist'),
        (dict(model='mask_rcnn_convnext_tiny_1k_3x'), 'is a detector or segmenter'),
        (dict(checkpoint='none.pth'), 'checkpoint none.pth does not exist'),
        (dict(knn=0), 'knn is 0; it should be at least 1'),
        (dict(knn=17), '--knn 17 is more than the 16 training images'),
        (dict(labels_per_class=0), 'labels_per_class is 0; it should be at least 1'),
        (dict(seed=-1), '--seed is -1'),
        (dict(device='abacus'), 'device abacus cannot be used'),
    ],
)
def test_mistakes_end_in_a_message(options, message, networks, folder):
    options = {**dict(model=networks[0][0], data=folder), **options}
    with pytest.raises(UserError, match=message):
        linear_probe(**options)


@pytest.mark.filterwarnings(RANDOM)
def test_weights_of_another_network_are_refused(networks, folder):
    with pytest.raises(UserError, match='does not fit the model: it holds the weights of a ConvNeXt V2'):
        linear_probe(networks[0][0], folder, checkpoint=networks[1][1])


def test_tool_prints_the_number_and_notes(networks, folder):
    done = call(REPO / 'tools/linear_probe.py', networks[0][0], folder, '--knn', '--labels-per-class', 10)
    assert done.returncode == 1
    assert 'Note: 2 classes of 2 have fewer than 10 training images, the smallest 8; all' in done.stderr
    assert 'Error: --knn 20 is more than the 16 training images' in done.stderr
    done = call(REPO / 'tools/linear_probe.py', networks[0][0], folder, '--checkpoint', networks[0][1])
    assert done.returncode == 0 and done.stdout.startswith('Top-1 '), done.stderr
