# ConvNeXt-Large pre-trained with SparK on ImageNet-1K without labels, 1600 epochs: the official recipe, in mixed precision.
# Fine-tuned top-1 of the official weights: 85.4 (official README, by its downstream_imagenet), not reproduced here.
#
#   tools/dist_train.sh configs/spark/spark_convnext-large_16xb256-amp-1600e_in1k.py 8 --accumulate
#
# Fine-tune with configs/convnext/convnext-large_64xb64_in1k.py and --cfg-options load_from=FILE.
# The official fine-tuning (downstream_imagenet/arg.py) has values of its own: batch 4096, lr 0.0016, 200 epochs with 10 of warm-up,
# layer decay 0.7, weight decay 0.02, drop path 0.5, mixup 0.8, repeated augmentation 3. The official encoders, files that
# end in _official_style.pth, load in the same way, here and there.
_base_ = [
    '../_base_/models/spark.py',
    '../_base_/datasets/imagenet_spark_224.py',
    '../_base_/schedules/spark_1600e.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(arch='large', drop_path_rate=0.4))
