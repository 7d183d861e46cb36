"""Optimizer settings and schedules of a resumed run follow its config, at its position."""

from typing import Any

from mmengine.optim import BaseOptimWrapper
from mmengine.optim.scheduler import ReduceOnPlateauParamScheduler
from mmengine.optim.scheduler.param_scheduler import _ParamScheduler

from ..errors import UserError
from .saved_state import is_count, is_dict, is_finite, is_list
from .schedule import Schedule

# Attributes that a step of mmengine's schedulers changes; all others follow from the config.
PROGRESS = ('_global_step', 'last_step', '_last_value')
# Attributes of ReduceOnPlateau that depend on validation results, which cannot be repeated.
PLATEAU_PROGRESS = ('best', 'cooldown_counter', 'num_bad_epochs')


class ContinuedSettings:
    """Settings of optimizer and schedules in the config, kept while mmengine loads those of a file.

    The saved state of an optimizer contains the settings of its groups, and that of a scheduler all its
    attributes: loading them would undo all changes in the config.

    Args:
        optim_wrapper: optimizer wrapper built from the config.
        schedulers: schedulers built from the config, before their first step.
        saved: ``param_schedulers`` of the checkpoint, or None.
    """

    def __init__(self, optim_wrapper: BaseOptimWrapper, schedulers: list[_ParamScheduler], saved: Any):
        self.optim_wrapper, self.schedulers = optim_wrapper, schedulers
        self.groups = [without_params(group) for group in optim_wrapper.param_groups]
        self.states = [plain_state(scheduler.state_dict()) for scheduler in schedulers]
        self.saved = saved

    def apply(self, *, iterations: int, epochs: int, epoch_length: int) -> bool:
        """Apply the settings of the config at this position; return whether the schedules have changed.

        Unchanged schedules continue from their saved state, bit for bit. Others are stepped from the
        beginning, as if the run had used them from the start.

        Raises:
            UserError: a schedule that depends on validation results has changed.
        """
        steps = [epochs if scheduler.by_epoch else iterations for scheduler in self.schedulers]
        loaded = [without_params(group) for group in self.optim_wrapper.param_groups]
        scheduled = {scheduler.param_name for scheduler in self.schedulers}
        self.restore()
        # If there are betas, momentum is scheduled as the first of them.
        names = {
            name for param in scheduled for name in ((param, 'betas') if param == 'momentum' else (param,))
        }
        values_fit = len(loaded) == len(self.groups) and all(
            fits(group.get(name), fresh[name])
            for group, fresh in zip(loaded, self.groups, strict=True)
            for name in names
            if name in fresh
        )
        if all(isinstance(scheduler, Schedule) for scheduler in self.schedulers):
            for scheduler in self.schedulers:  # its rate depends only on the position
                scheduler.go_to(iterations)
            now = [group[name] for group in self.optim_wrapper.param_groups for name in scheduled]
            return not values_fit or now != [group[name] for group in loaded for name in scheduled]
        if values_fit and self.is_unchanged(steps):
            for group, values in zip(self.optim_wrapper.param_groups, loaded, strict=True):
                group.update({name: values[name] for name in names if name in group})
            for scheduler, state, saved in zip(self.schedulers, self.states, self.saved, strict=True):
                progress = (*PROGRESS, *(PLATEAU_PROGRESS if is_plateau(scheduler) else ()))
                scheduler.load_state_dict({**state, **{key: saved[key] for key in progress if key in saved}})
            return False
        if any(map(is_plateau, self.schedulers)):
            raise UserError(
                'the param_scheduler of the config is not the one of the checkpoint, and ReduceOnPlateau '
                'cannot start in the middle of a run: it depends on the results so far. Keep the schedule, '
                'or start a new run from these weights: --cfg-options load_from=FILE and another --work-dir'
            )
        self.step(iterations, epochs, epoch_length)
        return True

    def restore(self) -> None:
        """Restore groups and schedulers as built from the config."""
        for group, values in zip(self.optim_wrapper.param_groups, self.groups, strict=True):
            kept = {'params': group['params']}
            if is_count(group.get('step')):  # mmpretrain's Lamb counts here, other optimizers in their states
                kept['step'] = group['step']
            group.clear()
            group.update(kept, **values)
        for scheduler, state in zip(self.schedulers, self.states, strict=True):
            scheduler.load_state_dict(state)

    def is_unchanged(self, steps: list[int]) -> bool:
        """Return whether all saved schedules equal these after the given number of steps."""
        if not is_list(self.saved) or len(self.saved) != len(self.states):
            return False
        for scheduler, state, saved, step in zip(
            self.schedulers, self.states, self.saved, steps, strict=True
        ):
            if isinstance(scheduler, Schedule):  # its state does not contain the curve
                return False
            if not is_dict(saved) or set(plain_state(saved)) != set(state):
                return False
            moving = (*PROGRESS, *(PLATEAU_PROGRESS if is_plateau(scheduler) else ()))
            for name, value in state.items():
                if name in moving:
                    if not fits(saved[name], value):
                        return False
                elif not same(saved[name], value):
                    return False
            if not is_plateau(scheduler) and saved['_global_step'] != step:
                return False
        return True

    def step(self, iterations: int, epochs: int, epoch_length: int) -> None:
        """Step the schedules up to a position, in the order of a run."""
        # Else mmengine warns that a step of the schedule came before one of the optimizer.
        self.optim_wrapper._global_step = max(getattr(self.optim_wrapper, '_global_step', 0), 0)
        by_iteration = [scheduler for scheduler in self.schedulers if not scheduler.by_epoch]
        by_epoch = [scheduler for scheduler in self.schedulers if scheduler.by_epoch]
        done = 0
        for iteration in range(1, iterations + 1 if by_iteration else 1):
            for scheduler in by_iteration:
                scheduler.step()
            if iteration % epoch_length == 0 and done < epochs:
                done += 1
                for scheduler in by_epoch:
                    scheduler.step()
        for _ in range(done, epochs):
            for scheduler in by_epoch:
                scheduler.step()


def plain_state(state: dict) -> dict:
    """Return the state of a scheduler without functions among its attributes."""
    return {name: value for name, value in state.items() if not callable(value)}


def without_params(group: dict) -> dict:
    return {name: value for name, value in group.items() if name != 'params'}


def is_plateau(scheduler: _ParamScheduler) -> bool:
    return isinstance(scheduler, ReduceOnPlateauParamScheduler)


def fits(value: Any, fresh: Any) -> bool:
    """Return whether a value from a file can replace ``fresh``, which the config has set."""
    if is_list(fresh):
        return is_list(value) and len(value) == len(fresh) and all(map(fits, value, fresh))
    if type(fresh) is int:
        return is_count(value)
    if isinstance(fresh, float):
        return is_finite(value)
    return same(value, fresh)


def same(value: Any, other: Any) -> bool:
    if is_list(other):
        return is_list(value) and len(value) == len(other) and all(map(same, value, other))
    if is_dict(other):
        return (
            is_dict(value) and set(value) == set(other) and all(same(value[key], other[key]) for key in other)
        )
    return type(value) is type(other) and value == other
