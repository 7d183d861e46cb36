# SparK with ConvNeXt V1, without the final norm; a config sets arch and drop_path_rate.
model = dict(
    type='mmconvnext.SparK',
    backbone=dict(type='mmconvnext.ConvNeXt', arch='small', drop_path_rate=0.2, out_indices=()),
    decoder_channels=768,
)
