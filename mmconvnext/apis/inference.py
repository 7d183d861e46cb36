"""Classify images: files, folders, URLs, PIL images and arrays."""

import glob
import os
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import mmcv
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, default_collate
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmpretrain.apis import ImageClassificationInferencer as MMPretrainInferencer
from mmpretrain.registry import TRANSFORMS
from PIL import Image

from ..datasets.preprocessing import Preprocessing
from ..errors import UserError
from ..zoo.entries import list_models, zoo
from ..zoo.models import get_model, is_weights
from .config import load_config
from .images import Given, ImageLike, decode, find_images, is_url, read_bytes, rgb_array
from .results import (
    PictureFolder,
    Summary,
    check_outputs,
    results_file,
    save_annotated,
    shrink,
    track,
)

# The short side is resized to some hundred pixels: a line of one pixel would become a giant.
MOST_LONG_TO_SHORT = 200
MOST_THREADS = 16


class ImageClassificationInferencer(MMPretrainInferencer):
    """Images in, classes and scores out; prepared as in the test of the model's config.

    Args:
        model: name of the zoo, config, weights in any format, or a model of ``get_model``.
        pretrained: weights for a config or for the network of a name: file, URL or another name of
            the zoo; True: those that the name has.
        device: None: a GPU if there is one; a built model stays where it is.
        classes: names of the outputs; None: those that come with the weights, if any.
        trust_checkpoint: unpickle whatever the weights' file holds, which runs any code in it.

    Raises:
        UserError: no such model, no weights, or a model that does not classify.

    Example:
        >>> inferencer = ImageClassificationInferencer('convnext_tiny.fb_in1k')
        >>> inferencer('photos')[0]['pred_class']
    """

    def __init__(
        self,
        model: str | Path | BaseModel,
        pretrained: bool | str | Path = True,
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
        if getattr(model, 'head', None) is None:
            raise UserError('the model has no head: it gives features, not classes; choose a classifier')
        super().__init__(
            model, pretrained=False, device=device, classes=None if classes is None else tuple(classes)
        )
        outputs = getattr(model.head, 'num_classes', None)
        if self.classes is not None and outputs not in (None, len(self.classes)):
            raise UserError(
                f'there are {len(self.classes)} class names for {outputs} outputs; pass classes with one '
                'name an output'
            )

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
            inputs: path, URL, PIL image, RGB array (H, W, 3) or grey array (H, W) of uint8, folder
                (searched to its bottom for images), pattern such as ``photos/*.jpg``, or several of these.
            batch_size: images that go through the network at once.
            topk: how many classes a result lists.
            show_dir: new folder for the images with their classes drawn below.

        Returns:
            A dict for each image, in their order: ``path``, ``pred_label``, ``pred_score``,
            ``pred_class`` (None without class names), ``topk`` (dicts of label, score and class, best
            first), ``pred_scores`` (array of all). Of an image that cannot be read: ``path`` and ``error``.

        Raises:
            UserError: there is no image, or one of these arguments is wrong.
        """
        options = dict(batch_size=batch_size, topk=topk, show_dir=show_dir)
        return list(self.stream(find_images(inputs), **options))

    def stream(
        self,
        images: Iterable[Given],
        *,
        batch_size: int = 32,
        topk: int = 5,
        show_dir: str | Path | None = None,
    ) -> Iterator[dict]:
        """The same, one result after the other, for more images than memory has room for their scores.

        Args:
            images: of ``find_images``.
            batch_size, topk, show_dir: see ``__call__``.
        """
        check_counts(batch_size=batch_size, topk=topk)
        pictures = None if show_dir is None else PictureFolder(show_dir)
        return self._stream(images, batch_size, topk, pictures)

    @staticmethod
    def list_models(pattern: str | None = None) -> list[str]:
        """Names of the zoo that classify."""
        return list_models(pattern or '*', task='Image Classification')

    def _stream(
        self, images: Iterable[Given], batch_size: int, topk: int, pictures: PictureFolder | None
    ) -> Iterator[dict]:
        threads = min(MOST_THREADS, (os.cpu_count() or 1) + 4)  # some wait for disk or network

        def prepare(given: Given) -> tuple[Given, dict | str, Image.Image | None]:
            return given, *self._prepare(given.image, pictures is not None)

        with ThreadPoolExecutor(threads) as pool:
            try:
                # While the network has one batch, the next is decoded, and no more.
                prepared = read_ahead(pool, prepare, images, batch_size + threads)
                for batch in self._get_chunk_data(prepared, batch_size):
                    results = self._classify(batch, topk)
                    if pictures is not None:
                        draw_all(pool, pictures, batch, results)
                    yield from results
            finally:
                pool.shutdown(cancel_futures=True)

    def _prepare(self, image: ImageLike, keep: bool) -> tuple[dict | str, Image.Image | None]:
        """The network's input, or why there is none; and a small copy of the image to draw on."""
        try:
            pixels = self._read(image)
            height, width = pixels.shape[:2]
            if max(height, width) > MOST_LONG_TO_SHORT * min(height, width):
                return f'is a line of {width} x {height} pixels; one side is too short', None
            shown = shrink(pixels) if keep else None
            size = (height, width)
            return self.pipeline(dict(img=pixels, img_shape=size, ori_shape=size)), shown
        except Exception as error:  # decoders and transforms raise what they like
            return ' '.join(str(error).split()) or type(error).__name__, None

    def _read(self, image: ImageLike) -> np.ndarray:
        """The pixels as the config's loader gives them, which is BGR."""
        how = dict(flag=self.loader.color_type, backend=self.loader.imdecode_backend)
        if isinstance(image, str):
            pixels = decode(read_bytes(image), **how)
        else:
            pixels = rgb_array(image)[..., ::-1]
            if how['flag'].startswith('grayscale'):
                pixels = mmcv.bgr2gray(np.ascontiguousarray(pixels))
        return pixels.astype(np.float32) if self.loader.to_float32 else np.ascontiguousarray(pixels)

    def _classify(self, batch: list[tuple], topk: int) -> list[dict]:
        """Results of a batch, those of its broken images among them."""
        samples = [sample for _, sample, _ in batch if not isinstance(sample, str)]
        if len({sample['inputs'].shape for sample in samples}) > 1:
            raise UserError(
                'the test pipeline of the config leaves images in different sizes, which do not fit into one '
                'batch; choose batch size 1'
            )
        try:
            predictions = iter(self.forward(default_collate(samples)) if samples else [])
        except torch.OutOfMemoryError as error:
            raise UserError(
                f'{len(samples)} images at once do not fit into the memory of the GPU; choose a smaller '
                'batch size'
            ) from error
        return [
            dict(path=given.path, error=sample)
            if isinstance(sample, str)
            else self._result(given.path, next(predictions).pred_score.float().cpu(), topk)
            for given, sample, _ in batch
        ]

    def _result(self, path: str | None, scores: torch.Tensor, topk: int) -> dict:
        if not scores.isfinite().all():
            return dict(path=path, error='the network gave scores that are not finite; check its weights')
        best = scores.topk(min(topk, len(scores)))
        ranked = [
            {'label': label, 'score': score, 'class': self.classes[label] if self.classes else None}
            for label, score in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]
        return dict(
            path=path,
            pred_label=ranked[0]['label'],
            pred_score=ranked[0]['score'],
            pred_class=ranked[0]['class'],
            topk=ranked,
            pred_scores=scores.numpy(),
        )

    def _init_pipeline(self, cfg: Config) -> Callable:
        """The config's test pipeline behind its loader, whose settings are kept."""
        try:
            steps = cfg.test_dataloader.dataset.pipeline
        except AttributeError as error:
            raise UserError(
                'the config has no test_dataloader.dataset.pipeline, which would tell how to prepare images'
            ) from error
        loading = [step for step in steps if is_loader(step)] or [dict(type='LoadImageFromFile')]
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmpretrain')):
            self.loader = TRANSFORMS.build(loading[0])
            return Compose([TRANSFORMS.build(step) for step in steps if not is_loader(step)])


def infer(
    inputs: list[str],
    *,
    model: str | None = None,
    config: str | None = None,
    checkpoint: str | None = None,
    topk: int = 5,
    batch_size: int = 32,
    device: str | None = None,
    out: str | None = None,
    out_dir: str | None = None,
    trust_checkpoint: bool = False,
) -> None:
    """Classify images, print a table and write what is asked for.

    Args:
        inputs: images, folders, patterns and URLs.
        model: name of the zoo.
        config: see ``load_config``; it needs a checkpoint.
        checkpoint: weights in any format; without a config, the network is read off them.
        topk: how many classes to list.
        batch_size: images that go through the network at once.
        device: default a GPU if there is one.
        out: new file for the results, .json or .csv.
        out_dir: new folder for annotated images.
        trust_checkpoint: unpickle whatever the checkpoint holds, which runs any code in it.

    Raises:
        UserError: what was found, what was expected and what to do; at the end, if images could not
            be read.
    """
    check_counts(batch_size=batch_size, topk=topk)
    check_outputs(out, out_dir)
    network, weights = choose_weights(model, config, checkpoint)
    for source in inputs:  # a slip in the command is better told before the model is loaded
        if not (is_url(source) or glob.has_magic(source) or Path(source).expanduser().exists()):
            raise UserError(f'{source} does not exist; name an image, a folder, a "*.jpg" in quotes or a URL')
    summary = Summary()
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: print(f'Note: {message}', file=sys.stderr)
        images = find_images(inputs)
        inferencer = ImageClassificationInferencer(
            network, weights, device=device, trust_checkpoint=trust_checkpoint
        )
        results = inferencer.stream(images, batch_size=batch_size, topk=topk, show_dir=out_dir)
        with results_file(out, topk) as write:
            for result in track(results, total=len(images)):
                write(result)
                summary.add(result)
    summary.show(out, out_dir)


def choose_weights(model: str | None, config: str | None, checkpoint: str | None) -> tuple[str, bool | str]:
    """The arguments ``model`` and ``pretrained`` of the inferencer."""
    if model is not None:
        if config or checkpoint:
            raise UserError('--model names a network with its weights; leave out --config and --checkpoint')
        return model, True
    if checkpoint is None:
        raise UserError(
            '--config needs --checkpoint, since random weights predict nothing'
            if config
            else 'which network? name one of model_zoo.md with --model, or weights with --checkpoint'
        )
    if not is_weights(checkpoint) and checkpoint not in zoo():
        raise UserError(f'checkpoint {checkpoint} does not exist; check the path')
    return (config, checkpoint) if config else (checkpoint, True)


def is_loader(step: dict) -> bool:
    name = step['type'] if isinstance(step['type'], str) else step['type'].__name__
    return name.rpartition('.')[2] == 'LoadImageFromFile'


def load_classifier(model: str | Path, pretrained: bool | str | Path, trust: bool) -> BaseModel:
    """A model with its weights, from what an inferencer is given."""
    model = str(model).removeprefix('mmconvnext://')
    entry = zoo().get(model)
    if pretrained is True and entry is not None and entry.task != 'Image Classification':
        raise UserError(
            f'{model} is for {entry.task}: it gives features, not classes; see '
            'ImageClassificationInferencer.list_models()'
        )
    from_file = is_weights(model)
    if not from_file and entry is None:
        load_config(model)  # raises if there is no such config, either
    if not from_file and not pretrained:
        raise UserError(f'{model} without weights would predict at random; pass pretrained=FILE')
    classifier = get_model(model, pretrained or True, trust_checkpoint=trust)  # a file is its weights
    if from_file and classifier.preprocessing == Preprocessing():
        warnings.warn(
            f'{model} does not tell how its images were prepared; they are taken for those of ImageNet: the '
            "short side resized to 256 pixels, the central 224 cut out, ImageNet's mean and deviation. If "
            'it was trained otherwise, pass its config too.',
            stacklevel=3,
        )
    return classifier


def check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise UserError(f'{name} is {count}; it should be at least 1')


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
    except (AssertionError, RuntimeError) as error:  # not compiled in; unknown or not there
        reason = str(error).splitlines()[0]
        raise UserError(f'device {device} cannot be used: {reason}; leave it out or choose cpu') from error


def read_ahead(pool: Executor, function: Callable, items: Iterable, ahead: int) -> Iterator:
    """``map`` in threads that are at most so many items ahead of who takes the results."""
    items = iter(items)
    waiting = deque(pool.submit(function, item) for item in islice(items, ahead))
    while waiting:
        result = waiting.popleft().result()
        waiting.extend(pool.submit(function, item) for item in islice(items, 1))
        yield result


def draw_all(pool: Executor, pictures: PictureFolder, batch: list[tuple], results: list[dict]) -> None:
    """Save the annotated images of a batch."""
    jobs = [
        pool.submit(save_annotated, shown, result['topk'], pictures.place(given.name))
        for (given, _, shown), result in zip(batch, results, strict=True)
        if 'error' not in result
    ]
    for job in jobs:
        job.result()
