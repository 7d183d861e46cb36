"""Read, override and check configs."""

from .. import _quiet_models  # noqa: F401, before all that imports mmpretrain.models
