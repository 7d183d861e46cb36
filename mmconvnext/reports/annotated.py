"""Draw images with their predicted classes and name the files to save them to."""

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import torch
from mmpretrain.structures import DataSample
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..errors import UserError
from ..files import check_new_folder
from ..models.linear_head import class_of, rank
from ..text import class_title, score_text
from .pictures import rgb_of

# Unlike Pillow's default font, this one has more than Latin letters.
FONT = Path(matplotlib.get_data_path(), 'fonts/ttf/DejaVuSans.ttf')
MIN_SIDE = 320  # pixels; larger images are reduced to twice as many
MAX_CLASSES_SHOWN = 10  # per image; files have all
ROW, MARGIN = 26, 8  # pixels of a line of text, and around it
BEST, OTHER, WRONG, BAR = '#1f5fa8', '#444444', '#d62718', '#d7e6f6'


def annotate_sample(
    inputs: Tensor,
    sample: DataSample,
    classes: Sequence[str] | None,
    *,
    topk: int = 5,
    percent: bool = True,
    side: int = MIN_SIDE,
) -> Image.Image:
    """Draw a preprocessed sample above its top classes, and its true classes if the prediction is wrong.

    Args:
        inputs: (C, H, W), as a pipeline packs them.
        sample: prediction with ``pred_score`` and, if known, ``gt_label``.
        classes: class names.
        topk: number of classes to draw.
        percent, side: see ``annotate``.

    Raises:
        UserError: the prediction has no scores.
    """
    if 'pred_score' not in sample:
        raise UserError('only classifiers that give scores are drawn, and this model gives none')
    labels = sample.get('gt_label', torch.empty(0)).tolist() if percent else []  # regression has no classes
    truths = [class_of(label, classes) for label in labels]
    best = rank(sample.pred_score.float().cpu(), topk, classes)
    return annotate(fit_to_look_at(rgb_of(inputs), side), best, truths, percent=percent, side=side)


def fit_to_look_at(rgb: np.ndarray, smallest: int = MIN_SIDE) -> Image.Image:
    """Resize an image (H, W, 3) so that its long side has ``smallest`` to 2 ``smallest`` pixels."""
    image = Image.fromarray(rgb)
    image.thumbnail((2 * smallest, 2 * smallest))
    times = -(-smallest // max(image.size))
    return image.resize((times * image.width, times * image.height), Image.Resampling.NEAREST)


def annotate(
    image: Image.Image,
    ranked: list[dict],
    truths: Collection[dict] = (),
    *,
    percent: bool = True,
    side: int = MIN_SIDE,
) -> Image.Image:
    """Draw an image above its top classes, with a bar for each score.

    Args:
        image: from ``fit_to_look_at``.
        ranked: from ``rank``.
        truths: true classes from ``class_of``, drawn below in red if the top class is none of them.
        percent: whether scores are probabilities rather than values of a regression.
        side: minimum width of the picture in pixels.
    """
    rows = [
        (class_title(one), score_text(one['score'], percent), OTHER) for one in ranked[:MAX_CLASSES_SHOWN]
    ]
    bars = [one['score'] for one in ranked[:MAX_CLASSES_SHOWN]] if percent else []
    wrong = bool(truths) and ranked[0]['label'] not in [one['label'] for one in truths]
    rows[0] = (*rows[0][:2], WRONG if wrong else BEST)
    if wrong:
        rows.append((f'is {", ".join(map(class_title, truths))}', '', WRONG))
    width = max(image.width, side)
    picture = Image.new('RGB', (width, image.height + ROW * len(rows) + 2 * MARGIN), 'white')
    picture.paste(image, ((width - image.width) // 2, 0))
    draw, font = ImageDraw.Draw(picture), ImageFont.truetype(FONT, 15)
    tops = range(image.height + MARGIN, picture.height - MARGIN, ROW)
    for top, bar in zip(tops, bars, strict=False):  # none for the true classes
        right = MARGIN + bar * (width - 2 * MARGIN)
        draw.rectangle((MARGIN, top + 1, right, top + ROW - 2), fill=BAR)
    for top, (name, score, color) in zip(tops, rows, strict=True):
        room, middle = width - 4 * MARGIN - draw.textlength(score, font), top + ROW // 2
        draw.text((2 * MARGIN, middle), elide(name, room, font), color, font, anchor='lm')
        draw.text((width - 2 * MARGIN, middle), score, color, font, anchor='rm')
    return picture


def save_picture(picture: Image.Image, file: Path) -> None:
    try:
        picture.save(file, 'JPEG', quality=92)
    except OSError as error:
        raise UserError(f'the picture {file} cannot be written: {error}') from error


def elide(text: str, room: float, font: ImageFont.FreeTypeFont) -> str:
    """Return as much of a text as there is room for."""
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(f'{text}…') > room:
        text = text[:-1]
    return f'{text}…'


class PictureFolder:
    """A new folder for annotated images, each with a name of its own, also if several processes fill it.

    Args:
        folder: is not there yet, or empty.
        suffixes: of the pictures; a name without any of them gets the first.
    """

    def __init__(self, folder: str | Path, suffixes: tuple[str, ...] = ('.jpg', '.jpeg')):
        check_new_folder(folder)
        self.folder, self.suffixes = Path(folder), suffixes
        self.taken, self.copies = set(), Counter()

    def place(self, name: str) -> Path:
        """Create an empty file for the picture of an image; its name is numbered if another image has it.

        Raises:
            UserError: the file cannot be created.
        """
        # A pattern may climb: a/../../b.jpg. Nothing is written outside of the folder.
        name = '/'.join(part for part in Path(name).parts if part not in ('..', '/')) or 'image'
        path = free = Path(name if name.lower().endswith(self.suffixes) else f'{name}{self.suffixes[0]}')
        # The folder may be copied to a file system that takes A.jpg for a.jpg.
        while str(free).casefold() in self.taken or not is_created(self.folder / free):
            self.copies[path] += 1
            free = path.with_stem(f'{path.stem}-{self.copies[path] + 1}')
        self.taken.add(str(free).casefold())
        return self.folder / free


def is_created(file: Path) -> bool:
    """Create an empty file; return whether the name was free."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.open('x').close()
    except FileExistsError:
        if not file.parent.is_dir():
            raise UserError(f'the picture {file} cannot be written: {file.parent} is a file') from None
        return False
    except OSError as error:
        raise UserError(f'the picture {file} cannot be written: {error}') from error
    return True
