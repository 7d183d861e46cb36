"""Decisions that one process takes for all of a training."""

from collections.abc import Callable
from typing import TypeVar

from mmengine.dist import broadcast_object_list, is_main_process

from ..errors import UserError

Decision = TypeVar('Decision')


def decided_by_first(decide: Callable[[], Decision]) -> Decision:
    """Call a function in the first process alone, and return its result in every process.

    On a network file system two processes may see different files. Every process has to call this at once;
    an error of any kind ends all of them, since the others would wait for ever.

    Raises:
        UserError: the one that the first process raised; processes after it report any other error as one.
    """
    outcome, raised = [None, None], None
    if is_main_process():
        try:
            outcome[0] = decide()
        except Exception as error:  # of any kind: the others would wait for ever
            raised = error
            outcome[1] = str(error) if isinstance(error, UserError) else f'{type(error).__name__}: {error}'
    broadcast_object_list(outcome)
    if raised is not None:
        raise raised
    if outcome[1] is not None:
        raise UserError(outcome[1])
    return outcome[0]
