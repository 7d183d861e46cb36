# ConvNeXt-Tiny on your own images, in one folder per class; the classes are in train/ and val/ or directly in the folder.
#
#   tools/train.py configs/convnext/convnext-tiny_ft_folder.py --data-root photos
#
# It starts from timm's weights trained on ImageNet-12k and 1k (84.2 top-1 on ImageNet at 224 px, Apache-2.0), the
# most accurate of this size.
_base_ = [
    '../_base_/models/convnext_finetune.py',
    '../_base_/datasets/image_folder_224.py',
    '../_base_/schedules/finetune_folder.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(drop_path_rate=0.1),  # as in pretraining
    head=dict(num_classes=None),  # taken from the data
)
load_from = 'mmconvnext://convnext_tiny.in12k_ft_in1k'
