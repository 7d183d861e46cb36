# ImageNet-22K at 224 px: 21,841 classes, one folder each. The official command does not evaluate.
_base_ = 'imagenet_224.py'

data_preprocessor = dict(num_classes=21841)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='ImageNet21k',
        data_root='data/imagenet21k',
        data_prefix='train',
        pipeline=_base_.train_pipeline,
    )
)
val_dataloader = val_evaluator = None
test_dataloader = test_evaluator = None
