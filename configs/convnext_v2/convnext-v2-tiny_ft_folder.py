# ConvNeXt V2-Tiny on your own images, in one folder per class; the classes are in train/ and val/ or directly in the folder.
#
#   tools/train.py configs/convnext_v2/convnext-v2-tiny_ft_folder.py --data-root photos
#
# It starts from the official weights trained with FCMAE, on ImageNet-22K and 1K (83.9 top-1 on ImageNet at 224 px).
# They are CC BY-NC 4.0: not for commercial use.
_base_ = [
    '../_base_/models/convnext_v2.py',
    '../_base_/datasets/image_folder_224.py',
    '../_base_/schedules/finetune_folder.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(drop_path_rate=0.1),  # half of the official 0.2, which is for 300 epochs
    head=dict(num_classes=None),  # taken from the data
    train_cfg=None,  # neither mixup nor cutmix: too strong for a short training
)
load_from = 'mmconvnext://convnextv2_tiny.fcmae_ft_in22k_in1k'
