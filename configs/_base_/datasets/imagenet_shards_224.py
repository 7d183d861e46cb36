# ImageNet-1K at 224 px from tar shards. To write them from one folder per class:
#
#   tools/make_shards.py data/imagenet/train data/imagenet-shards/train
#   tools/make_shards.py data/imagenet/val data/imagenet-shards/val
#
# data_root may also be a URL or a command, see mmconvnext/datasets/shards.py.
_base_ = 'imagenet_224.py'

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmconvnext.Shards',
        data_root='data/imagenet-shards/train',
        pipeline=_base_.train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmconvnext.Shards',
        data_root='data/imagenet-shards/val',
        pipeline=_base_.test_pipeline,
        shuffle=False,
    )
)
test_dataloader = val_dataloader
