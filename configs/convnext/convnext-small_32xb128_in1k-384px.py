# ConvNeXt-Small fine-tuned at 384 px after ImageNet-22K.
#
#   tools/dist_train.sh configs/convnext/convnext-small_32xb128_in1k-384px.py 8 --accumulate
#
# Expected top-1: 85.8 (official README, weights fine-tuned straight from 22K), not re-run here.
# No official values for this size: the recipe of Base after ImageNet-22K, with the drop path that
# continues the official 0.2, 0.3, 0.4 of Base, Large, XLarge downwards. It starts from the 224 px weights,
# since OpenMMLab has no pure 22K weights of this size. The file name is OpenMMLab's; the official batch is 512.
_base_ = 'convnext-tiny_32xb128_in1k-384px.py'

model = dict(backbone=dict(arch='small', drop_path_rate=0.1))
load_from = 'mmconvnext://convnext-small_in21k-pre_3rdparty_in1k'
