"""Valid runs, and invalid input that ends in one message before anything is written."""

import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from mmconvnext.apis import evaluate, load_config, train
from mmconvnext.errors import UserError


def image_folder(root, classes=('cat', 'dog'), count=2, size=40):
    for name in classes:
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.new('RGB', (size, size), (40 * i, 80, 120)).save(root / name / f'{i}.png')
    return root


def folder_options(root, **extra):
    """Train the tiny network on an image folder."""
    load = dict(type='LoadImageFromFile')
    pipeline = [load, dict(type='Resize', scale=(32, 32)), dict(type='PackInputs')]
    dataset = dict(_delete_=True, type='CustomDataset', data_root=str(root), pipeline=pipeline)
    return {
        'train_dataloader.dataset': dataset,
        'train_dataloader.batch_size': 2,
        'val_dataloader.dataset': dict(dataset),
        'model.head.num_classes': 2,
        'val_evaluator.topk': (1,),
        'auto_scale_lr.base_batch_size': 2,
        **extra,
    }


def everything_in(folder):
    return {file: file.read_bytes() for file in Path(folder).rglob('*') if file.is_file()}


def test_train_test_and_resume(tiny_config, tmp_path):
    work_dir = tmp_path / 'work'
    train(tiny_config, work_dir=str(work_dir), cfg_options={'train_cfg.max_epochs': 1})
    first = torch.load(work_dir / 'epoch_1.pth', weights_only=False)['state_dict']
    assert first['backbone.stages.0.0.gamma'].shape == (8,)

    runner = train(tiny_config, work_dir=str(work_dir), resume='latest')
    assert (runner.epoch, runner.iter) == (2, 8)
    assert runner.optim_wrapper.optimizer.defaults['fused']  # one pass over the parameters instead of ten
    assert (work_dir / 'epoch_2.pth').is_file()
    history = torch.load(work_dir / 'epoch_2.pth', weights_only=False)['message_hub']['log_scalars']
    assert len(history['train/loss'].data[0]) == 8  # four iterations before, four after

    metrics = evaluate(tiny_config, work_dir / 'epoch_2.pth', work_dir=str(tmp_path / 'test'))
    validated = runner.message_hub.get_scalar('val/accuracy/top1').current()
    assert metrics['accuracy/top1'] == pytest.approx(validated)


def test_config_text_in_a_checkpoint_is_not_executed_on_resume(tiny_config, tmp_path):
    work_dir, marker = tmp_path / 'work', tmp_path / 'was_run'
    train(tiny_config, work_dir=str(work_dir), cfg_options={'train_cfg.max_epochs': 1})
    checkpoint = torch.load(work_dir / 'epoch_1.pth', weights_only=False)
    for field in ('cfg', 'config'):
        checkpoint['meta'][field] = f'open({str(marker)!r}, "w")'
    torch.save(checkpoint, work_dir / 'epoch_1.pth')
    runner = train(tiny_config, work_dir=str(work_dir), resume='latest')
    assert runner.epoch == 2
    assert not marker.exists()


def test_results_and_pictures_are_written(tiny_config, tmp_path):
    import mmengine

    train(tiny_config, work_dir=str(tmp_path / 'work'), cfg_options={'train_cfg.max_epochs': 1})
    checkpoint = tmp_path / 'work/epoch_1.pth'
    options = dict(work_dir=str(tmp_path / 'test'))
    evaluate(
        tiny_config, checkpoint, out=str(tmp_path / 'pred.pkl'), show_dir=str(tmp_path / 'show'), **options
    )
    predictions = mmengine.load(tmp_path / 'pred.pkl')
    assert len(predictions) == 32
    assert not any('prefix is not set' in log.read_text() for log in (tmp_path / 'test').rglob('*.log'))
    assert predictions[0]['pred_score'].sum().item() == pytest.approx(1, abs=1e-5)
    assert len(list((tmp_path / 'show').rglob('*.jpg'))) == 32

    plain = evaluate(tiny_config, checkpoint, out=str(tmp_path / 'm.json'), out_item='metrics', **options)
    assert mmengine.load(tmp_path / 'm.json') == plain
    mirrored = evaluate(tiny_config, checkpoint, tta=True, out=str(tmp_path / 'tta.pkl'), **options)
    assert mirrored.keys() == plain.keys()
    averaged = mmengine.load(tmp_path / 'tta.pkl')
    assert any(
        not torch.allclose(a['pred_score'], b['pred_score'])
        for a, b in zip(averaged, predictions, strict=True)
    )


def test_a_folder_of_images_is_enough(tiny_config, tmp_path):
    root = image_folder(tmp_path / 'data')
    runner = train(tiny_config, work_dir=str(tmp_path / 'work'), cfg_options=folder_options(root))
    assert runner.train_dataloader.dataset.metainfo['classes'] == ('cat', 'dog')


def test_without_validation_nothing_is_validated(tiny_config, tmp_path):
    runner = train(
        tiny_config, work_dir=str(tmp_path), no_validate=True, cfg_options={'train_cfg.max_epochs': 1}
    )
    assert runner.val_loop is None


@pytest.mark.parametrize(
    'name',
    [
        'convnext-tiny_32xb128_in1k',
        'convnext-base_32xb128_in1k-384px',
        'convnext-xlarge_64xb64_in21k',
        'convnext-isotropic-small_32xb128_in1k',
        'convnext-v2-atto_32xb32_in1k',
        'convnext-v2-huge_32xb32_in1k-512px',
    ],
)
def test_smoke_test_runs_a_config_at_its_own_resolution(name, tmp_path):
    """Runs two iterations of the whole recipe with a narrow network of the same structure."""
    small = dict(depths=(1, 1, 1, 1), channels=(8, 8, 8, 8))
    options = {'model.backbone.arch': dict(_delete_=True, **small), 'model.head.in_channels': 8}
    runner = train(name, work_dir=str(tmp_path), smoke=True, cfg_options=options)
    assert runner.iter == 2
    assert not list(tmp_path.glob('*.pth'))


def test_batch_size_off_the_recipe_is_told_once_with_the_scaled_rate(tiny_config, tmp_path):
    options = {'auto_scale_lr.base_batch_size': 64, 'train_cfg.max_epochs': 1}
    runner = train(tiny_config, work_dir=str(tmp_path), no_validate=True, cfg_options=options)
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert log.count('The effective batch is 16 (1 x 16), the recipe was made for 64') == 1
    assert 'Pass --accumulate to make it that, or --auto-scale-lr to' in log
    assert 'from 0.002 to 0.0005' in log
    assert runner.optim_wrapper.param_groups[0]['initial_lr'] == 2e-3


def test_auto_scale_lr_scales_and_says_nothing_more(tiny_config, tmp_path):
    options = {'auto_scale_lr.base_batch_size': 64, 'train_cfg.max_epochs': 1}
    runner = train(
        tiny_config, work_dir=str(tmp_path), no_validate=True, auto_scale_lr=True, cfg_options=options
    )
    assert runner.optim_wrapper.param_groups[0]['initial_lr'] == pytest.approx(5e-4)
    assert 'effective batch' not in next(tmp_path.glob('*/*.log')).read_text()


def test_auto_scale_lr_counts_accumulated_batches(tiny_config, tmp_path):
    options = {
        'auto_scale_lr.base_batch_size': 64,
        'optim_wrapper.accumulative_counts': 2,
        'train_cfg.max_epochs': 1,
    }
    runner = train(
        tiny_config, work_dir=str(tmp_path), no_validate=True, auto_scale_lr=True, cfg_options=options
    )
    assert runner.optim_wrapper.param_groups[0]['initial_lr'] == pytest.approx(1e-3)


def test_a_batch_larger_than_the_data_scales_by_the_images_that_there_are(tiny_config, tmp_path):
    options = {
        'train_dataloader.batch_size': 500,
        'auto_scale_lr.base_batch_size': 64,
        'train_cfg.max_epochs': 2,
        'param_scheduler': dict(
            _delete_=True,
            type='mmconvnext.WarmupCosineLR',
            convert_to_iter_based=True,
            epochs=2,
            warmup_epochs=1,
        ),
    }
    runner = train(
        tiny_config, work_dir=str(tmp_path), no_validate=True, auto_scale_lr=True, cfg_options=options
    )
    assert runner.optim_wrapper.param_groups[0]['initial_lr'] == pytest.approx(2e-3)  # of 64 images
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert 'The batch size is 500, but there are no more than 64 training images' in log
    assert 'so the first epoch trains nothing' in log


def test_what_the_warning_of_a_short_run_advises_works(tiny_config, tmp_path):
    schedule = dict(type='mmconvnext.WarmupCosineLR', convert_to_iter_based=True, epochs=30, warmup_epochs=2)
    options = {'train_cfg.max_epochs': 1, 'param_scheduler': dict(_delete_=True, **schedule)}
    train(tiny_config, work_dir=str(tmp_path / 'a'), no_validate=True, cfg_options=options)
    log = next(tmp_path.glob('a/*/*.log')).read_text()
    advice = re.search(r'pass --cfg-options (.*), too', log)[1]
    assert advice == 'param_scheduler.epochs=1 param_scheduler.warmup_epochs=0'
    options['param_scheduler'] |= dict(epochs=1)
    with pytest.raises(UserError, match='cannot warm up for 2 of 1 epochs; set a smaller param_scheduler'):
        train(tiny_config, work_dir=str(tmp_path / 'b'), no_validate=True, cfg_options=options)
    options['param_scheduler'] |= dict(warmup_epochs=0)
    train(tiny_config, work_dir=str(tmp_path / 'c'), no_validate=True, cfg_options=options)


# Invalid input: every case is one UserError and leaves the work dir unchanged.


def refuse(message, config, work_dir, run=train, **kwargs):
    before = everything_in(work_dir)
    with pytest.raises(UserError, match=message):
        run(config, work_dir=str(work_dir), **kwargs)
    assert everything_in(work_dir) == before


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


@pytest.fixture
def trained(tiny_config, tmp_path):
    """Return a work dir with the checkpoint of one epoch."""
    work_dir = tmp_path / 'trained'
    train(tiny_config, work_dir=str(work_dir), no_validate=True, cfg_options={'train_cfg.max_epochs': 1})
    return work_dir


def test_checkpoint_of_another_arch(tiny_config, trained, tmp_path):
    wider = {'model.backbone.arch.channels': (8, 16, 24, 40), 'model.head.in_channels': 40}
    checkpoint = trained / 'epoch_1.pth'
    message = 'epoch_1.pth does not fit the model'
    refuse(message, tiny_config, tmp_path / 'w', run=evaluate_run, checkpoint=checkpoint, cfg_options=wider)
    refuse(message, tiny_config, trained, resume='latest', cfg_options=wider)
    refuse(message, tiny_config, tmp_path / 'w', cfg_options={**wider, 'load_from': str(checkpoint)})


def evaluate_run(config, *, checkpoint, **kwargs):
    return evaluate(config, checkpoint, **kwargs)


@pytest.mark.parametrize('damage', [lambda b: b[: len(b) // 2], lambda b: b'no checkpoint', lambda b: b''])
def test_truncated_checkpoint_and_other_files(tiny_config, trained, tmp_path, damage):
    checkpoint = trained / 'epoch_1.pth'
    checkpoint.write_bytes(damage(checkpoint.read_bytes()))
    message = r'epoch_1.pth \([\d,]+ bytes\) is truncated or not a checkpoint'
    refuse(message, tiny_config, tmp_path / 'w', run=evaluate_run, checkpoint=checkpoint)
    refuse(message, tiny_config, trained, resume='latest')


def test_missing_checkpoint(tiny_config, tmp_path):
    refuse('none.pth does not exist', tiny_config, tmp_path / 'w', run=evaluate_run, checkpoint='none.pth')


def test_earlier_run_is_not_written_over(tiny_config, trained):
    refuse('holds epoch_1.pth of an earlier run.*--resume', tiny_config, trained)


def test_other_classes_in_the_checkpoint_are_fine_to_start_from(tiny_config, trained, tmp_path, capfd):
    """In fine-tuning, the backbone is loaded, and the head of another size is initialized and reported."""
    options = {
        **folder_options(image_folder(tmp_path / 'data')),
        'load_from': str(trained / 'epoch_1.pth'),
        'train_cfg.max_epochs': 1,
        'optim_wrapper.optimizer.lr': 0.0,
        'optim_wrapper.optimizer.weight_decay': 0.0,
    }
    train(tiny_config, work_dir=str(tmp_path / 'finetuned'), cfg_options=options)
    before = load_weights(trained / 'epoch_1.pth')
    after = load_weights(tmp_path / 'finetuned/epoch_1.pth')
    torch.testing.assert_close(after['backbone.norm3.weight'], before['backbone.norm3.weight'])
    assert after['head.fc.weight'].shape[0] == 2
    assert (
        'epoch_1.pth is loaded; initialized from scratch: head.fc.weight (10, 32) -> (2, 32), '
        'head.fc.bias (10,) -> (2,)\n'
    ) in (screen := capfd.readouterr().out)
    log = next(tmp_path.glob('finetuned/*/*.log')).read_text()
    for repeated in ('do not match exactly', 'source state_dict', 'size mismatch', 'Loads checkpoint by'):
        assert repeated not in screen + log


def load_weights(file):
    return torch.load(file, weights_only=False)['state_dict']


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


def test_moved_work_dir_resumes_from_its_own_checkpoint(tiny_config, trained, tmp_path):
    moved = trained.rename(tmp_path / 'moved')
    runner = train(tiny_config, work_dir=str(moved), resume='latest', no_validate=True)
    assert runner.epoch == 2
    assert not trained.exists()


def test_resume_in_the_config_is_the_same_as_on_the_command_line(tiny_config, tmp_path):
    refuse('holds no checkpoint to continue from', tiny_config, tmp_path / 'w', cfg_options={'resume': True})


def test_resume_from_elsewhere_does_not_write_over_a_run(tiny_config, trained, tmp_path):
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    checkpoint = (trained / 'epoch_1.pth').rename(elsewhere / 'epoch_1.pth')
    (trained / 'epoch_3.pth').write_bytes(b'the work of a night')
    (trained / 'last_checkpoint').unlink()
    refuse('holds epoch_3.pth of an earlier run', tiny_config, trained, resume=str(checkpoint))


def test_fcmae_weights_have_no_final_norm_and_are_a_start(tiny_config, trained, tmp_path, capfd):
    weights = load_weights(trained / 'epoch_1.pth')
    encoder = {n: w for n, w in weights.items() if n.startswith('backbone') and 'norm3' not in n}
    torch.save(dict(state_dict=encoder), tmp_path / 'fcmae.pth')
    options = {'load_from': str(tmp_path / 'fcmae.pth'), 'train_cfg.max_epochs': 1}
    train(tiny_config, work_dir=str(tmp_path / 'w'), no_validate=True, cfg_options=options)
    new = 'backbone.norm3, head.fc'
    assert f'fcmae.pth is loaded; initialized from scratch: {new}\n' in capfd.readouterr().out
    refuse(
        'fcmae.pth was pre-trained without a classifier',
        tiny_config,
        tmp_path / 'x',
        run=evaluate_run,
        checkpoint=tmp_path / 'fcmae.pth',
    )


@pytest.mark.parametrize('wrap', [lambda weights: weights, lambda weights: dict(model=weights)])
def test_weights_without_mmengines_wrapping_are_the_ones_tested(tiny_config, trained, tmp_path, wrap):
    checkpoint = tmp_path / 'bare.pth'
    torch.save(wrap(load_weights(trained / 'epoch_1.pth')), checkpoint)
    ema = {'custom_hooks': [dict(type='EMAHook', momentum=1e-4)]}
    out = [tmp_path / f'{i}.pkl' for i in range(2)]
    for file, source, options in ((out[0], trained / 'epoch_1.pth', {}), (out[1], checkpoint, ema)):
        evaluate(tiny_config, source, work_dir=str(tmp_path / 't'), out=str(file), cfg_options=options)
    import mmengine

    for a, b in zip(*map(mmengine.load, out), strict=True):
        torch.testing.assert_close(a['pred_score'], b['pred_score'])


def test_out_item_without_a_file(tiny_config, tmp_path):
    refuse(
        'name the file with --out', tiny_config, tmp_path, run=evaluate_run, checkpoint='x', out_item='pred'
    )
