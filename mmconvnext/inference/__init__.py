"""Predict images with classifiers, detectors and segmenters."""

from .. import _quiet_models  # noqa: F401, before all that imports mmpretrain.models
