"""The OpenMMLab libraries whose configs the tools run, and their differences."""

from dataclasses import dataclass
from importlib.util import find_spec

from torch import nn

from ..errors import UserError


@dataclass(frozen=True)
class Library:
    """A library that configs build on.

    Attributes:
        name: name in messages.
        extra: extra in setup.py that installs the library.
        data: needs of its datasets, the end of a message.
    """

    name: str
    extra: str
    data: str


# Default scope -> library.
LIBRARIES = {
    'mmdet': Library('MMDetection', 'detection', 'See the paths of ann_file and data_prefix in the config'),
    'mmseg': Library('MMSegmentation', 'segmentation', 'See the paths of data_prefix in the config'),
}


def check_installed(scope: str | None, config: str) -> None:
    """Raise UserError if the library of a config or the operators of mmcv are missing."""
    if scope not in LIBRARIES:
        return
    library = LIBRARIES[scope]
    if find_spec(scope) is None:
        raise UserError(
            f'{config} is built on {library.name}, which is not installed. Install it beside the maintained '
            f'stack: pip install "mmconvnext[{library.extra}]". README.md, "Detection and segmentation", '
            'tells how to get the compiled operators of mmcv that it needs.'
        )
    if find_spec('mmcv._ext') is None:
        raise UserError(
            f'{config} is built on {library.name}, which needs the compiled operators of mmcv, and this mmcv '
            'has none. README.md, "Detection and segmentation", explains how to build it.'
        )


def class_count(model: nn.Module) -> int | None:
    """Return the number of classes of a classifier, detector or segmenter; None if unknown."""
    for path in ('head', 'decode_head', 'roi_head.bbox_head', 'bbox_head'):
        part = model
        for name in path.split('.'):
            part = getattr(part, name, None)
        if isinstance(part, nn.ModuleList):  # for a cascade
            part = part[-1]
        count = getattr(part, 'num_classes', None)
        if count is not None and not getattr(part, 'regression', False):
            return count
    return None
