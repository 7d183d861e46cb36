"""Collect all predictions of a test, and pictures of the most interesting ones."""

from collections.abc import Sequence
from heapq import heappush, heappushpop
from typing import NamedTuple

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmpretrain.evaluation import ConfusionMatrix
from torch import Tensor

from ..errors import UserError
from .pictures import inputs_of, rgb_of

MAX_MISTAKES, MAX_DOUBTS = 48, 12


class Prediction(NamedTuple):
    """
    Attributes:
        truth: number of the true class.
        label: number of the predicted class.
        score: probability of the predicted class; None without a page.
        rank: number of classes that are more likely than the true one; None without a page.
        path: path of the image, or None.
        image: input of the model, (H, W, 3), uint8 in RGB, for the most interesting images.
    """

    truth: int
    label: int
    score: float | None
    rank: int | None
    path: str | None
    image: np.ndarray | None = None

    @property
    def right(self) -> bool:
        return self.truth == self.label


class Predictions(BaseMetric):
    """Collect all predictions of a validation or test, without a value for the log.

    For a page, each process keeps pictures of its most confident mistakes and its least certain correct
    predictions, so no image is read twice. Memory grows only by some numbers and the path of each image.

    Args:
        page: whether to keep scores and pictures for the page.
    """

    default_prefix = 'predictions'

    def __init__(self, *, page: bool = False):
        super().__init__()
        self.page = page
        self.predictions: list[Prediction] | None = None  # of all processes, in the first process
        self.num_classes = 0

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        begin = len(self.results)
        if begin == 0:
            self.kept = {False: [], True: []}  # whether it is correct -> heap of interest and position
        for sample in data_samples:
            check_kind(sample, page=self.page)
            self.num_classes = num_outputs(sample) or len((self.dataset_meta or {}).get('classes') or ())
            truth, label = int(sample['gt_label']), label_of(sample)
            check_labels(sample, truth, label, self.num_classes)
            score, rank = None, None
            if self.page:
                scores = sample['pred_score'].cpu()
                score, rank = float(scores[label]), int((scores > scores[truth]).sum())
            self.results.append(Prediction(truth, label, score, rank, sample.get('img_path')))
        if self.page:
            for place, inputs in enumerate(inputs_of(data_batch), begin):
                self.keep_picture(place, inputs)

    def keep_picture(self, place: int, inputs: Tensor) -> None:
        """Keep the picture of a new prediction if it is more interesting than another, which is dropped."""
        newest = self.results[place]
        heap, most = self.kept[newest.right], MAX_DOUBTS if newest.right else MAX_MISTAKES
        worth = (-newest.score if newest.right else newest.score, place)
        if len(heap) < most:
            heappush(heap, worth)
        else:
            _, left = heappushpop(heap, worth)
            if left == place:
                return
            self.results[left] = self.results[left]._replace(image=None)
        self.results[place] = newest._replace(image=rgb_of(inputs))

    def compute_metrics(self, results: list[tuple]) -> dict:
        # Exchange between processes turns them into plain tuples.
        self.predictions = [Prediction(*each) for each in results]
        if not self.num_classes:  # neither the network nor the dataset says
            self.num_classes = 1 + max(max(each[:2]) for each in self.predictions)
        return {}


def num_outputs(sample: dict) -> int | None:
    """Return the number of classes with a score; None if a label comes without scores for all classes."""
    scores, label = sample.get('pred_score'), sample.get('pred_label')
    return None if scores is None or (scores.numel() < 2 and label is not None) else scores.numel()


def label_of(sample: dict) -> int:
    """Return the predicted class, as in the ``ConfusionMatrix`` of mmpretrain."""
    return int(sample['pred_score'].argmax() if num_outputs(sample) else sample['pred_label'])


def check_labels(sample: dict, truth: int, label: int, num_classes: int) -> None:
    for name, number in (('true', truth), ('predicted', label)):
        if number < 0 or (num_classes and number >= num_classes):
            largest = f' to {num_classes - 1} for {num_classes} classes' if num_classes else ' or more'
            raise UserError(
                f'{sample.get("img_path") or "an image"} has the {name} label {number}; expected 0{largest}. '
                'Correct the annotations, or num_classes of the model'
            )


def check_kind(sample: dict, *, page: bool) -> None:
    truth = sample.get('gt_label')
    predicted = num_outputs(sample) or torch.as_tensor(sample.get('pred_label', ())).numel() == 1
    one = truth is not None and truth.numel() == 1 and not truth.is_floating_point()
    if not one or not predicted or (page and (num_outputs(sample) or 0) < 2):
        raise UserError(
            'a report on classes is for classifiers with one label an image, and this network or its data is '
            'of another kind; leave out --report, and take ClassReportHook out of custom_hooks'
        )


def confusion_matrix(predictions: Sequence[Prediction], num_classes: int) -> Tensor:
    """Count images by true and predicted class: (classes, classes)."""
    labels, truths = (torch.tensor([getattr(p, field) for p in predictions]) for field in ('label', 'truth'))
    return ConfusionMatrix.calculate(labels, truths, num_classes=num_classes)
