"""Invalid input ends in one message before anything is written."""

import pytest
import torch

from mmconvnext.apis import evaluate, load_config, train
from mmconvnext.errors import UserError
from tests.small_runs import evaluate_run, folder_options, image_folder, refuse


def test_missing_data_root(tmp_path):
    refuse(
        r'train_dataloader.dataset.data_root data/imagenet is not a folder.*--cfg-options',
        'convnext-tiny_32xb128_in1k',
        tmp_path / 'work',
    )


def test_dataset_folder_without_images(tiny_config, tmp_path):
    for classes in ((), ('cat', 'dog')):
        root = tmp_path / f'data{len(classes)}'
        root.mkdir()
        image_folder(root, classes=classes, count=0)
        refuse(
            f'data_root {root}.* cannot be read',
            tiny_config,
            tmp_path / 'w',
            cfg_options=folder_options(root),
        )


def test_class_count_that_differs_from_the_head(tiny_config, tmp_path):
    options = folder_options(image_folder(tmp_path / 'data'), **{'model.head.num_classes': 3})
    message = r'has 2 classes \(cat, dog\), but the head has 3 outputs; pass .*model.head.num_classes=2'
    refuse(message, tiny_config, tmp_path / 'work', cfg_options=options)


def test_unreadable_first_image(tiny_config, tmp_path):
    root = image_folder(tmp_path / 'data')
    (root / 'cat/0.png').write_text('not an image')
    refuse(
        r'1 of 4 images cannot be read.*\n.*cat/0.png',
        tiny_config,
        tmp_path / 'w',
        cfg_options=folder_options(root),
    )


def test_broken_image_of_the_validation_met_in_a_worker_is_named(tiny_config, tmp_path):
    options = folder_options(image_folder(tmp_path / 'data'), **{'val_dataloader.num_workers': 1})
    held_out = image_folder(tmp_path / 'val')
    (held_out / 'dog/1.png').write_text('not an image')
    options['val_dataloader.dataset'] = {**options['val_dataloader.dataset'], 'data_root': str(held_out)}
    with pytest.raises(UserError, match='dog/1.png cannot be read as an image'):
        train(tiny_config, work_dir=str(tmp_path / 'w'), cfg_options=options, rehearsal=False)


def test_broken_images_of_the_validation_are_listed_before_anything_is_written(tiny_config, tmp_path):
    options = folder_options(image_folder(tmp_path / 'data'))
    held_out = image_folder(tmp_path / 'val')
    (held_out / 'dog/1.png').write_text('not an image')
    content = (held_out / 'cat/1.png').read_bytes()
    (held_out / 'cat/1.png').write_bytes(content[: len(content) // 2])
    inner = {**options['val_dataloader.dataset'], 'data_root': str(held_out)}
    inner.pop('_delete_')
    options['val_dataloader.dataset'] = dict(_delete_=True, type='RepeatDataset', times=2, dataset=inner)
    message = r'val_dataloader.dataset: 2 of 8 images .*\n.*cat/1.png.*\n.*dog/1.png'
    refuse(message, tiny_config, tmp_path / 'w', cfg_options=options)


def test_broken_image_of_a_test_is_named_before_it(tiny_config, tmp_path):
    root = image_folder(tmp_path / 'test')
    options = folder_options(root, **{'train_cfg.max_epochs': 1, 'test_evaluator.topk': (1,)})
    train(tiny_config, work_dir=str(tmp_path / 'w'), cfg_options=options)
    (root / 'dog/1.png').write_bytes(b'')
    options['test_dataloader.dataset'] = options['val_dataloader.dataset']
    with pytest.raises(UserError, match=r'test_dataloader.dataset: 1 of 4 images .*\n.*dog/1.png'):
        evaluate(tiny_config, tmp_path / 'w/epoch_1.pth', work_dir=str(tmp_path / 't'), cfg_options=options)
    assert not (tmp_path / 't').exists()


def test_validation_data_without_a_class(tiny_config, tmp_path):
    options = folder_options(image_folder(tmp_path / 'data'))
    three = image_folder(tmp_path / 'val', classes=('cat', 'dog', 'fox'))
    options['val_dataloader.dataset'] = {**options['val_dataloader.dataset'], 'data_root': str(three)}
    refuse(
        'has folders that are no classes of the model: fox',
        tiny_config,
        tmp_path / 'w',
        cfg_options=options,
    )


def test_head_of_another_width_than_the_backbone(tiny_config, tmp_path):
    options = {'model.head.in_channels': 40}
    refuse(
        'gives 32 channels, but model.head.in_channels is 40',
        tiny_config,
        tmp_path / 'w',
        cfg_options=options,
    )


def test_unknown_arch(tiny_config, tmp_path):
    refuse("'tinny' is unknown", tiny_config, tmp_path / 'work', cfg_options={'model.backbone.arch': 'tinny'})


def test_images_smaller_than_the_network_can_take(tiny_config, tmp_path):
    options = {'model.backbone.stem_patch_size': 8}
    refuse(
        'images of 32 x 32 pixels, but the backbone needs at least 64',
        tiny_config,
        tmp_path,
        cfg_options=options,
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason='tests the message for machines without a GPU')
def test_mixed_precision_without_a_gpu(tiny_config, tmp_path):
    refuse('--amp needs a GPU', tiny_config, tmp_path / 'w', amp=True)


def test_auto_scaling_without_a_base(tiny_config, tmp_path):
    cfg = load_config(tiny_config)
    cfg.pop('auto_scale_lr')
    cfg.dump(tmp_path / 'no_base.py')
    refuse('does not say for which batch', tmp_path / 'no_base.py', tmp_path / 'w', auto_scale_lr=True)


def test_config_without_test_data(tmp_path):
    refuse(
        'has no test_dataloader',
        'convnext-base_32xb128_in21k',
        tmp_path / 'w',
        run=evaluate_run,
        checkpoint='any.pth',
    )


@pytest.mark.parametrize(('out', 'item'), [('x.json', None), ('x.json', 'pred'), ('x.txt', 'metrics')])
def test_results_that_could_not_be_written_are_refused_before_the_test(tiny_config, tmp_path, out, item):
    options = dict(run=evaluate_run, checkpoint='x', out=out, out_item=item)
    refuse(f'--out {out}: .* can be written as', tiny_config, tmp_path, **options)


def test_label_beyond_the_head_in_an_annotation_file(tiny_config, tmp_path):
    root = image_folder(tmp_path / 'data')
    (root / 'labels.txt').write_text('cat/0.png 0\ndog/0.png 5\n')
    options = folder_options(root)
    options['train_dataloader.dataset'] = {**options['train_dataloader.dataset'], 'ann_file': 'labels.txt'}
    refuse(
        'line 2: .* is not of the form FILE LABEL with a number from 0 to 1',
        tiny_config,
        tmp_path / 'w',
        cfg_options=options,
    )


def test_wrong_optimizer(tiny_config, tmp_path):
    options = {'optim_wrapper.constructor': 'mmconvnext.LayerDecayOptimWrapperConstructor'}
    refuse(
        'optim_wrapper of the config cannot be built: .*layer_decay',
        tiny_config,
        tmp_path / 'w',
        cfg_options=options,
    )


def test_out_item_without_a_file(tiny_config, tmp_path):
    refuse(
        'name the file with --out', tiny_config, tmp_path, run=evaluate_run, checkpoint='x', out_item='pred'
    )
