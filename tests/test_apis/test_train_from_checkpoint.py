"""Runs start from, resume and test checkpoints, and refuse those that do not fit."""

import pytest
import torch

from mmconvnext.apis import evaluate, train
from tests.small_runs import evaluate_run, folder_options, image_folder, load_weights, refuse


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
