"""Fine-tuning on a folder of images gives a classifier for its classes."""

import numpy as np
import pytest
import torch
from PIL import Image

from mmconvnext import ImageClassificationInferencer, get_model
from mmconvnext.apis import evaluate, load_config, train
from mmconvnext.errors import UserError
from mmconvnext.paths import CONFIGS as FOLDER
from mmconvnext.training.model import build_on_meta
from mmconvnext.zoo.entries import zoo

CONFIG = 'convnext-v2-atto_ft_folder'
CONFIGS = [
    *('convnext-tiny_ft_folder', 'convnext-base_ft_folder'),
    *('convnext-v2-atto_ft_folder', 'convnext-v2-tiny_ft_folder'),
]
CHANNELS = (8, 16, 24, 32)
COLOURS = dict(red=(200, 40, 40), green=(40, 200, 40), blue=(40, 40, 200))


def small(channels=CHANNELS, **extra):
    """Reduce the network and the images of a config to the size of a test, and change nothing else."""
    training, *others = loaders = 'train_dataloader', 'val_dataloader', 'test_dataloader'
    at_32 = {
        f'{training}.dataset.pipeline.1.scale': 32,
        **{f'{loader}.dataset.pipeline.1.scale': 36 for loader in others},
        **{f'{loader}.dataset.pipeline.2.crop_size': 32 for loader in others},
        **{f'{loader}.num_workers': 0 for loader in loaders},
    }
    arch = dict(_delete_=True, depths=(1, 1, 2, 1), channels=channels)
    return {
        'model.backbone.arch': arch,
        'model.head.in_channels': channels[-1],
        'load_from': None,
        **at_32,
        **extra,
    }


def epochs(number, **extra):
    return small(**{'train_cfg.max_epochs': number, 'default_hooks.checkpoint.save_best': None, **extra})


def coloured(root, classes=('red', 'green'), count=10):
    noise = np.random.default_rng(0)
    for name in classes:
        (root / name).mkdir(parents=True)
        for i in range(count):
            pixels = noise.normal(COLOURS.get(name, (90, 90, 90)), 30, (40, 40, 3)).clip(0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f'{i}.png')
    return root


@pytest.fixture
def photos(tmp_path):
    return coloured(tmp_path / 'photos')


@pytest.fixture
def trained(photos, tmp_path):
    """Train a classifier of red and green, and return the checkpoint."""
    train(CONFIG, data_root=str(photos), work_dir=str(tmp_path / 'w'), cfg_options=epochs(1))
    return tmp_path / 'w/epoch_1.pth'


def weights_of(file):
    return torch.load(file, weights_only=False)['state_dict']


def log_of(work_dir):
    return next(work_dir.glob('*/*.log')).read_text()


def test_classes_come_from_the_folders_and_go_into_test_and_predictions(photos, trained, tmp_path):
    assert weights_of(trained)['head.fc.weight'].shape == (2, 32)
    assert torch.load(trained, weights_only=False)['meta']['dataset_meta']['classes'] == ('green', 'red')
    metrics = evaluate(
        CONFIG, trained, data_root=str(photos), work_dir=str(tmp_path / 't'), cfg_options=small()
    )
    assert 0 <= metrics['accuracy/top1'] <= 100
    load_config(CONFIG, small()).dump(tmp_path / 'small.py')
    for arguments in ((trained,), (tmp_path / 'small.py', trained)):
        results = ImageClassificationInferencer(*arguments)(photos / 'red')
        assert len(results) == 10
        assert {ranked['class'] for ranked in results[0]['topk']} == {'green', 'red'}


def test_a_trained_model_keeps_its_labels_on_a_folder_with_fewer_classes(trained, tmp_path):
    """Red keeps label 1, although it is the only folder."""
    some = coloured(tmp_path / 'some', classes=('red',), count=4)
    options = small(**{'test_dataloader.dataset.held_out': 1})
    evaluate(CONFIG, trained, data_root=str(some), work_dir=str(tmp_path / 't'), cfg_options=options)
    (table,) = (tmp_path / 't').glob('*/classes.csv')
    _, green, red = table.read_text().splitlines()
    assert green == '0,green,0,0,,,,epoch_1.pth'
    assert red.startswith('1,red,4,')


def test_other_folders_than_those_of_the_trained_model_are_refused(trained, tmp_path):
    other = coloured(tmp_path / 'other', classes=('red', 'blue'))
    with pytest.raises(UserError, match='1 class folder that the model does not learn or know: blue'):
        evaluate(CONFIG, trained, data_root=str(other), work_dir=str(tmp_path / 't'), cfg_options=small())
    assert not (tmp_path / 't').exists()


@pytest.mark.parametrize(('classes', 'kept'), [(('red', 'green'), True), (('red', 'blue'), False)])
def test_head_is_kept_for_the_same_classes_only(trained, tmp_path, classes, kept):
    """The head is initialized if the data has as many, but other classes."""
    photos = coloured(tmp_path / 'second', classes=classes)
    still = {'optim_wrapper.optimizer.lr': 0.0, 'optim_wrapper.optimizer.weight_decay': 0.0}
    work_dir = tmp_path / 'again'
    # The learning rate of the first step is 0, so only another seed gives another head.
    options = epochs(1, load_from=str(trained), **{'randomness.seed': 7}, **still)
    train(CONFIG, data_root=str(photos), work_dir=str(work_dir), cfg_options=options)
    before, after = (weights_of(file) for file in (trained, work_dir / 'epoch_1.pth'))
    assert torch.equal(before['head.fc.weight'], after['head.fc.weight']) == kept
    torch.testing.assert_close(before['backbone.norm3.weight'], after['backbone.norm3.weight'])
    said = 'initialized from scratch: head.fc. The head in the file is for other classes' in log_of(work_dir)
    assert said != kept


def test_new_class_is_not_for_a_run_that_goes_on(photos, trained):
    coloured(photos, classes=('blue',))
    options = dict(cfg_options=epochs(2), data_root=str(photos), work_dir=str(trained.parent))
    with pytest.raises(UserError, match=r'was trained on 2 classes, the data has 3 \(they differ in blue\)'):
        train(CONFIG, resume='auto', **options)


def test_run_goes_on_with_its_head(photos, trained):
    still = {'optim_wrapper.optimizer.lr': 0.0, 'optim_wrapper.optimizer.weight_decay': 0.0}
    options = dict(cfg_options=epochs(2, **still), data_root=str(photos), work_dir=str(trained.parent))
    runner = train(CONFIG, resume='auto', **options)
    assert runner.epoch == 2
    assert 'from scratch' not in log_of(trained.parent)


def test_twenty_images_are_trained_on_at_a_rate_for_their_batch(photos, tmp_path):
    options = epochs(1, **{'train_dataloader.batch_size': 64})
    runner = train(CONFIG, data_root=str(photos), work_dir=str(tmp_path / 'w'), cfg_options=options)
    assert runner.iter == 1
    # 2e-4 is for a batch size of 32, and there are 16 training images.
    assert runner.optim_wrapper.param_groups[0]['initial_lr'] == pytest.approx(2e-4 / 2)
    assert 'effective batch' not in log_of(tmp_path / 'w')


def test_missing_folder_is_told_before_anything_is_written(tmp_path):
    with pytest.raises(UserError, match='data_root .*nowhere is not a folder.*--data-root FOLDER'):
        train(CONFIG, data_root=str(tmp_path / 'nowhere'), work_dir=str(tmp_path / 'w'))
    assert not (tmp_path / 'w').exists()


def test_data_root_of_other_configs(tiny_config, tmp_path):
    with pytest.raises(UserError, match=f'data_root {tmp_path}.* cannot be read'):
        train('convnext-tiny_32xb128_in1k', data_root=str(tmp_path), work_dir=str(tmp_path / 'w'))
    with pytest.raises(UserError, match=r'train_dataloader.dataset \(mmconvnext.Digits\) has no data_root'):
        train(tiny_config, data_root=str(tmp_path), work_dir=str(tmp_path / 'w'))
    apart = {'val_dataloader.dataset.data_root': 'data/other'}
    with pytest.raises(UserError, match='one folder for all data, but the config has different ones'):
        train(CONFIG, data_root=str(tmp_path), work_dir=str(tmp_path / 'w'), cfg_options=apart)
    assert not (tmp_path / 'w').exists()


@pytest.mark.parametrize('name', CONFIGS)
def test_smoke_test_needs_no_folder(name, tmp_path):
    tiny = dict(_delete_=True, depths=(1, 1, 1, 1), channels=(8, 8, 8, 8))
    options = {'model.backbone.arch': tiny, 'model.head.in_channels': 8}
    assert train(name, work_dir=str(tmp_path), smoke=True, cfg_options=options).iter == 2


@pytest.mark.parametrize('name', CONFIGS)
def test_configs_start_from_published_weights_of_their_network(name):
    cfg = load_config(name)
    entry = zoo()[cfg.load_from.removeprefix('mmconvnext://')]
    assert entry.preprocessing.mean == pytest.approx([m / 255 for m in cfg.data_preprocessor.mean], abs=1e-4)
    cfg.model.head.num_classes = 1000
    ours, theirs = build_on_meta(cfg).state_dict(), entry.network.build_on_meta().state_dict()
    assert {n: w.shape for n, w in ours.items()} == {n: w.shape for n, w in theirs.items()}
    header = next(FOLDER.glob(f'*/{name}.py')).read_text().split('_base_')[0]
    assert f'{name}.py --data-root photos' in header
    assert ('CC BY-NC' in header) == (entry.license == 'CC-BY-NC-4.0')


def test_without_weights_or_data_the_number_of_classes_is_asked_for():
    with pytest.raises(UserError, match=r'head=dict\(num_classes=N\)'):
        get_model(CONFIG)
    assert get_model(CONFIG, head=dict(num_classes=7)).head.fc.weight.shape == (7, 320)
