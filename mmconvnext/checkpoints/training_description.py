"""What our checkpoints say besides weights: how the network computes, how images are prepared.

Shapes do not show it. It is written under ``meta['mmconvnext']``, class names where mmengine keeps them, and
read back as data, see ``descriptions``.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from torch import Tensor

from ..errors import UserError
from ..images.preprocessing import Preprocessing
from ..models.block import ACTIVATIONS, NORMS
from ..models.fitting import network_of
from ..models.network import HEAD_KINDS, Network
from .descriptions import (
    MAX_CHANNELS,
    MAX_INPUT_SIDE,
    class_names,
    fields,
    flag,
    image_size,
    integer,
    number,
    one_of,
    optional,
    read_fields,
    several,
    text,
)

PIXELS = integer(1, MAX_INPUT_SIDE)
NORM = fields({'type': one_of(NORMS), 'eps': number(0, 1, above=True), 'requires_grad': flag}, closed=True)
# Arguments of the backbone that weights do not show.
BACKBONE = {
    'act_cfg': one_of(ACTIVATIONS),
    'norm_cfg': optional(NORM),
    'out_norm_cfg': optional(NORM),
    'gap_before_final_norm': flag,
    'output_stride': optional(one_of((8, 16, 32))),
}
PREPROCESSING = {
    'size': image_size,
    'resize': optional(PIXELS),
    'interpolation': one_of(('nearest', 'bilinear', 'bicubic', 'box', 'lanczos', 'hamming', 'area')),
    'backend': one_of(('pillow', 'cv2')),
    'mean': several(number(-1e6, 1e6), MAX_CHANNELS),
    'std': several(number(0, 1e6, above=True), MAX_CHANNELS),
    'crop': one_of(('round', 'floor')),
    'color': one_of(('rgb', 'bgr', 'gray', 'unchanged')),
    'full_scale': optional(number(0, 1e9, above=True)),
    'to_float32': flag,
}
MAX_REASON = 200
DESCRIPTION = {
    'backbone': fields(BACKBONE),
    'head': one_of(HEAD_KINDS),
    'preprocessing': optional(fields(PREPROCESSING)),
    'needs_config': optional(text(MAX_REASON)),
}


@dataclass(frozen=True)
class Description:
    """
    Attributes:
        backbone: arguments of ``ConvNeXt`` that weights do not show.
        head: ``kind`` of the head, if it is known.
        preprocessing: of the images in the test; None: not known.
        needs_config: what of the network this cannot say, so that the weights alone are not enough.
    """

    backbone: dict = field(default_factory=dict)
    head: dict = field(default_factory=dict)
    preprocessing: Preprocessing | None = None
    needs_config: str | None = None

    def to_meta(self) -> dict:
        """Plain values for a checkpoint's ``meta``."""
        preprocessing = self.preprocessing and asdict(self.preprocessing)
        meta = dict(backbone=self.backbone, preprocessing=preprocessing, needs_config=self.needs_config)
        return meta | ({'head': self.head['kind']} if 'kind' in self.head else {})


def described_by_meta(meta: Mapping, tensors: dict[str, Tensor], source: str) -> dict:
    """Return the fields of ``Weights`` that the ``meta`` of a checkpoint tells.

    Args:
        meta: of the checkpoint.
        tensors: its weights under our names.
        source: for messages.

    Raises:
        UserError: naming the field that has a value that none can have, or that does not fit the weights.
    """
    # A pre-training names the classes of its images, which its weights know nothing of.
    headless = all(name.startswith('backbone.') for name in tensors)
    classes = None if headless else read_classes(meta, source)
    if 'mmconvnext' not in meta:
        return dict(classes=classes)
    description = read_description(meta['mmconvnext'], source)
    found, preprocessing = network_of(tensors), description.preprocessing
    head = found.head and {**found.head, **description.head}
    if head and head.get('kind') == 'regression' and head['num_classes'] != 1:
        raise UserError(f'{source}: a regression has one output, and its head has {head["num_classes"]}')
    channels = found.backbone.get('in_channels', 3)
    if preprocessing and preprocessing.channels != channels:
        raise UserError(
            f'{source} prepares {preprocessing.channels} channels for a network that takes {channels}'
        )
    return dict(
        network=Network({**found.backbone, **description.backbone}, head),
        preprocessing=preprocessing,
        classes=classes,
        needs_config=description.needs_config,
    )


def read_description(written: object, source: str) -> Description:
    found = read_fields(written, DESCRIPTION, f"{source}, meta['mmconvnext']")
    preprocessing = found.get('preprocessing')
    if preprocessing is not None:
        preprocessing = Preprocessing(**preprocessing)
        if len(preprocessing.mean) != len(preprocessing.std):
            raise UserError(f'{source}: its preprocessing has means and deviations of other channels')
    head = dict(kind=found['head']) if 'head' in found else {}
    return Description(found.get('backbone', {}), head, preprocessing, found.get('needs_config'))


def read_classes(meta: Mapping, source: str) -> tuple[str, ...] | None:
    """Return the names of the outputs, where mmengine keeps them."""
    found = meta.get('dataset_meta')
    if not isinstance(found, Mapping) or not found.get('classes'):
        return None
    schema = {'classes': class_names}
    return read_fields(found, schema, f"{source}, meta['dataset_meta']")['classes']
