"""Measure how well features tell classes apart."""

import warnings
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from ..errors import UserError

FOLDS = 3
STRENGTHS = tuple(10.0**power for power in range(-4, 2))  # C of LogisticRegression
# Of votes, as in Wu et al., "Unsupervised feature learning via non-parametric instance discrimination".
TEMPERATURE = 0.07


class Probe(NamedTuple):
    """
    Attributes:
        classifier: classifier of features, trained.
        title: what it is, with the setting that was chosen.
    """

    classifier: Pipeline
    title: str

    def accuracy(self, features: np.ndarray, labels: np.ndarray) -> float:
        """Return the fraction of images with the right class."""
        return float((self.classifier.predict(features) == labels).mean())


def fit_linear_probe(features: np.ndarray, labels: np.ndarray, seed: int) -> Probe:
    """Fit a logistic regression on standardized features.

    Its regularization is that of ``STRENGTHS`` with the best accuracy in cross-validation.

    Args:
        features: (images, channels).
        labels: (images,), of two classes or more.
        seed: seed of the folds.
    """
    splits = cross_validation(labels, seed)
    if not splits:
        warnings.warn(
            'fewer than two classes have two training images, so that the regularization cannot be chosen; '
            'C is 1',
            stacklevel=2,
        )
    with warnings.catch_warnings():
        # The optimum is flat where the limit of iterations is reached.
        warnings.filterwarnings('ignore', 'The number of unique classes')
        warnings.simplefilter('ignore', ConvergenceWarning)
        strength = best_strength(features, labels, splits) if splits else 1.0
        return Probe(logistic(strength).fit(features, labels), f'linear probe, C={strength:g}')


def cross_validation(labels: np.ndarray, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return numbers of images to train on and to test on, with at least two classes to train on."""
    folds = min(FOLDS, int(np.unique(labels, return_counts=True)[1].max()))
    if folds < 2:
        return []
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'The least populated class|The number of unique classes')
        splits = list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(labels, labels))
    return [(kept, rest) for kept, rest in splits if len(np.unique(labels[kept])) > 1]


def best_strength(
    features: np.ndarray, labels: np.ndarray, splits: list[tuple[np.ndarray, np.ndarray]]
) -> float:
    # Not scikit-learn's search, which sets the start method of processes for the whole program.

    def accuracy(strength: float) -> float:
        fitted = ((logistic(strength).fit(features[kept], labels[kept]), rest) for kept, rest in splits)
        return np.mean([model.score(features[rest], labels[rest]) for model, rest in fitted])

    return max(STRENGTHS, key=accuracy)


def logistic(strength: float) -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))


def fit_neighbors(features: np.ndarray, labels: np.ndarray, k: int) -> Probe:
    """Fit the vote of the k nearest images by cosine similarity of standardized features.

    The more similar an image, the more its vote counts: exp(similarity / ``TEMPERATURE``).

    Raises:
        UserError: there are fewer images than k.
    """
    if k > len(labels):
        raise UserError(f'--knn {k} is more than the {len(labels)} training images; choose fewer neighbors')
    neighbors = KNeighborsClassifier(k, metric='cosine', algorithm='brute', weights=votes)
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'The number of unique classes')
        fitted = make_pipeline(StandardScaler(), neighbors).fit(features, labels)
    return Probe(fitted, f'{k} nearest neighbors')


def votes(distances: np.ndarray) -> np.ndarray:
    return np.exp((1 - distances) / TEMPERATURE)
