"""Check the state in a checkpoint before a run is resumed with it."""

import math
import random
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor
from torch.optim import Optimizer

from ..errors import UserError

MAX_STEPS = 10**12
MAX_PROCESSES = 10**6
MAX_SEED = 2**32 - 1  # of numpy
# The run sets these itself or finds them in its folder.
OWN_INFO = (
    *('cfg', 'seed', 'experiment_name', 'mmengine_version', 'dataset_meta', 'last_ckpt'),
    *('epoch', 'iter', 'max_epochs', 'max_iters', 'inside_epoch', 'keep_ckpt_ids'),
)
# Dtypes of moments; torch silently casts others, and complex numbers to their real part.
MOMENT_TYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
# Moments that torch's optimizers take roots of or divide by.
SQUARES = ('exp_avg_sq', 'max_exp_avg_sq', 'square_avg', 'acc_delta', 'sum', 'exp_inf')


def check_state(checkpoint: dict, source: str) -> None:
    """Raise unless position, random states, scores and averages of a checkpoint are plausible.

    Raises:
        UserError: a field is invalid; the message names it.
    """
    expect(checkpoint, 'state_dict', are_tensors, 'named tensors', source)
    meta = expect(checkpoint, 'meta', is_dict, 'a dict', source)
    for field in ('epoch', 'iter'):
        expect(meta, field, is_count, f'a whole number from 0 to {MAX_STEPS}', source, 'meta.')
    if meta.get('seed') is not None:
        expect(meta, 'seed', is_seed, f'a whole number from 0 to {MAX_SEED}', source, 'meta.')
    if meta.get('replay') is not None:
        check_progress(expect(meta, 'replay', is_dict, 'a dict', source, 'meta.'), meta, source)
    check_hub(expect(checkpoint, 'message_hub', is_dict, 'a dict', source), source)
    if 'ema_state_dict' in checkpoint:
        check_average(checkpoint, source)


def check_progress(progress: dict, meta: dict, source: str) -> None:
    """Check the saved result of ``Replayable.progress``."""
    place = 'meta.replay.'
    for field in ('epoch', 'iter', 'validated'):
        expect(progress, field, is_count, f'a whole number from 0 to {MAX_STEPS}', source, place)
    for field in ('epoch', 'iter'):
        if progress[field] != meta[field]:
            raise refusal(source, place + field, progress[field], f'{meta[field]}, as meta.{field}')
    expect(
        progress,
        'batches_per_epoch',
        lambda x: is_count(x) and x > 0,
        'a whole number above 0',
        source,
        place,
    )
    states = expect(progress, 'random_states', is_list, 'a list', source, place)
    processes = expect(
        progress,
        'processes',
        lambda x: is_count(x) and 0 < x <= MAX_PROCESSES,
        'the number of processes',
        source,
        place,
    )
    if len(states) != processes:
        raise refusal(source, place + 'random_states', f'{len(states)} states', f'{processes}, one a process')
    for state in states:
        try:
            try_random_state(state)
        except (TypeError, ValueError, KeyError, IndexError, RuntimeError, OverflowError, AttributeError):
            raise refusal(
                source, place + 'random_states', 'no state', 'the states of random generators'
            ) from None
    if progress.get('layout') is not None:
        expect(progress, 'layout', is_dict, 'a dict', source, place)


def try_random_state(state: dict) -> None:
    """Set temporary generators, so that an invalid state raises here."""
    version, numbers, gauss = state['python']
    if gauss is not None and not isinstance(gauss, float):
        raise TypeError('gauss')
    random.Random().setstate((version, tuple(numbers), gauss))
    kind, numbers, place, has_gauss, gauss = state['numpy']
    # NumPy would read past the end of its state.
    if kind != 'MT19937' or not (is_count(place) and place <= 624) or numbers.shape != (624,):
        raise ValueError('numpy')
    numbers = numbers.cpu().numpy().astype(np.uint32)
    np.random.RandomState().set_state((kind, numbers, place, int(has_gauss), float(gauss)))
    torch.Generator().set_state(state['torch'].cpu())
    if state['cuda'] is not None and (state['cuda'].dtype, state['cuda'].dim()) != (torch.uint8, 1):
        raise TypeError('cuda')


def check_hub(hub: dict, source: str) -> None:
    """Check the records of hooks, and remove what this run determines itself."""
    place = 'message_hub.'
    for field in ('log_scalars', 'runtime_info', 'resumed_keys'):
        expect(hub, field, is_dict, 'a dict', source, place)
        if not all(isinstance(key, str) for key in hub[field]):
            raise refusal(source, place + field, 'other keys', 'names as keys')
    for name, values in hub['log_scalars'].items():
        if not is_history(values):
            raise refusal(source, f'{place}log_scalars.{name}', type(values).__name__, 'a history of numbers')
    info = hub['runtime_info']
    for name in OWN_INFO:
        info.pop(name, None)
    for name, value in info.items():
        if name.startswith('best_score') and not is_finite(value):
            raise refusal(source, f'{place}runtime_info.{name}', value, 'a finite number')
        if name.startswith('best_ckpt') and not isinstance(value, str | None):
            raise refusal(source, f'{place}runtime_info.{name}', value, 'the path of a checkpoint')
    if 'run_id' in info:
        expect(info, 'run_id', is_run_id, '32 hexadecimal digits', source, f'{place}runtime_info.')
    if 'steps_skipped' in info:
        expect(info, 'steps_skipped', is_count, 'a whole number from 0', source, f'{place}runtime_info.')
    known = {*hub['log_scalars'], *info}
    hub['resumed_keys'] = {name: bool(kept) for name, kept in hub['resumed_keys'].items() if name in known}


def check_average(checkpoint: dict, source: str) -> None:
    """Check that ``ema_state_dict`` has a tensor for each in ``state_dict``, and a number of updates."""
    average, weights = checkpoint['ema_state_dict'], checkpoint['state_dict']
    expect(checkpoint, 'ema_state_dict', are_tensors, 'named tensors', source)
    steps = average.get('steps')
    if steps is None or steps.numel() != 1 or not is_finite(steps.item()) or steps.item() < 0:
        raise refusal(source, 'ema_state_dict.steps', steps, 'the number of updates')
    shapes = {name.removeprefix('module.'): tensor.shape for name, tensor in average.items()}
    shapes.pop('steps')
    if shapes != {name: tensor.shape for name, tensor in weights.items()}:
        raise refusal(source, 'ema_state_dict', 'other names or shapes', 'those of state_dict')


def check_optimizer_state(
    saved: Any, optimizer: Optimizer, names: dict[Tensor, str], source: str, *, complete: bool
) -> list[str]:
    """Raise UserError unless the saved moments fit the parameters of the optimizer.

    Args:
        saved: ``optimizer`` of a checkpoint.
        optimizer: built from the config.
        names: of the network's parameters.
        source: what to call the checkpoint.
        complete: the file has been written after ``note_missing_moments``, so that it has to have an entry
            for each parameter.

    Returns:
        The names of the trainable parameters whose moments start at zero.
    """
    new_run = 'start a new run from its weights: --cfg-options load_from=FILE and another --work-dir'
    groups = saved.get('param_groups') if is_dict(saved) else None
    if not is_list(groups) or not is_dict(saved.get('state')):
        raise refusal(source, 'optimizer', type(saved).__name__, 'param_groups and state')
    sizes = [
        len(group['params']) if is_dict(group) and is_list(group.get('params')) else None for group in groups
    ]
    expected = [len(group['params']) for group in optimizer.param_groups]
    if sizes != expected:
        raise UserError(
            f'{source} cannot be resumed: its optimizer has {len(sizes)} groups of parameters, this '
            f'{type(optimizer).__name__} has {len(expected)} or others in them. Keep the rules of the '
            f'optim_wrapper for groups of parameters, or {new_run}'
        )
    numbers = [repr(number) for group in groups for number in group['params']]
    states = {repr(number): state for number, state in saved['state'].items()}
    for number in states:
        if number not in numbers or not is_dict(states[number]):
            found = type(states[number]).__name__
            raise refusal(source, f'optimizer.state.{number}', found, 'moments of a parameter')
    owned = [(group, parameter) for group in optimizer.param_groups for parameter in group['params']]
    without = []
    for number, (group, parameter) in zip(numbers, owned, strict=True):
        name = names.get(parameter, number)
        stepped = state_after_step(optimizer, group, parameter)
        # SGD starts its momentum if there is none.
        needed = [] if isinstance(optimizer, torch.optim.SGD) else list(stepped)
        if number not in states and complete and parameter.requires_grad:
            raise UserError(
                f'{source} cannot be resumed: its optimizer has no entry for the parameter {name} '
                f'(optimizer.state.{number}), so that a part of the file is missing. Resume from another '
                f'checkpoint, or {new_run}'
            )
        state = states.get(number)
        if not state:
            without += [name] if needed and parameter.requires_grad else []
            continue
        missing = [moment for moment in needed if moment not in state]
        if missing:
            raise UserError(
                f'{source} cannot be resumed: {type(optimizer).__name__} needs {", ".join(missing)} of each '
                f'parameter, which the optimizer that saved it does not have for {name}. Keep it, or '
                f'{new_run}'
            )
        for moment, value in state.items():
            form = form_of_moment(moment, value, stepped.get(moment), moment in needed)
            if form is not None:
                field = f'{moment} of the parameter {name} (optimizer.state.{number}.{moment})'
                raise refusal(source, field, described(value), form)
    return without


def note_missing_moments(optimizer: dict) -> None:
    """Add an empty entry to an optimizer's state for each parameter that has had no gradient yet.

    A file that has ``all_moments`` in its meta and lacks an entry is known to be damaged. Optimizers take
    an empty entry for none.
    """
    for group in optimizer['param_groups']:
        for number in group['params']:
            optimizer['state'].setdefault(number, {})


def state_after_step(optimizer: Optimizer, group: dict, parameter: Tensor) -> dict[str, Any]:
    """Return the state of an optimizer with these settings after a first step on a parameter of zeros.

    The result is empty for an optimizer that cannot be built or stepped alone, such as one that calls the
    network.
    """
    zeros = torch.nn.Parameter(torch.zeros(parameter.shape, dtype=parameter.dtype))
    zeros.grad = torch.zeros_like(zeros)
    # The implementation of a step does not change its state; some need a GPU.
    ways = dict.fromkeys({'foreach', 'fused', 'capturable'} & group.keys(), False)
    try:
        alone = type(optimizer)([{**group, **ways, 'params': [zeros]}], lr=0.1)
        alone.step()
        return dict(alone.state[zeros])
    except Exception:  # from a class named in the config
        return {}


def form_of_moment(name: str, value: Any, stepped: Any, needed: bool) -> str | None:
    """Return what a value should be to take the place of what a step leaves under its name; None if it is."""
    if name == 'step':
        number = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
        is_step = is_finite(number) and 0 <= number <= MAX_STEPS
        return None if is_step else f'a number of steps from 0 to {MAX_STEPS}'
    if value is None or stepped is None:
        if needed:
            return described(stepped)
        if isinstance(value, str | bytes | dict | list):
            return 'numbers'
        fits = True
    elif isinstance(stepped, Tensor):
        floating = stepped.is_floating_point()
        fits = isinstance(value, Tensor) and value.shape == stepped.shape
        fits = fits and (value.dtype in MOMENT_TYPES if floating else value.dtype == stepped.dtype)
    else:
        fits = isinstance(value, type(stepped)) or is_finite(value) and is_finite(stepped)
    if not fits:
        return described(stepped)
    if isinstance(value, Tensor) and value.is_floating_point():
        if not bool(value.isfinite().all()):
            return 'finite numbers'
        if name in SQUARES and bool((value < 0).any()):
            return 'numbers that are not negative'
    return None


def is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_STEPS


def is_seed(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_SEED


def is_run_id(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch('[0-9a-f]{32}', value) is not None


def is_dict(value: Any) -> bool:
    return isinstance(value, dict)


def is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def is_finite(value: Any) -> bool:
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    return number and abs(value) < 1e300 and math.isfinite(value)


def are_tensors(value: Any) -> bool:
    return is_dict(value) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())


def is_history(value: Any) -> bool:
    if not isinstance(value, HistoryBuffer):
        return False
    parts = [value.__dict__.get(name) for name in ('_log_history', '_count_history')]
    return (
        all(isinstance(part, np.ndarray) and part.ndim == 1 and part.dtype.kind in 'fiu' for part in parts)
        and len(parts[0]) == len(parts[1])
        and is_count(value.__dict__.get('max_length'))
    )


def expect(
    fields: dict, name: str, fits: Callable[[Any], bool], form: str, source: str, place: str = ''
) -> Any:
    """Return a field, or raise UserError if ``fits`` rejects it."""
    if name not in fields:
        raise refusal(source, place + name, 'nothing', form)
    if not fits(fields[name]):
        raise refusal(source, place + name, described(fields[name]), form)
    return fields[name]


def described(value: Any) -> str:
    """Return a short description; an untrusted value can be deeply nested or huge."""
    if isinstance(value, Tensor):
        return f'a tensor {tuple(value.shape)} of {str(value.dtype).removeprefix("torch.")}'
    if (
        isinstance(value, int | float)
        and abs(value) < MAX_STEPS
        or isinstance(value, str)
        and len(value) < 40
    ):
        return repr(value)
    return f'{type(value).__name__}{f" {value:.0e}" if isinstance(value, float) else ""}'


def refusal(source: str, field: str, found: Any, form: str) -> UserError:
    found = found if isinstance(found, str) else described(found)
    return UserError(
        f'{source} cannot be resumed: {field} should be {form}, and it has {found}. Name a checkpoint that a '
        'training saved, or start a new run from its weights: --cfg-options load_from=FILE'
    )
