"""How well is each class told, and what is it taken for?"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor


def distinct_names(classes: Sequence[str] | None, count: int) -> tuple[str, ...]:
    """A name for each of so many classes, no two alike.

    Those that stand for several, as ImageNet's two cranes, get their numbers; without names, all are
    numbers.
    """
    names = tuple(map(str, classes or range(count)))
    uses = Counter(names)
    return tuple(name if uses[name] == 1 else f'{name} ({i})' for i, name in enumerate(names))


class ClassResult(NamedTuple):
    """Results of one class: its images, those classified correctly, and what most others were taken for.

    ``predicted`` counts the images of any class that were taken for it.
    """

    label: int
    name: str
    images: int
    correct: int
    confused_with: str
    confused_images: int
    predicted: int

    @property
    def accuracy(self) -> float | None:
        """In percent; None without images."""
        return 100 * self.correct / self.images if self.images else None

    @property
    def precision(self) -> float | None:
        """Part of the images taken for the class that are of it, in percent; None without such."""
        return 100 * self.correct / self.predicted if self.predicted else None


def class_results(matrix: Tensor, names: tuple[str, ...]) -> list[ClassResult]:
    """Return the results of every class, in the order of the labels.

    Args:
        matrix: (classes, classes), images by true and predicted class.
        names: of the classes.
    """
    wrong = matrix.clone().fill_diagonal_(0)
    most, taken_for = (column.tolist() for column in wrong.max(dim=1))
    columns = (matrix.sum(1), matrix.diag(), matrix.sum(0))
    return [
        ClassResult(label, name, images, correct, names[other] if count else '', count, predicted)
        for label, (name, images, correct, predicted, other, count) in enumerate(
            zip(names, *(column.tolist() for column in columns), taken_for, most, strict=True)
        )
    ]
