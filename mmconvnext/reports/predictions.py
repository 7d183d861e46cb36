"""What every test image was taken for, with the pictures that are worth a look."""

from collections.abc import Sequence
from heapq import heappush, heappushpop
from typing import NamedTuple

import numpy as np
from mmengine.evaluator import BaseMetric

from ..errors import UserError
from .pictures import rgb_of

MOST_MISTAKES, MOST_DOUBTS = 48, 12


class Prediction(NamedTuple):
    """
    Attributes:
        truth: number of the true class.
        label: number of the predicted one.
        score: its probability.
        rank: how many classes are likelier than the true one.
        path: of the image; None: it has none.
        image: (H, W, 3) uint8 in RGB as the model sees it, of those worth a look.
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
    """Keeps every prediction of a test; it has no value to log.

    Pictures are kept of the most confident mistakes and of the least certain right ones, each process
    its own: so nothing is read twice, whatever the dataset, and memory does not grow with it.
    """

    default_prefix = 'predictions'
    predictions: list[Prediction] | None = None
    num_classes = 0

    def __init__(self):
        super().__init__()
        self.kept = {False: [], True: []}  # right or not -> a heap of how much worth a look, and where

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        for inputs, sample in zip(inputs_of(data_batch), data_samples, strict=True):
            self.add(inputs, sample)

    def add(self, inputs, sample: dict) -> None:
        scores, truth = sample.get('pred_score'), sample.get('gt_label')
        if scores is None or scores.numel() < 2 or truth is None or truth.numel() != 1:
            raise UserError(
                '--report is for classifiers with one label an image, and this test has other predictions '
                'or labels; leave it out'
            )
        self.num_classes, truth, label = len(scores), int(truth), int(scores.argmax())
        self.results.append(
            Prediction(
                *(truth, label, float(scores[label]), int((scores > scores[truth]).sum())),
                path=sample.get('img_path'),
            )
        )
        self.keep_picture(inputs)

    def keep_picture(self, inputs) -> None:
        """Keep the picture of the newest prediction if it is worth a look more than another, which goes."""
        place = len(self.results) - 1
        newest = self.results[place]
        heap, most = self.kept[newest.right], MOST_DOUBTS if newest.right else MOST_MISTAKES
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
        # On the way between processes they become plain tuples.
        self.predictions = [Prediction(*each) for each in results]
        return {}


def inputs_of(batch: dict) -> Sequence:
    """The images of a batch; with test-time augmentation the last view of each: ours is not flipped."""
    views = isinstance(batch['data_samples'][0], (list, tuple))
    return batch['inputs'][-1] if views else batch['inputs']
