"""List the hooks of a config and check their priorities."""

from mmengine.config import Config
from mmengine.runner import Priority, get_priority

from ..errors import UserError


def places_of_hooks(cfg: Config) -> list[tuple[str, dict]]:
    named = [(f'default_hooks.{name}', hook) for name, hook in (cfg.get('default_hooks') or {}).items()]
    own = [(f'custom_hooks[{i}]', hook) for i, hook in enumerate(cfg.get('custom_hooks') or [])]
    return [(place, hook) for place, hook in named + own if hook is not None]


def check_priorities(cfg: Config) -> None:
    """Raise UserError if a hook has an invalid priority."""
    for place, hook in places_of_hooks(cfg):
        if not isinstance(hook, dict) or hook.get('priority') is None:
            continue
        try:
            get_priority(hook['priority'])
        except (KeyError, TypeError, ValueError) as error:
            words = ', '.join(each.name for each in Priority)
            raise UserError(
                f'{place}.priority={hook["priority"]!r}: expected one of {words}, or a number from 0 '
                '(first) to 100 (last)'
            ) from error
