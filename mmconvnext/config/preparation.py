"""Does the config of a test prepare images as the checkpoint expects them?"""

from collections.abc import Mapping
from dataclasses import asdict
from math import isclose

from ..checkpoints.reading import Weights
from ..images.preprocessing import Preprocessing
from .description import describe_training

MAX_DIFFERENCE = 1e-4  # of means and deviations: files round them


def other_preparation(cfg: Mapping, loaded: Weights) -> str | None:
    """Say how a config prepares images differently from what a checkpoint says of its own test.

    Args:
        cfg: of a test, with all overrides.
        loaded: the weights that it tests.

    Returns:
        A sentence; None if both are the same or one of them is not known.
    """
    model = cfg['model']
    description = describe_training(
        dict(cfg, model=model.get('module', model))
    )  # inside of test-time augmentation
    ours = description and description.preprocessing
    if ours is None or loaded.preprocessing is None:
        return None
    here, there = plain(ours), plain(loaded.preprocessing)
    changed = [name for name in here if not alike(here[name], there[name])]
    if not changed:
        return None
    differences = ', '.join(f'{name} {here[name]} instead of {there[name]}' for name in changed)
    return (
        f'The config does not prepare images as {loaded.source} was tested: {differences}. Scores and '
        'accuracy may differ from those of its training'
    )


def plain(preprocessing: Preprocessing) -> dict:
    """Return the fields; where nothing is cropped, the kind of crop does not matter."""
    return asdict(preprocessing) | ({'crop': None} if preprocessing.resize is None else {})


def alike(one: object, other: object) -> bool:
    if isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other):
        return all(isclose(a, b, abs_tol=MAX_DIFFERENCE) for a, b in zip(one, other, strict=True))
    return one == other
