"""Find objects and areas in images with detectors and segmenters."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.model import BaseModel
from mmengine.registry import VISUALIZERS
from mmengine.structures import BaseDataElement
from PIL import Image

from ..config.inner_datasets import inner_settings
from ..config.libraries import class_count
from ..config.loading import find_type
from ..errors import UserError
from ..memory import is_out_of_memory
from ..registry import default_scope
from ..reports.annotated import PictureFolder
from ..reports.pictures import displayed
from ..text import counted, one_line
from ..zoo.models import get_model
from ..zoo.names import Named, find
from .classifier import check_device
from .inputs import MAX_THREADS, Given, ImageLike, TestPipeline, find_images, read_ahead

# Visualizers for configs without one, by default scope.
VISUALIZER = {'mmdet': 'DetLocalVisualizer', 'mmseg': 'SegLocalVisualizer'}


class DenseInferencer:
    """Find objects or areas in images with the preprocessing of the model's test pipeline.

    Args:
        model: published name, or a config of MMDetection or MMSegmentation.
        pretrained: weights for a config (file or URL, in any format); True for the published weights.
        device: None: a GPU if there is one.
        min_score: minimum score of objects.
        trust_checkpoint: whether to unpickle weights even if that runs code in the file.

    Raises:
        UserError: the model is unknown, its weights are missing or do not fit, or a library is missing.

    Example:
        >>> inferencer = DenseInferencer('mask_rcnn_convnext_tiny_1k_3x')
        >>> inferencer('street.jpg')[0]['objects'][0]['box']
    """

    def __init__(
        self,
        model: str | Path | Named,
        pretrained: bool | str | Path | Named = True,
        *,
        device: str | torch.device | None = None,
        min_score: float = 0.3,
        trust_checkpoint: bool = False,
    ):
        check_device(device)
        if not pretrained:
            raise UserError(f'{model} without weights would predict at random; pass pretrained=FILE')
        if not 0 <= min_score <= 1:
            raise UserError(f'min_score is {min_score}; it should be between 0 and 1')
        named = find(model)
        if not named.is_dense:
            raise UserError(f'{model} is not a detector or segmenter; see ImageClassificationInferencer')
        self.model = get_model(named, pretrained, trust_checkpoint=trust_checkpoint).eval()
        self.model.to(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
        cfg = self.model._config
        self.scope, self.min_score = cfg.default_scope, min_score
        self.finds = 'areas' if self.scope == 'mmseg' else 'objects'
        self.pipeline = TestPipeline(cfg)
        meta = classes_and_palette(cfg, self.model)
        self.classes = meta.get('classes')
        with default_scope(self.scope):
            # mmengine keeps one visualizer per name, with its classes.
            drawing = cfg.get('visualizer') or dict(type=VISUALIZER[self.scope])
            self.visualizer = VISUALIZERS.build(
                dict(drawing, name=f'inferencer-{id(self)}', vis_backends=None, save_dir=None)
            )
            self.visualizer.dataset_meta = meta

    def __call__(
        self, inputs: ImageLike | Iterable[ImageLike], *, show_dir: str | Path | None = None
    ) -> list[dict]:
        """Find objects or areas in images.

        Args:
            inputs: see ``ImageClassificationInferencer``.
            show_dir: new folder for the images with their predictions, and the label maps of segmenters (PNG
                files whose gray values are the labels).

        Returns:
            One dict per image, in the order of the inputs. Detectors give ``path`` and ``objects``: dicts of
            label, class, score, box (left, top, right, bottom in pixels of the image) and, with masks,
            ``mask`` in COCO's run-length encoding, most likely first. Segmenters give ``path``, ``areas``
            (dicts of label, class and share of the pixels, largest first) and ``labels``, the label of each
            pixel (H, W). For an
            image that cannot be read: ``path`` and ``error``.

        Raises:
            UserError: there are no images, or an argument is invalid.
        """
        return list(self.stream(find_images(inputs), show_dir=show_dir))

    def stream(self, images: Iterable[Given], *, show_dir: str | Path | None = None) -> Iterator[dict]:
        """Yield results one by one.

        Args:
            images: result of ``find_images``.
            show_dir: see ``__call__``.
        """
        pictures = None if show_dir is None else PictureFolder(show_dir)
        return self._stream(images, pictures)

    def _stream(self, images: Iterable[Given], pictures: PictureFolder | None) -> Iterator[dict]:
        threads = min(MAX_THREADS, os.cpu_count() or 1)
        prepare = partial(self._prepare, keep=pictures is not None)
        with ThreadPoolExecutor(threads) as pool:
            try:
                # Image sizes differ, and one image fills a GPU.
                for given, pixels, sample in read_ahead(pool, prepare, images, threads + 1):
                    if isinstance(sample, str):
                        yield dict(path=given.path, error=sample)
                        continue
                    try:
                        found = self._predict(sample)
                    # For images that are too small or too elongated.
                    except (MemoryError, RuntimeError, ValueError) as error:
                        if is_out_of_memory(error):
                            raise UserError(
                                f'{given.path or given.name} does not fit into memory; choose another '
                                'device, or a smaller scale in the test pipeline of the config'
                            ) from error
                        yield dict(path=given.path, error=one_line(error))
                        continue
                    if pictures is not None:
                        self._draw(pixels, found, pictures.place(given.name))
                    yield dict(path=given.path, **self._describe(found))
            finally:
                pool.shutdown(cancel_futures=True)

    def _prepare(self, given: Given, keep: bool) -> tuple[Given, np.ndarray | None, dict | str]:
        """Return a copy of the pixels if they are kept, and the network's input or why there is none."""
        try:
            sample, pixels = self.pipeline.prepare(given.image, np.copy if keep else None)
            return given, pixels, sample
        except UserError as error:
            return given, None, str(error)

    @torch.inference_mode()
    def _predict(self, sample: dict) -> BaseDataElement:
        with default_scope(self.scope):
            (found,) = self.model.test_step(pseudo_collate([sample]))
        return found.cpu()

    def _describe(self, found: BaseDataElement) -> dict:
        if self.finds == 'areas':
            labels = found.pred_sem_seg.data.squeeze(0).numpy()
            values, counts = np.unique(labels, return_counts=True)
            areas = sorted(zip(counts.tolist(), values.tolist(), strict=True), reverse=True)
            named = [
                {'label': label, 'class': self._name(label), 'share': count / labels.size}
                for count, label in areas
            ]
            return dict(areas=named, labels=labels)
        kept = found.pred_instances[found.pred_instances.scores >= self.min_score]
        kept = kept[kept.scores.argsort(descending=True)]
        objects = [
            {'label': label, 'class': self._name(label), 'score': score, 'box': box}
            for label, score, box in zip(
                kept.labels.tolist(), kept.scores.tolist(), kept.bboxes.tolist(), strict=True
            )
        ]
        for item, mask in zip(objects, kept.get('masks', ()), strict=False):
            item['mask'] = run_lengths(mask.numpy())
        return dict(objects=objects)

    def _name(self, label: int) -> str | None:
        return self.classes[label] if self.classes else None

    def _draw(self, pixels: np.ndarray, found: BaseDataElement, file: Path) -> None:
        """Return the image with its predictions, drawn by the library of the model."""
        rgb = displayed(pixels)
        options = dict(pred_score_thr=self.min_score) if self.finds == 'objects' else {}
        try:
            self.visualizer.add_datasample(
                file.stem, rgb, found, draw_gt=False, out_file=str(file), **options
            )
            if self.finds == 'areas':
                labels = found.pred_sem_seg.data.squeeze(0).numpy()
                depth = np.uint8 if labels.max() < 256 else np.uint16
                Image.fromarray(labels.astype(depth)).save(f'{file}.labels.png')
        except OSError as error:
            raise UserError(f'the picture {file} cannot be written: {error}') from error


def classes_and_palette(cfg: Config, model: BaseModel) -> dict:
    """Return class names (of the weights, or else of the test data) and colors.

    Raises:
        UserError: the numbers of names and outputs differ.
    """
    dataset = inner_settings(cfg.test_dataloader.dataset)[0]
    kind = find_type(dataset.type, cfg.default_scope)
    # As the dataset does it, which also reads names from files.
    meta = kind._load_metainfo(dataset.get('metainfo')) if hasattr(kind, '_load_metainfo') else {}
    meta = dict(meta, **model._dataset_meta)
    outputs, names = class_count(model), meta.get('classes')
    if names is None:
        return meta
    if outputs not in (None, len(names)):
        raise UserError(
            f'the model has {counted(len(names), "class name")} for {counted(outputs, "output")}; '
            'correct metainfo of the test dataset '
            'in the config, or num_classes of the heads'
        )
    if len(meta.get('palette') or ()) != len(names):
        colours = np.random.RandomState(42).randint(0, 256, (len(names), 3))  # those of MMSegmentation
        meta['palette'] = [tuple(colour) for colour in colours.tolist()]
    return meta


def run_lengths(mask: np.ndarray) -> dict:
    """Return a mask (H, W) in COCO's compressed run-length encoding."""
    from pycocotools.mask import encode  # installed with MMDetection

    encoded = encode(np.asfortranarray(mask, dtype=np.uint8))
    return dict(size=encoded['size'], counts=encoded['counts'].decode())
