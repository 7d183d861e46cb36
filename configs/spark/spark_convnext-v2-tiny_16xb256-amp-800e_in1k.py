# ConvNeXt V2-Tiny pre-trained with SparK on ImageNet-1K without labels, 800 epochs: the values of mmpretrain's config, and the
# official initialization and curves. Fine-tuned top-1 of mmpretrain's weights: 82.8 (its configs/spark/README.md), not
# reproduced here.
#
#   tools/dist_train.sh configs/spark/spark_convnext-v2-tiny_16xb256-amp-800e_in1k.py 8 --accumulate
#
# Fine-tune with configs/convnext_v2/convnext-v2-tiny_32xb32_in1k.py and --cfg-options load_from=FILE.
_base_ = [
    '../_base_/models/spark.py',
    '../_base_/datasets/imagenet_spark_224.py',
    '../_base_/schedules/spark_800e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(arch='tiny', use_grn=True, layer_scale_init_value=0.0),
    decoder_channels=512,
)
_base_.train_pipeline[1].crop_ratio_range = (0.2, 1.0)
train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))
