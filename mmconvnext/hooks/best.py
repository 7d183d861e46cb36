"""Find the best checkpoint of a run."""

from pathlib import Path
from typing import NamedTuple

from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner


class Best(NamedTuple):
    """The best checkpoint by the first metric of ``save_best``; ``metric`` is empty if unknown."""

    path: Path
    metric: str
    score: float


def best_checkpoint(runner: Runner) -> Best | None:
    """Return the best checkpoint so far, including those before an interruption, or None."""
    hook = checkpoint_hook(runner)
    if hook is None or not hook.save_best:
        return None
    metric = hook.key_indicators[0]
    of_several = f'_{metric}' if len(hook.key_indicators) > 1 else ''
    saved = runner.message_hub.get_info(f'best_ckpt{of_several}', None)
    if saved is None:
        return None
    score = runner.message_hub.get_info(f'best_score{of_several}')
    return Best(Path(hook.out_dir, Path(saved).name), '' if metric == 'auto' else metric, score)


def checkpoint_hook(runner: Runner) -> CheckpointHook | None:
    return next((hook for hook in runner.hooks if isinstance(hook, CheckpointHook)), None)


def checkpoint_name(runner: Runner) -> str:
    """Return the name of the checkpoint for the epoch or iteration that has just ended."""
    hook = checkpoint_hook(runner)
    place = runner.epoch if hook is None or hook.by_epoch else runner.iter
    return (getattr(hook, 'filename_tmpl', None) or 'epoch_{}.pth').format(place)
