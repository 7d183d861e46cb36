"""Folders in which the data of a config is looked for."""

from mmengine.config import Config

from mmconvnext.config.data_root import with_absolute_paths


def test_paths_that_lead_somewhere_become_absolute(tmp_path, monkeypatch):
    (tmp_path / 'data/images').mkdir(parents=True)
    (tmp_path / 'labels.txt').touch()
    monkeypatch.chdir(tmp_path)
    table = dict(type='CustomDataset', ann_file='labels.txt', data_prefix=dict(img_path='data/images'))
    datasets = [
        dict(type='A', data_root='data', ann_file='labels.txt', data_prefix='images'),
        dict(type='B', data_root='missing'),
        dict(type='C', data_root='https://example.org/data'),
        dict(type='RepeatDataset', dataset=table),
    ]
    cfg = Config(
        dict(
            train_dataloader=dict(dataset=dict(type='ConcatDataset', datasets=datasets)),
            val_dataloader=None,
            val_evaluator=[dict(type='CocoMetric', ann_file='labels.txt'), dict(type='Accuracy')],
        )
    )
    found = with_absolute_paths(cfg)
    rooted, missing, url, repeated = found.train_dataloader.dataset.datasets
    labels, images = str(tmp_path / 'labels.txt'), str(tmp_path / 'data/images')
    assert rooted == dict(datasets[0], data_root=str(tmp_path / 'data'))
    assert [missing.data_root, url.data_root] == ['missing', 'https://example.org/data']
    assert repeated.dataset == dict(table, ann_file=labels, data_prefix=dict(img_path=images))
    assert [metric.get('ann_file') for metric in found.val_evaluator] == [labels, None]
    assert cfg.train_dataloader.dataset.datasets[0].data_root == 'data'
