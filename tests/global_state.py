"""What a process has once for all its code, to be compared before and after a call."""

import builtins
import ctypes
import io
import locale
import logging
import multiprocessing
import os
import pickle
import random
import signal
import socket
import sys
import threading
import warnings
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType

from mmconvnext.export.openvino_file import SignalStack

# Libraries whose functions nobody may replace: a patch that stays would change every program.
PATCHED = ('torch', 'mmengine', 'mmcv', 'mmpretrain', 'PIL', 'numpy', 'cv2')
STANDARD = (builtins, io, logging, os, pickle, random, signal, socket, sys, threading, warnings)
FUNCTIONS = (BuiltinFunctionType, FunctionType, classmethod, staticmethod)


def snapshot():
    """Name of each thing to its value; of libraries, those that are imported now."""
    state = {
        'environment': dict(os.environ),
        'working directory': Path.cwd(),
        'umask': umask(),
        'signal handlers': {number: signal.getsignal(number) for number in signal.valid_signals()},
        'blocked signals': signal.pthread_sigmask(signal.SIG_BLOCK, []),
        'wakeup descriptor': wakeup_descriptor(),
        'signal stack': signal_stack(),
        'warning filters': list(warnings.filters),
        'sys': {
            name: getattr(sys, name)
            for name in ('argv', 'excepthook', 'stderr', 'stdin', 'stdout', 'unraisablehook', 'displayhook')
        },
        'sys.path': list(sys.path),
        'recursion limit': sys.getrecursionlimit(),
        'hooks of threads': threading.excepthook,
        'locale': locale.setlocale(locale.LC_ALL),
        'start method': multiprocessing.get_start_method(allow_none=True),
        'socket timeout': socket.getdefaulttimeout(),
        'fake modules': fakes(),
        'logging': logging_state(),
        'random': {'python': random.getstate()},
    }
    for library, read in {
        'torch': of_torch,
        'mmengine': of_mmengine,
        'PIL': of_pillow,
        'cv2': of_opencv,
        'matplotlib': of_matplotlib,
        'numpy': of_numpy,
    }.items():
        if library in sys.modules:
            state |= {f'{library}: {name}': value for name, value in read().items()}
    return state | {'functions': functions()}


def changes(before, after):
    """Lines that name each difference; what only one snapshot has is a library that came in between."""
    found = []
    for name in before.keys() & after.keys():
        old, new = before[name], after[name]
        if isinstance(old, dict) and isinstance(new, dict):
            added = {} if name == 'functions' else {key: new[key] for key in new.keys() - old.keys()}
            gone = [] if name == 'functions' else sorted(map(str, old.keys() - new.keys()))
            other = {key: new[key] for key in old.keys() & new.keys() if not same(old[key], new[key])}
            found += [f'{name}: {key} is {value!r:.200} now' for key, value in (added | other).items()]
            found += [f'{name}: {key} is gone' for key in gone]
        elif not same(old, new):
            found.append(f'{name}: {old!r:.300} before, {new!r:.300} now')
    return sorted(found)


def same(old, new):
    return old is new or old == new


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def wakeup_descriptor():
    descriptor = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(descriptor)
    return descriptor


def signal_stack():
    """Address, flags and size of this thread's stack for signal handlers."""
    stack = SignalStack()
    if sys.platform == 'linux':
        ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack))
    return stack.address, stack.flags, stack.size


def fakes():
    """Modules that are no modules, by name: None, or without the place that an import gives them."""
    modules = dict(sys.modules)
    return {
        name: module
        for name, module in modules.items()
        if module is None
        or (getattr(module, '__spec__', None) is None and name != '__main__' and not in_extension(name))
    }


def in_extension(name):
    """Return whether a module is a part of one in C, which makes its parts without an import."""
    parents = [name.rsplit('.', depth)[0] for depth in range(1, name.count('.') + 1)]
    origins = [
        getattr(getattr(sys.modules.get(parent), '__spec__', None), 'origin', '') for parent in parents
    ]
    return any(str(origin).endswith(('.so', '.pyd')) for origin in origins)


def logging_state():
    return {
        'record factory': logging.getLogRecordFactory(),
        'logger class': logging.getLoggerClass(),
        'root level': logging.root.level,
        'root handlers': list(logging.root.handlers),
        'root filters': list(logging.root.filters),
        'disabled': logging.root.manager.disable,
        'capturing warnings': logging._warnings_showwarning,
    }


def of_torch():
    import torch

    backends = torch.backends
    return {
        'threads': torch.get_num_threads(),
        'dtype': torch.get_default_dtype(),
        'device': torch.get_default_device(),
        'gradients': torch.is_grad_enabled(),
        'inference mode': torch.is_inference_mode_enabled(),
        'anomalies': torch.is_anomaly_enabled(),
        'autocast': (torch.is_autocast_enabled('cpu'), torch.is_autocast_enabled('cuda')),
        'deterministic': (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
        'matmul': torch.get_float32_matmul_precision(),
        'cudnn': (backends.cudnn.enabled, backends.cudnn.benchmark, backends.cudnn.deterministic),
        'tf32': (backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32),
        'onednn': backends.mkldnn.flags.__module__ and backends.mkldnn.enabled,
        'sharing': torch.multiprocessing.get_sharing_strategy(),
        'hooks of all modules': {
            name: dict(value)
            for name, value in vars(torch.nn.modules.module).items()
            if name.startswith('_global_') and isinstance(value, dict)
        },
        'safe globals': set(torch.serialization.get_safe_globals()),
        'printing': dict(vars(torch._tensor_str.PRINT_OPTS)),
        'random': torch.get_rng_state().numpy().tobytes(),
        'process group': torch.distributed.is_available() and torch.distributed.is_initialized(),
    }


def of_mmengine():
    from mmengine.runner import CheckpointLoader
    from mmengine.utils import ManagerMixin

    return {
        'loaders of checkpoints': dict(CheckpointLoader._schemes),
        # Its scope, logger, message hub and visualizer: what is created last is the current one.
        'instances': {
            cls.__name__: [
                (name, getattr(one, 'scope_name', one)) for name, one in cls._instance_dict.items()
            ]
            for cls in subclasses(ManagerMixin)
        },
    }


def subclasses(cls):
    for each in cls.__subclasses__():
        yield each
        yield from subclasses(each)


def of_pillow():
    from PIL import Image, ImageFile

    return {
        'largest picture': Image.MAX_IMAGE_PIXELS,
        'truncated files': ImageFile.LOAD_TRUNCATED_IMAGES,
    }


def of_opencv():
    import cv2

    return {'threads': cv2.getNumThreads(), 'optimized': cv2.useOptimized()}


def of_matplotlib():
    import matplotlib

    state = {'parameters': {k: v for k, v in dict.items(matplotlib.rcParams) if k != 'backend'}}
    pyplot = sys.modules.get('matplotlib.pyplot')
    if pyplot is not None:
        state |= {'backend': dict.get(matplotlib.rcParams, 'backend'), 'figures': pyplot.get_fignums()}
    return state


def of_numpy():
    import numpy as np

    name, keys, *place = np.random.get_state()
    return {
        'random': (name, keys.tobytes(), *place),
        'errors': np.geterr(),
        'printing': np.get_printoptions(),
    }


def functions():
    """Functions and classes of these libraries, and methods of their classes, by name."""
    found = {}
    loaded = [
        (name, module)
        for name, module in list(sys.modules.items())
        if name.partition('.')[0] in PATCHED and isinstance(module, ModuleType)
    ]
    for name, module in [*((module.__name__, module) for module in STANDARD), *loaded]:
        for key, value in list(vars(module).items()):
            # By its type itself: some objects of torch warn when they are asked for their class.
            if type(value) in FUNCTIONS:
                found[f'{name}.{key}'] = value
            elif issubclass(type(value), type):
                found[f'{name}.{key}'] = value
                if value.__module__ == name:
                    found |= {
                        f'{name}.{key}.{method}': function
                        for method, function in list(vars(value).items())
                        if type(function) in FUNCTIONS
                    }
    return found
