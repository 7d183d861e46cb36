"""Explain predictions: which pixels and features they are based on."""

from .grad_cam import grad_cam
from .occlusion import occlusion
from .stage_maps import stage_maps

__all__ = ['grad_cam', 'occlusion', 'stage_maps']
