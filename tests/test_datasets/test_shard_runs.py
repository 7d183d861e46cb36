"""Configs train and test on shards."""

from pathlib import Path

import pytest

from mmconvnext.apis import evaluate, train
from mmconvnext.errors import UserError
from tests.test_datasets.small_shards import COUNT, PACK, break_images


def shard_options(root):
    pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(32, 32)), *PACK]
    dataset = dict(_delete_=True, type='mmconvnext.Shards', data_root=str(root), pipeline=pipeline)
    return {
        'train_dataloader.dataset': dataset,
        'train_dataloader.num_workers': 2,
        'val_dataloader.dataset': dict(dataset, shuffle=False),
        'test_dataloader.dataset': dict(dataset, shuffle=False),
        'model.head.num_classes': 3,
        'val_evaluator.topk': (1,),
        'test_evaluator.topk': (1,),
        'train_cfg.max_epochs': 1,
    }


def test_train_and_test_on_shards(tiny_config, root, tmp_path):
    options = shard_options(root)
    runner = train(tiny_config, work_dir=str(tmp_path / 'work'), cfg_options=options)
    assert runner.iter == 3  # whole batches of 16
    assert runner.train_dataloader.dataset.metainfo['classes'] == ('cat', 'dog', 'eel')
    out = tmp_path / 'predictions.pkl'
    checkpoint = tmp_path / 'work/epoch_1.pth'
    evaluate(tiny_config, checkpoint, work_dir=str(tmp_path / 'test'), out=str(out), cfg_options=options)
    import mmengine

    assert sorted(sample['sample_idx'] for sample in mmengine.load(out)) == list(range(COUNT))


def test_shards_that_do_not_fit_the_model_are_refused_before_anything_is_written(tiny_config, root, tmp_path):
    options = shard_options(root)
    with pytest.raises(UserError, match='has 3 classes .cat, dog, eel., but the head has 2 outputs'):
        train(tiny_config, work_dir=str(tmp_path / 'w'), cfg_options={**options, 'model.head.num_classes': 2})
    options['train_dataloader.dataset']['data_root'] = str(tmp_path)
    with pytest.raises(UserError, match='index.json cannot be read'):
        train(tiny_config, work_dir=str(tmp_path / 'w'), cfg_options=options)
    assert not (tmp_path / 'w').exists()


def test_error_of_a_loader_process_is_one_message(tiny_config, root, tmp_path):
    (tmp_path / 'val').mkdir()
    break_images(root, tmp_path / 'val', [20])
    options = {**shard_options(root), 'val_dataloader.num_workers': 1}
    options['val_dataloader.dataset']['data_root'] = str(tmp_path / 'val')
    with pytest.raises(UserError) as caught:
        train(tiny_config, work_dir=str(tmp_path / 'w'), cfg_options=options)
    assert str(caught.value).startswith(f'{tmp_path}/val/000002.tar/000000020-')
    assert str(caught.value).endswith('replace it and make the shards again')


@pytest.mark.parametrize(
    'fragment, schedule', [('imagenet_shards_224', 'adamw_300e'), ('imagenet21k_shards_224', 'adamw_90e')]
)
def test_configs_of_shards_run_small_without_them(fragment, schedule, tmp_path):
    repo = Path(__file__).parents[2]
    config = tmp_path / 'small.py'
    config.write_text(
        f"_base_ = ['{repo}/configs/_base_/models/convnext.py', "
        f"'{repo}/configs/_base_/datasets/{fragment}.py', "
        f"'{repo}/configs/_base_/schedules/{schedule}.py', '{repo}/configs/_base_/default_runtime.py']\n"
        'arch = dict(_delete_=True, depths=(1, 1, 1, 1), channels=(8, 8, 8, 8))\n'
        'model = dict(backbone=dict(arch=arch), head=dict(num_classes=1000, in_channels=8))\n'
        'train_dataloader = dict(sampler=None)\n'
    )
    assert train(config, work_dir=str(tmp_path / 'work'), smoke=True).iter == 2
