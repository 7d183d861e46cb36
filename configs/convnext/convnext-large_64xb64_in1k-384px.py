# ConvNeXt-Large fine-tuned from ImageNet-1K at 224 px to 384 px: the official recipe.
#
#   tools/dist_train.sh configs/convnext/convnext-large_64xb64_in1k-384px.py 8 --accumulate
#
# Expected top-1: 85.5 (official README), not re-run here.
# The file name is OpenMMLab's; the official batch is 512 = 8 GPUs x 32 x 2 accumulated.
_base_ = 'convnext-base_32xb128_in1k-384px.py'

model = dict(backbone=dict(arch='large', drop_path_rate=0.95), head=dict(in_channels=1536))
load_from = 'mmconvnext://convnext-large_3rdparty_in1k'
