"""Compare the preprocessing of a test config with that of a checkpoint."""

from collections.abc import Mapping
from dataclasses import asdict
from itertools import chain, islice, product
from math import isclose

from ..checkpoints.reading import Weights
from ..images.preprocessing import Preprocessing
from .description import Inexpressible, describe_training, pipeline_of_test, preprocessing_of_test
from .pipeline_steps import kind

MAX_DIFFERENCE = 1e-4  # of mean and std, which files round
MAX_BRANCHES = 100


def other_preparation(cfg: Mapping, loaded: Weights) -> str | None:
    """Return how the preprocessing of a config differs from that of a checkpoint.

    Args:
        cfg: config of a test, with all overrides.
        loaded: weights to test.

    Returns:
        A sentence, or None if both are equal or one of them is unknown. Test-time augmentation may use other
        sizes in addition to that of the checkpoint.
    """
    model = cfg['model']
    cfg = dict(cfg, model=model.get('module', model))  # inside of test-time augmentation
    if loaded.preprocessing is None or describe_training(cfg) is None:
        return None
    try:
        ours = [plain(preprocessing_of_test(cfg, branch)) for branch in branches(pipeline_of_test(cfg))]
    except Inexpressible:
        return None
    there = plain(loaded.preprocessing)
    changes = [[name for name in here if not alike(here[name], there[name])] for here in ours]
    if not ours or not all(changes):
        return None
    here, changed = ours[0], changes[0]
    differences = ', '.join(f'{name} {here[name]} instead of {there[name]}' for name in changed)
    return (
        f'The config does not prepare images as {loaded.source} was tested: {differences}. Scores and '
        'accuracy may differ from those of its training'
    )


def branches(pipeline: list[Mapping]) -> list[list[Mapping]]:
    """Return the pipelines of test-time augmentation without flips, or the pipeline itself."""
    index = next((i for i, step in enumerate(pipeline) if kind(step) == 'TestTimeAug'), None)
    if index is None:
        return [pipeline]
    choices = [
        [branch if isinstance(branch, list) else [branch] for branch in each]
        for each in pipeline[index]['transforms']
    ]
    combined = (chain.from_iterable(steps) for steps in islice(product(*choices), MAX_BRANCHES))
    return [
        [*pipeline[:index], *(step for step in steps if kind(step) != 'RandomFlip')] for steps in combined
    ]


def plain(preprocessing: Preprocessing) -> dict:
    """Return the fields; without a crop, the kind of crop does not matter."""
    return asdict(preprocessing) | ({'crop': None} if preprocessing.resize is None else {})


def alike(one: object, other: object) -> bool:
    if isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other):
        return all(isclose(a, b, abs_tol=MAX_DIFFERENCE) for a, b in zip(one, other, strict=True))
    return one == other
