"""Runs train, validate and test, and report how they differ from their recipe."""

import re

import pytest
import torch

from mmconvnext.apis import evaluate, train
from mmconvnext.errors import UserError
from tests.small_runs import folder_options, image_folder


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
