"""Datasets of drawn shapes with exact outlines, in the layouts of COCO and ADE20K."""

import json

import numpy as np
from PIL import Image, ImageDraw

SIZE = 96
CLASSES = ('square', 'triangle', 'disc')
COLOURS = ((220, 60, 60), (60, 200, 60), (70, 90, 230))


def outline(kind, x, y, side):
    """Return the corners of a shape in a square with the given side and upper left corner (x, y)."""
    if kind == 0:
        return [(x, y), (x + side, y), (x + side, y + side), (x, y + side)]
    if kind == 1:
        return [(x, y + side), (x + side, y + side), (x + side // 2, y)]
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    return [(x + side / 2 * (1 + np.cos(a)), y + side / 2 * (1 + np.sin(a))) for a in angles]


def draw_image(draw):
    """Draw one to three shapes in different quarters of an image; return it with classes and outlines."""
    image = Image.fromarray(draw.integers(90, 130, (SIZE, SIZE, 3), dtype=np.uint8))
    pen, found = ImageDraw.Draw(image), []
    for quarter in draw.permutation(4)[: draw.integers(1, 4)]:
        kind, side = int(draw.integers(3)), int(draw.integers(34, 42))
        corner = [
            int(half * SIZE // 2 + draw.integers(2, SIZE // 2 - side - 2)) for half in divmod(quarter, 2)
        ]
        corners = outline(kind, *corner, side)
        pen.polygon(corners, fill=COLOURS[kind])
        found.append((kind, corners))
    return image, found


def write_coco(root, count):
    """Write a dataset in the layout of COCO; validation uses the training images."""
    draw = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(count):
        image, found = draw_image(draw)
        name = f'{number:012d}.jpg'
        images.append(dict(id=number, file_name=name, width=SIZE, height=SIZE))
        for split in ('train2017', 'val2017'):
            (root / split).mkdir(parents=True, exist_ok=True)
            image.save(root / split / name, quality=95)
        for kind, corners in found:
            xs, ys = zip(*corners, strict=True)
            box = [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
            polygon = [float(value) for corner in corners for value in corner]
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=number,
                    category_id=kind + 1,
                    bbox=box,
                    area=box[2] * box[3],
                    segmentation=[polygon],
                    iscrowd=0,
                )
            )
    categories = [dict(id=kind + 1, name=name) for kind, name in enumerate(CLASSES)]
    (root / 'annotations').mkdir()
    for split in ('train2017', 'val2017'):
        content = dict(images=images, annotations=annotations, categories=categories)
        (root / f'annotations/instances_{split}.json').write_text(json.dumps(content))
    return root


def write_ade(root, count):
    """Write a dataset in the layout of ADE20K: label 1 is the background, validation repeats the training."""
    draw = np.random.default_rng(0)
    for number in range(count):
        image, found = draw_image(draw)
        labels = Image.new('L', image.size, 1)
        for kind, corners in found:
            ImageDraw.Draw(labels).polygon(corners, fill=kind + 2)
        for split in ('training', 'validation'):
            for folder, content, suffix in (('images', image, 'jpg'), ('annotations', labels, 'png')):
                (root / folder / split).mkdir(parents=True, exist_ok=True)
                content.save(root / folder / split / f'{number}.{suffix}')
    return root
