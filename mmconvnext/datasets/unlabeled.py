"""A folder of images without labels."""

import warnings
from collections import Counter
from pathlib import Path

from mmpretrain.datasets import BaseDataset

from ..errors import UserError
from ..registry import DATASETS
from ..text import counted
from .image_folder import check_root
from .splits import find_layout
from .walking import describe_skipped, images_below


@DATASETS.register_module()
class UnlabeledImages(BaseDataset):
    """All images in a folder and its subfolders, for pre-training.

    If the folder is one of ``ImageFolder`` with images for training in a folder of their own, only those are
    used, so that validation and test images stay unseen. Hidden files and folders are ignored.

    Args:
        data_root: folder of the images.
        **kwargs: arguments of mmpretrain's ``BaseDataset``.

    Raises:
        UserError: the folder does not exist or has no images.
    """

    def __init__(self, data_root: str | Path, **kwargs):
        root = Path(data_root).expanduser()
        check_root(root)
        self.place = find_layout(root).splits.get('train', root)
        super().__init__(ann_file='', data_root=str(root), **kwargs)

    def load_data_list(self) -> list[dict]:
        skipped = Counter()
        samples = [dict(img_path=str(path)) for path in sorted(images_below(self.place, skipped))]
        if skipped:
            warnings.warn(
                f'skipped {counted(skipped.total(), "file")} in {self.place} that cannot be read as an '
                f'image: {describe_skipped(skipped)}',
                stacklevel=2,
            )
        if not samples:
            raise UserError(f'{self.place} has no images; name a folder with images as --data-root')
        return samples
