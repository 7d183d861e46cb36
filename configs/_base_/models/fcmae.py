# FCMAE with ConvNeXt V2, without drop path and without the final norm; a config sets arch.
model = dict(
    type='mmconvnext.FCMAE',
    backbone=dict(
        type='mmconvnext.ConvNeXt', arch='base', use_grn=True, layer_scale_init_value=0.0, out_indices=()
    ),
)
