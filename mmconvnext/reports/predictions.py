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
        score: probability of the predicted class.
        rank: number of classes that are more likely than the true one.
        path: path of the image, or None.
        image: input of the model, (H, W, 3), uint8 in RGB, for the most interesting images.
    """

    truth: int
    label: int
    score: float
    rank: int
    path: str | None
    image: np.ndarray | None = None

    @property
    def right(self) -> bool:
        return self.truth == self.label


class Predictions(BaseMetric):
    """Collect all predictions of a validation or test, without a value for the log.

    Each process keeps pictures of its most confident mistakes and its least certain correct predictions. So
    no image is read twice, and memory does not grow with the dataset.

    Args:
        pictures: whether to keep pictures.
    """

    default_prefix = 'predictions'

    def __init__(self, *, pictures: bool = False):
        super().__init__()
        self.pictures = pictures
        self.predictions: list[Prediction] | None = None  # of all processes, in the first process
        self.num_classes = 0

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        begin = len(self.results)
        if begin == 0:
            self.kept = {False: [], True: []}  # whether it is correct -> heap of interest and position
        for sample in data_samples:
            check_kind(sample)
        scores = torch.stack([sample['pred_score'] for sample in data_samples]).cpu()
        truths = torch.cat([sample['gt_label'].flatten() for sample in data_samples]).cpu()
        self.num_classes, labels = scores.shape[1], scores.argmax(1)
        columns = (
            *(truths, labels, scores.gather(1, labels[:, None])[:, 0]),
            (scores > scores.gather(1, truths[:, None])).sum(1),
        )
        paths = [sample.get('img_path') for sample in data_samples]
        self.results += map(Prediction, *(column.tolist() for column in columns), paths)
        if self.pictures:
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
        return {}


def check_kind(sample: dict) -> None:
    scores, truth = sample.get('pred_score'), sample.get('gt_label')
    if scores is None or scores.numel() < 2 or truth is None or truth.numel() != 1:
        raise UserError(
            'a report on classes is for classifiers with one label an image, and this network or its data is '
            'of another kind; leave out --report, and take ClassReportHook out of custom_hooks'
        )


def confusion_matrix(predictions: Sequence[Prediction], num_classes: int) -> Tensor:
    """Count images by true and predicted class: (classes, classes)."""
    labels, truths = (torch.tensor([getattr(p, field) for p in predictions]) for field in ('label', 'truth'))
    return ConfusionMatrix.calculate(labels, truths, num_classes=num_classes)
