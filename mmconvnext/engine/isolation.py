"""mmengine keeps a run's scope, log and settings for the whole process; here they end with the run's work."""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import cv2
import torch
from mmengine.utils import ManagerMixin
from torch.backends import cudnn

from ..zoo.mmengine_loader import Rules, rules, safe_loading


class Settings(NamedTuple):
    """Settings of the process that mmengine's Runner changes while it is built."""

    opencv_threads: int
    start_method: str | None
    cudnn_benchmark: bool
    cudnn_deterministic: bool
    deterministic: bool
    only_warns: bool  # of operations that are not deterministic

    @classmethod
    def now(cls) -> 'Settings':
        return cls(
            cv2.getNumThreads(),
            multiprocessing.get_start_method(allow_none=True),
            cudnn.benchmark,
            cudnn.deterministic,
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        )

    def apply(self) -> None:
        if self == Settings.now():
            return
        cv2.setNumThreads(self.opencv_threads)
        multiprocessing.set_start_method(self.start_method, force=True)
        cudnn.benchmark, cudnn.deterministic = self.cudnn_benchmark, self.cudnn_deterministic
        torch.use_deterministic_algorithms(self.deterministic, warn_only=self.only_warns)


class IsolatedRun:
    """Give a Runner its own copy of mmengine's global state, and restore the former state afterwards.

    The state is mmengine's current scope, logger, message hub and visualizer, ``Settings``, and the rules for
    reading checkpoints, which are those where the Runner is built: trusted inside
    ``safe_loading(trust=True)``, otherwise as data only. Random generators stay as the run left them.
    """

    at_work = False
    settings_of_run = None

    def __init__(self, *args, **kwargs):
        self.rules = rules.get() or Rules()
        self.instances = {}  # of mmengine's classes, by name
        with self.isolated():
            super().__init__(*args, **kwargs)

    @contextmanager
    def isolated(self) -> Iterator[None]:
        """Let the process be the run's inside; within another one of the run nothing changes."""
        if self.at_work:
            yield
            return
        outside, settings = managed(), Settings.now()
        set_managed({cls: followed_by(outside[cls], self.instances.get(cls, {})) for cls in outside})
        if self.settings_of_run is not None:
            self.settings_of_run.apply()
        self.at_work = True
        try:
            with safe_loading(**self.rules._asdict()):
                yield
        finally:
            self.at_work = False
            self.settings_of_run = Settings.now()
            settings.apply()
            self.instances = {
                cls: {name: one for name, one in found.items() if outside.get(cls, {}).get(name) is not one}
                for cls, found in managed().items()
            }
            set_managed(outside)

    def train(self) -> Any:
        with self.isolated():
            return super().train()

    def val(self) -> Any:
        with self.isolated():
            return super().val()

    def test(self) -> Any:
        with self.isolated():
            return super().test()

    def load_or_resume(self) -> None:
        with self.isolated():
            super().load_or_resume()

    def load_checkpoint(self, *args, **kwargs) -> Any:
        with self.isolated():
            return super().load_checkpoint(*args, **kwargs)

    def resume(self, *args, **kwargs) -> None:
        with self.isolated():
            super().resume(*args, **kwargs)


def managed() -> dict[type, dict[str, Any]]:
    """Return the instances that mmengine keeps of each class; the last one is the current one."""
    return {cls: dict(cls._instance_dict) for cls in subclasses(ManagerMixin)}


def followed_by(former: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Return both, the second one behind, so that its last instance is the current one."""
    return {name: one for name, one in former.items() if name not in own} | own


def set_managed(instances: dict[type, dict[str, Any]]) -> None:
    for cls in subclasses(ManagerMixin):
        cls._instance_dict.clear()
        cls._instance_dict.update(instances.get(cls, {}))


def subclasses(cls: type) -> Iterator[type]:
    for each in cls.__subclasses__():
        yield each
        yield from subclasses(each)
