"""Classify images: files, folders, URLs, PIL images and arrays."""

import os
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.model import BaseModel
from mmpretrain.apis import ImageClassificationInferencer as MMPretrainInferencer
from mmpretrain.models.heads import MultiLabelClsHead
from mmpretrain.models.selfsup import BaseSelfSupervisor
from mmpretrain.structures import DataSample
from PIL import Image

from ..checkpoints.descriptions import Unexpected, class_names, shown
from ..errors import UserError, check_counts
from ..memory import enough_memory
from ..models.convnext import SmallImageError
from ..models.fitting import network_of, no_classifier, title
from ..models.linear_head import rank
from ..reports.annotated import PictureFolder, annotate, fit_to_look_at, save_picture
from ..reports.pictures import displayed
from ..text import counted
from ..zoo.entries import list_models
from ..zoo.models import get_model
from ..zoo.names import Named, check_has_classes, find
from .inputs import MAX_THREADS, Given, ImageLike, TestPipeline, find_images, read_ahead


class ImageClassificationInferencer(MMPretrainInferencer):
    """Classify images with the preprocessing of the model's test pipeline.

    Args:
        model: published name, config, weights in any format, or a model of ``get_model``.
        pretrained: other weights for the network (file, URL or published name); True for the published
            weights.
        device: None: a GPU if there is one; a built model stays on its device.
        classes: names of the outputs; None: those stored with the weights, if any.
        trust_checkpoint: whether to unpickle weights even if that runs code in the file.

    Raises:
        UserError: the model is unknown, has no weights, or is not a classifier.

    Example:
        >>> inferencer = ImageClassificationInferencer('convnext_tiny.fb_in1k')
        >>> inferencer('photos')[0]['pred_class']
    """

    def __init__(
        self,
        model: str | Path | Named | BaseModel,
        pretrained: bool | str | Path | Named = True,
        *,
        device: str | torch.device | None = None,
        classes: Iterable[str] | None = None,
        trust_checkpoint: bool = False,
    ):
        check_device(device)
        if isinstance(model, torch.nn.Module):
            check_built(model, pretrained)
        else:
            model = load_classifier(model, pretrained, trust_checkpoint)
            device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
        if getattr(model, 'head', None) is None or isinstance(model, BaseSelfSupervisor):
            raise UserError('the model has no head: it gives features, not classes; choose a classifier')
        classes = None if classes is None else check_names(classes)
        super().__init__(model, pretrained=False, device=device, classes=classes)
        outputs = getattr(model.head, 'num_classes', None)
        if self.classes is not None and outputs not in (None, len(self.classes)):
            raise UserError(
                f'the model has {counted(len(self.classes), "class name")} for {counted(outputs, "output")}; '
                'pass classes with one name an output'
            )

    @property
    def regression(self) -> bool:
        """Whether the score is a value of a regression instead of a probability."""
        return getattr(self.model.head, 'regression', False)

    @property
    def multi_label(self) -> bool:
        """Whether the probabilities of the classes are independent."""
        return isinstance(self.model.head, MultiLabelClsHead)

    def __call__(
        self,
        inputs: ImageLike | Iterable[ImageLike],
        *,
        batch_size: int = 32,
        topk: int = 5,
        show_dir: str | Path | None = None,
    ) -> list[dict]:
        """Classify images.

        Args:
            inputs: path, URL, PIL image, array (H, W, 3) in RGB or (H, W) in gray of uint8, folder (searched
                with its subfolders), pattern such as ``photos/*.jpg``, or a list of these.
            batch_size: images per forward pass.
            topk: number of classes per result.
            show_dir: new folder for the images with their classes drawn below.

        Returns:
            One dict per image, in the order of the inputs, with ``path``, ``pred_label``, ``pred_score``,
            ``pred_class`` (None without class names), ``topk`` (dicts of label, score and class, best first)
            and ``pred_scores`` (array of all scores). With several labels per image, also ``pred_labels``
            (those that reach the threshold of the head, possibly none). For an image that cannot be read:
            ``path`` and ``error``.

        Raises:
            UserError: there are no images, or an argument is invalid.
        """
        options = dict(batch_size=batch_size, topk=topk, show_dir=show_dir)
        return list(self.stream(find_images(inputs, self.pipeline.channels), **options))

    def stream(
        self,
        images: Iterable[Given],
        *,
        batch_size: int = 32,
        topk: int = 5,
        show_dir: str | Path | None = None,
    ) -> Iterator[dict]:
        """Yield results one by one, for more images than fit into memory with their scores.

        Args:
            images: result of ``find_images``.
            batch_size, topk, show_dir: see ``__call__``.
        """
        check_counts(batch_size=batch_size, topk=topk)
        pictures = None if show_dir is None else PictureFolder(show_dir)
        return self._stream(images, batch_size, topk, pictures)

    @staticmethod
    def list_models(pattern: str | None = None) -> list[str]:
        """Return the names of published classifiers."""
        return list_models(pattern or '*', task='Image Classification')

    def _stream(
        self, images: Iterable[Given], batch_size: int, topk: int, pictures: PictureFolder | None
    ) -> Iterator[dict]:
        threads = min(MAX_THREADS, (os.cpu_count() or 1) + 4)  # some threads wait for disk or network

        def prepare(given: Given) -> tuple[Given, dict | str, Image.Image | None]:
            return given, *self._prepare(given.image, pictures is not None)

        with ThreadPoolExecutor(threads) as pool:
            try:
                # While the network processes a batch, only the next one is decoded.
                prepared = read_ahead(pool, prepare, images, batch_size + threads)
                for batch in self._get_chunk_data(prepared, batch_size):
                    results = self._classify(batch, topk)
                    if pictures is not None:
                        draw_all(pool, pictures, batch, results, percent=not self.regression)
                    yield from results
            finally:
                pool.shutdown(cancel_futures=True)

    def _prepare(self, image: ImageLike, keep: bool) -> tuple[dict | str, Image.Image | None]:
        """Return the network's input, or why there is none, and a small copy of the image to draw on."""
        try:
            return self.pipeline.prepare(image, look_at if keep else None)
        except UserError as error:
            return str(error), None

    def _classify(self, batch: list[tuple], topk: int) -> list[dict]:
        """Return the results of a batch, including its broken images."""
        samples = [sample for _, sample, _ in batch if not isinstance(sample, str)]
        # A pipeline without a crop at its end may give images of different sizes.
        alike = len({sample['inputs'].shape for sample in samples}) == 1
        parts = [samples] if alike else [[sample] for sample in samples]
        number = counted(len(samples), 'image')
        with enough_memory(f'there is too little memory for {number} at once; choose a smaller batch size'):
            found = iter([best for part in parts for best in self._predict(part)])
        errors_or_predictions = [sample if isinstance(sample, str) else next(found) for _, sample, _ in batch]
        return [
            dict(path=given.path, error=one) if isinstance(one, str) else self._result(given.path, one, topk)
            for (given, *_), one in zip(batch, errors_or_predictions, strict=True)
        ]

    def _predict(self, samples: list[dict]) -> list[DataSample] | list[str]:
        """Return predictions for images of one size, or the reason why there is none for each."""
        try:
            return self.forward(default_collate(samples))
        except SmallImageError as error:
            return [str(error)] * len(samples)

    def _result(self, path: str | None, prediction: DataSample, topk: int) -> dict:
        scores = prediction.pred_score.float().cpu()
        if not scores.isfinite().all():
            return dict(path=path, error='the network gave scores that are not finite; check its weights')
        ranked = rank(scores, topk, self.classes)
        several = dict(pred_labels=prediction.pred_label.tolist()) if self.multi_label else {}
        return dict(
            path=path,
            pred_label=ranked[0]['label'],
            pred_score=ranked[0]['score'],
            pred_class=ranked[0]['class'],
            topk=ranked,
            pred_scores=scores.numpy(),
            **several,
        )

    def _init_pipeline(self, cfg: Config) -> TestPipeline:
        return TestPipeline(cfg)


def load_classifier(
    model: str | Path | Named, pretrained: bool | str | Path | Named, trust: bool
) -> BaseModel:
    """Build a model with its weights from the arguments of an inferencer."""
    named = find(model)
    check_has_classes(named)
    if pretrained is True and named.entry is not None and named.entry.task != 'Image Classification':
        raise UserError(
            f'{named} is for {named.entry.task}: it gives features, not classes; see '
            'ImageClassificationInferencer.list_models()'
        )
    if named.weights is None and not pretrained:
        raise UserError(f'{named} without weights would predict at random; pass pretrained=FILE')
    classifier = get_model(named, pretrained or True, trust_checkpoint=trust)  # a file contains its weights
    if named.weights is not None and classifier.head is None:
        raise no_classifier(str(named), title(network_of(classifier.state_dict())))
    if not classifier.preprocessing_told:
        warnings.warn(
            f'{model} does not tell how its images were prepared; they are taken for those of ImageNet: the '
            "short side resized to 256 pixels, the central 224 cut out, ImageNet's mean and deviation. If "
            'it was trained otherwise, pass its config too.',
            stacklevel=3,
        )
    return classifier


def check_names(classes: Iterable[str]) -> tuple[str, ...]:
    try:
        if isinstance(classes, str) or not isinstance(classes, Iterable):
            raise Unexpected('a list of names')
        return class_names(list(classes))
    except Unexpected as expected:
        raise UserError(f'classes is {shown(classes)}; expected {expected}') from None


def check_built(model: torch.nn.Module, pretrained: bool | str | Path) -> None:
    if not isinstance(model, BaseModel) or getattr(model, '_config', None) is None:
        raise UserError(
            f'the {type(model).__name__} does not carry its config, which tells how to prepare images; '
            'make it with get_model'
        )
    if not isinstance(pretrained, bool):
        raise UserError(f'pretrained={pretrained} is for names and configs; give it to get_model')


def check_device(device: str | torch.device | None) -> None:
    try:
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError) as error:  # not compiled in, unknown or missing
        reason = str(error).splitlines()[0]
        raise UserError(f'device {device} cannot be used: {reason}; leave it out or choose cpu') from error


def look_at(pixels: np.ndarray) -> Image.Image:
    """Return a small copy of BGR or gray pixels to draw on."""
    return fit_to_look_at(displayed(pixels))


def draw_all(
    pool: Executor, pictures: PictureFolder, batch: list[tuple], results: list[dict], *, percent: bool
) -> None:
    """Save the annotated images of a batch."""

    def draw(shown: Image.Image, ranked: list[dict], file: Path) -> None:
        save_picture(annotate(shown, ranked, percent=percent), file)

    jobs = [
        pool.submit(draw, shown, result['topk'], pictures.place(given.name))
        for (given, _, shown), result in zip(batch, results, strict=True)
        if 'error' not in result
    ]
    for job in jobs:
        job.result()
