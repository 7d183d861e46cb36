"""Classifiers of features, against scikit-learn used directly and NumPy."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from mmconvnext.errors import UserError
from mmconvnext.inference.probing import FOLDS, STRENGTHS, TEMPERATURE, fit_linear_probe, fit_neighbors


@pytest.fixture
def data():
    """Three overlapping classes of 40, 30 and 20 images; a channel that dwarfs the others, and a constant."""
    noise = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [40, 30, 20])
    values = noise.normal(size=(90, 6)) + labels[:, None] * [1.0, 0, 0.5, 0, 0, 0]
    values[:, 4] = 1000 + 500 * values[:, 4]
    values[:, 5] = 7
    order = noise.permutation(90)
    return values[order[:60]], labels[order[:60]], values[order[60:]], labels[order[60:]]


def standardize(train, other):
    deviation = train.std(0)
    deviation[deviation == 0] = 1
    return (train - train.mean(0)) / deviation, (other - train.mean(0)) / deviation


def test_linear_probe_chooses_and_fits_as_scikit_learn_does(data):
    train, labels, val, val_labels = data
    scores = []
    for strength in STRENGTHS:
        parts = StratifiedKFold(FOLDS, shuffle=True, random_state=3).split(train, labels)
        each = []
        for fitted, held_out in parts:
            x, y = standardize(train[fitted], train[held_out])
            model = LogisticRegression(C=strength, max_iter=1000).fit(x, labels[fitted])
            each.append(model.score(y, labels[held_out]))
        scores.append(np.mean(each))
    best = STRENGTHS[int(np.argmax(scores))]
    x, y = standardize(train, val)
    expected = LogisticRegression(C=best, max_iter=1000).fit(x, labels)

    probe = fit_linear_probe(train, labels, seed=3)
    assert probe.title == f'linear probe, C={best:g}'
    np.testing.assert_array_equal(probe.classifier.predict(val), expected.predict(y))
    assert probe.accuracy(val, val_labels) == expected.score(y, val_labels) > 0.5


def test_strength_is_1_where_no_class_can_be_held_out(data):
    train, labels, _, _ = data
    one_each = [np.flatnonzero(labels == label)[0] for label in range(3)]
    with pytest.warns(UserWarning, match='fewer than two classes have two training images'):
        probe = fit_linear_probe(train[one_each], labels[one_each], seed=0)
    assert probe.title == 'linear probe, C=1'
    assert probe.accuracy(train[one_each], labels[one_each]) == 1


def test_rare_class_does_not_keep_the_others_from_a_choice(data, recwarn):
    train, labels, val, _ = data
    kept = np.append(np.flatnonzero(labels < 2), np.flatnonzero(labels == 2)[0])
    probe = fit_linear_probe(train[kept], labels[kept], seed=0)
    assert set(probe.classifier.predict(val)) <= {0, 1, 2}
    assert not recwarn.list


@pytest.mark.parametrize('labels', [[0, 0, 1], [0, 0, 0, 0, 1], [0] * 9 + [1]])
def test_a_class_with_one_image_beside_another_is_no_error(labels):
    features = np.random.default_rng(0).normal(size=(len(labels), 4))
    probe = fit_linear_probe(features, np.array(labels), 0)
    assert probe.accuracy(features, np.array(labels)) > 0


def test_many_classes_of_few_images_warn_of_nothing(recwarn):
    noise = np.random.default_rng(0)
    features, labels = noise.normal(size=(12, 4)), np.repeat(np.arange(9), [2, 2, 2, 1, 1, 1, 1, 1, 1])
    fit_linear_probe(features, labels, seed=0)
    fit_neighbors(features, labels, 3)
    assert not recwarn.list


@pytest.mark.parametrize('k', [1, 5, 20, 60])
def test_neighbors_vote_by_their_similarity(k, data):
    train, labels, val, val_labels = data
    x, y = standardize(train, val)
    predicted = []
    for image in y:
        similarities = x @ image / np.linalg.norm(x, axis=1) / np.linalg.norm(image)
        nearest = np.argsort(-similarities)[:k]
        weights = np.exp(similarities[nearest] / TEMPERATURE)
        predicted.append(np.bincount(labels[nearest], weights, minlength=3).argmax())
    probe = fit_neighbors(train, labels, k)
    np.testing.assert_array_equal(probe.classifier.predict(val), predicted)
    assert probe.accuracy(val, val_labels) == np.mean(val_labels == predicted)


def test_more_neighbors_than_images_are_refused(data):
    with pytest.raises(UserError, match='--knn 61 is more than the 60 training images'):
        fit_neighbors(data[0], data[1], 61)
