# ConvNeXt V2-Atto on your own images, in one folder per class; the classes are in train/ and val/ or directly in the folder.
#
#   tools/train.py configs/convnext_v2/convnext-v2-atto_ft_folder.py --data-root photos
#
# It starts from the official weights trained with FCMAE and on ImageNet-1K (76.6 top-1 on ImageNet at 224 px).
# They are CC BY-NC 4.0: not for commercial use. The network is small enough for a CPU.
_base_ = 'convnext-v2-tiny_ft_folder.py'

model = dict(
    backbone=dict(
        arch='atto', drop_path_rate=0.0
    ),  # a network of 3.7 million parameters needs all its blocks
    head=dict(in_channels=320),
)
load_from = 'mmconvnext://convnextv2_atto.fcmae_ft_in1k'
