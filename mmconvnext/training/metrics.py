"""Which metrics does a config name, and do they fit its classes?"""

from collections.abc import Iterable

from mmengine.config import Config

from ..errors import UserError
from ..text import counted


def places_of_metrics(cfg: Config, field: str) -> list[tuple[str, dict]]:
    """Option and settings of every metric, in each of the three forms that mmengine takes."""
    evaluator = cfg.get(field)
    if isinstance(evaluator, dict) and 'metrics' in evaluator:
        field, evaluator = f'{field}.metrics', evaluator['metrics']
    if isinstance(evaluator, (list, tuple)):
        return [(f'{field}[{i}]', metric) for i, metric in enumerate(evaluator)]
    return [(field, evaluator)] if evaluator else []


def fit_topk(cfg: Config, loaders: Iterable[str], num_classes: int | None) -> list[str]:
    """Leave out top-k accuracies beyond the number of classes, as top-5 among three.

    Args:
        cfg: of a run.
        loaders: the dataloaders it will use.
        num_classes: of the model; None if it does not say.

    Returns:
        What was left out, a sentence for each metric.

    Raises:
        UserError: a metric has no other.
    """
    sentences = []
    evaluators = [
        field.replace('dataloader', 'evaluator') for field in loaders if field != 'train_dataloader'
    ]
    for place, metric in [each for field in evaluators for each in places_of_metrics(cfg, field)]:
        topk = metric.get('topk') if isinstance(metric, dict) else None
        topk = (topk,) if isinstance(topk, int) else topk
        if not topk or num_classes is None or not all(isinstance(k, int) for k in topk):
            continue
        if any(k < 1 for k in topk):
            raise UserError(f'{place}.topk={topk}: expected numbers from 1 to {num_classes}, the classes')
        kept = tuple(k for k in topk if k <= num_classes)
        if not kept:
            raise UserError(
                f'{place}.topk={topk} asks for more than the {counted(num_classes, "class")} of '
                f'the model; pass --cfg-options {place}.topk=1'
            )
        if len(kept) < len(topk):
            left_out = ', '.join(f'top-{k}' for k in topk if k not in kept)
            sentences.append(
                f'{place}: {left_out} is left out, since the model has {counted(num_classes, "class")}'
            )
            metric['topk'] = kept
    return sentences
