# ConvNeXt V2-Atto on your own images: one folder a class, in train/ and val/ or directly in the folder.
#
#   tools/train.py configs/convnext_v2/convnext-v2-atto_ft_folder.py --data-root photos
#
# Starts from the official weights of FCMAE and ImageNet-1K (76.6 top-1 on ImageNet at 224 px).
# They are CC BY-NC 4.0: not for commercial use. The classes are read from the folders. Small enough for a CPU.
_base_ = 'convnext-v2-tiny_ft_folder.py'

model = dict(
    backbone=dict(arch='atto', drop_path_rate=0.0),  # 3.7 million parameters need each of their blocks
    head=dict(in_channels=320),
)
load_from = 'mmconvnext://convnextv2_atto.fcmae_ft_in1k'
