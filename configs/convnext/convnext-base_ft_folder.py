# ConvNeXt-Base on your own images, in one folder per class; the classes are in train/ and val/ or directly in the folder.
#
#   tools/train.py configs/convnext/convnext-base_ft_folder.py --data-root photos
#
# It starts from the official weights trained on ImageNet-22K and 1K (85.8 top-1 on ImageNet at 224 px, Apache-2.0
# in timm). CLIP weights reach 86.4, but at 256 px and with another normalization.
_base_ = 'convnext-tiny_ft_folder.py'

model = dict(
    backbone=dict(arch='base', drop_path_rate=0.2),  # as in the official fine-tuning after ImageNet-22K
    head=dict(in_channels=1024),
)
load_from = 'mmconvnext://convnext_base.fb_in22k_ft_in1k'
