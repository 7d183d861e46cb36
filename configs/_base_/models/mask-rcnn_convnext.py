# Mask R-CNN on ConvNeXt: a LayerNorm after every stage, and layer scale 1.0 until pretrained values replace it.
_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmconvnext.ConvNeXt',
        out_indices=(0, 1, 2, 3),
        gap_before_final_norm=False,
        layer_scale_init_value=1.0,
        init_cfg=dict(type='Pretrained', prefix='backbone.'),
    ),
)
