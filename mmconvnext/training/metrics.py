"""List the metrics of a config and adapt them to its classes."""

from collections.abc import Iterable

from mmengine.config import Config

from ..errors import UserError
from ..text import counted


def places_of_metrics(cfg: Config, field: str) -> list[tuple[str, dict]]:
    """Return option and settings of every metric, in any of the three forms that mmengine accepts."""
    evaluator = cfg.get(field)
    if isinstance(evaluator, dict) and 'metrics' in evaluator:
        field, evaluator = f'{field}.metrics', evaluator['metrics']
    if isinstance(evaluator, (list, tuple)):
        return [(f'{field}[{i}]', metric) for i, metric in enumerate(evaluator)]
    return [(field, evaluator)] if evaluator else []


def fit_topk(cfg: Config, loaders: Iterable[str], num_classes: int | None) -> list[str]:
    """Remove top-k accuracies beyond the number of classes, such as top-5 of three classes.

    Args:
        cfg: config of a run.
        loaders: names of its dataloaders.
        num_classes: number of classes of the model; None if unknown.

    Returns:
        What was removed, one sentence per metric.

    Raises:
        UserError: a metric has no other accuracies.
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
