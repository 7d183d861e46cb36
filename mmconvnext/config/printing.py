"""A config whose text is formatted once."""

import copy

from mmengine.config import Config


class PrintedConfig(Config):
    """mmengine's Config, whose ``pretty_text`` is formatted once for each content.

    Formatting takes a fifth of a second, and a run needs the text in its log, its files and each checkpoint.
    """

    @classmethod
    def of(cls, cfg: Config) -> 'PrintedConfig':
        """Return a copy of a config, with the same content."""
        printed = copy.copy(cfg)
        object.__setattr__(printed, '__class__', cls)  # attributes of a Config are options
        return printed

    @property
    def pretty_text(self) -> str:
        content = repr(self._cfg_dict)
        known, text = vars(self).get('_printed', (None, None))
        if known != content:
            text = super().pretty_text
            vars(self)['_printed'] = content, text
        return text
