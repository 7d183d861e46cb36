# ImageNet-22K at 224 px from tar shards. To write them from one folder per class:
#
#   tools/make_shards.py data/imagenet21k/train data/imagenet21k-shards/train
#
# data_root may also be a URL or a command, see mmconvnext/datasets/shards.py.
_base_ = 'imagenet21k_224.py'

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmconvnext.Shards',
        data_root='data/imagenet21k-shards/train',
        pipeline=_base_.train_pipeline,
    )
)
