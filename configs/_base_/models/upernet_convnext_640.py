# UPerNet on ConvNeXt for ADE20K in crops of 640 px.
_base_ = 'upernet_convnext.py'

model = dict(
    data_preprocessor=dict(size=(640, 640)),
    test_cfg=dict(crop_size=(640, 640), stride=(426, 426)),
)
