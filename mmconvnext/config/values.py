"""Check a complete config: top-level names, types of sections, and ranges of values."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from numbers import Real
from typing import Any

from mmengine.config import Config

from ..errors import UserError

# Types of sections; None omits a section.
SECTIONS = {
    r'model|data_preprocessor|(train|val|test)_(dataloader|cfg)|optim_wrapper|default_hooks|env_cfg': dict,
    r'randomness|auto_scale_lr|log_processor|tta_model|model_wrapper_cfg|strategy': dict,
    r'(val|test)_evaluator|param_scheduler|visualizer': (dict, list, tuple),
    r'custom_hooks|tta_pipeline': (list, tuple),
    r'(custom_hooks|tta_pipeline|param_scheduler|(val|test)_evaluator)\.\d+': dict,
    r'model\.(backbone|head)': dict,
    r'default_hooks\.\w+|(train|val|test)_dataloader\.dataset|optim_wrapper\.optimizer': dict,
    r'(train|val|test)_dataloader(\.dataset)+\.pipeline': (list, tuple),
    r'work_dir|load_from|default_scope|experiment_name|launcher': str,
}
NAMES = {dict: 'a dict', (list, tuple): 'a list', (dict, list, tuple): 'a dict or a list', str: 'text'}


@dataclass(frozen=True)
class Range:
    """A range of valid numbers; an ``open_...`` end is excluded."""

    low: float
    high: float
    whole: bool = False
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int if self.whole else Real):
            return False
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return math.isfinite(value) and above and below

    def __str__(self) -> str:
        low = f'above {self.low:,}' if self.open_low else f'from {self.low:,}'
        high = f'below {self.high:,}' if self.open_high else f'to {self.high:,}'
        return f'a {"whole number" if self.whole else "number"} {low} {high}'


def whole(low: int, high: int) -> Range:
    return Range(low, high, whole=True)


FRACTION = Range(0, 1)
BELOW_ONE = Range(0, 1, open_high=True)
MAX_COUNT = 10**9

RANGES = {
    r'(train|val|test)_dataloader\.batch_size': whole(1, 65_536),
    r'(train|val|test)_dataloader\.num_workers': whole(0, 1024),
    r'(train|val|test)_dataloader\.prefetch_factor': whole(1, 1024),
    r'(train|val|test)_dataloader\.timeout': Range(0, MAX_COUNT),
    r'train_cfg\.(max_epochs|max_iters|val_interval)': whole(1, MAX_COUNT),
    r'train_cfg\.val_begin': whole(0, MAX_COUNT),
    r'optim_wrapper\.optimizer\.(lr|weight_decay)': Range(0, 1000),
    r'optim_wrapper\.optimizer\.momentum': FRACTION,
    r'optim_wrapper\.optimizer\.betas\.\d': BELOW_ONE,
    r'optim_wrapper\.accumulative_counts': whole(1, 1_000_000),
    r'optim_wrapper\.clip_grad\.max_norm': Range(0, MAX_COUNT, open_low=True),
    r'optim_wrapper\.paramwise_cfg\.layer_decay_rate': Range(0, 1, open_low=True),
    r'param_scheduler(\.\d+)?\.(epochs|iterations)': whole(1, MAX_COUNT),
    r'param_scheduler(\.\d+)?\.(warmup_epochs|warmup_iterations|begin)': whole(0, MAX_COUNT),
    r'model(\.\w+)*\.(drop_path_rate|drop_rate|attn_drop_rate)': BELOW_ONE,
    r'model(\.\w+)*\.label_smooth_val': BELOW_ONE,
    r'model\.head\.num_classes': whole(1, 10_000_000),
    r'custom_hooks\.\d+\.momentum': FRACTION,
    r'default_hooks\.logger\.interval': whole(1, MAX_COUNT),
    r'randomness\.seed': whole(0, 2**32 - 1),
    r'auto_scale_lr\.base_batch_size': whole(1, 100_000_000),
}


CHECKED = re.compile('|'.join(f'({pattern})' for pattern in (*SECTIONS, *RANGES)))


def check_values(cfg: Config, source: str) -> None:
    """Raise UserError for a section of another type and for a value that can never work.

    Args:
        cfg: complete config with overrides.
        source: name of the config in messages.
    """
    for path, value in walk(cfg._cfg_dict, ''):
        if value is None or not CHECKED.fullmatch(path):
            continue
        cure = f'Correct it in the config or with --cfg-options {path}=VALUE'
        for pattern, kinds in SECTIONS.items():
            if re.fullmatch(pattern, path) and not isinstance(value, kinds):
                raise UserError(f'{source}: {path} is {shorten(value)}; expected {NAMES[kinds]}. {cure}')
        for pattern, allowed in RANGES.items():
            if re.fullmatch(pattern, path) and value not in allowed:
                raise UserError(f'{source}: {path} is {shorten(value)}; expected {allowed}. {cure}')


def walk(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield every value in a config with its dotted path, containers before their items."""
    if path:
        yield path, value
    if isinstance(value, dict):
        for key, each in value.items():
            yield from walk(each, f'{path}.{key}' if path else str(key))
    elif isinstance(value, (list, tuple)):
        for index, each in enumerate(value):
            yield from walk(each, f'{path}.{index}')


def shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f'{text[:77]}...'


def check_names(cfg: Config, sections: set[str], source: str) -> None:
    """Raise UserError if a top-level name of a config is a misspelt section.

    Variables with any name are common, but their values are used in a section; those of a misspelt section
    are used nowhere.

    Args:
        cfg: the config.
        sections: names of sections.
        source: name of the config in messages.
    """
    for name, value in cfg._cfg_dict.items():
        # Pipelines are variables, even if a config uses only a part of them.
        if name in sections or name.endswith('_pipeline'):
            continue
        close = get_close_matches(name, sections, n=1, cutoff=0.82)
        if not close or is_part(value, cfg._cfg_dict.get(close[0])):
            continue
        others = {section: each for section, each in cfg._cfg_dict.items() if section != name}
        if not value or not any(each == value for _, each in walk(others, '')):
            raise UserError(
                f'{source}: no section is called {name!r}; did you mean {close[0]}? If it is a variable of '
                'your own, choose a name less like that of a section'
            )


def is_part(value: Any, section: Any) -> bool:
    """Return whether a section contains a value, possibly merged with that of a base."""
    if isinstance(value, dict) and isinstance(section, dict):
        return all(key in section and is_part(each, section[key]) for key, each in value.items())
    return value == section
