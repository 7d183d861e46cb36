"""Optimize the network for inference during tests."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..models.inference import optimized
from ..registry import HOOKS


@HOOKS.register_module()
class InferenceHook(Hook):
    """Apply ``ConvNeXt.optimize_for_inference`` to the backbone during a test.

    Args:
        dtype: fp32 or bf16.
    """

    priority = 'LOWEST'  # after the hook that loads the averaged weights

    def __init__(self, dtype: str):
        self.dtype = dtype

    def before_test_epoch(self, runner: Runner) -> None:
        self.form = optimized(runner.model, self.dtype)
        self.form.__enter__()

    def after_test_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        self.form.__exit__(None, None, None)
