"""OpenVINO files: the graph as .xml, and the weights beside it as .bin.

Example:
    >>> network = openvino.compile_model('atto.xml', 'CPU', {'EXECUTION_MODE_HINT': 'ACCURACY'})
    >>> about = json.loads(openvino.Core().read_model('atto.xml').get_rt_info(['mmconvnext']).value)
    >>> logits = network(images)[0]
"""

import ctypes
import json
import logging
import multiprocessing
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import numpy as np

from . import onnx_file
from .graph import Program
from .metadata import KEY

# Option with which the runtime computes in the precision of the weights.
EXACT = 'EXECUTION_MODE_HINT=ACCURACY'
# OpenVINO and nncf report each use to their maker with this package, unless they find none at their import.
TELEMETRY = 'openvino_telemetry'
SS_DISABLE = 2  # of Linux's signal.h


class SignalStack(ctypes.Structure):
    """``stack_t`` of Linux: the memory that signal handlers of a thread use instead of its own stack."""

    _fields_ = (('address', ctypes.c_void_p), ('flags', ctypes.c_int), ('size', ctypes.c_size_t))


@contextmanager
def process_kept() -> Iterator[None]:
    """Restore what OpenVINO and nncf change for the whole process.

    Each core of OpenVINO installs a signal stack and restores the former one at its end. If two end in the
    order of their creation, the freed memory of the first stays the stack: the next signal ends the process.
    """
    stack, start_method = SignalStack(), multiprocessing.get_start_method(allow_none=True)
    on_linux = sys.platform == 'linux'
    if on_linux:
        ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack))
    try:
        yield
    finally:
        if on_linux and ctypes.CDLL(None).sigaltstack(ctypes.byref(stack), None):
            # Too small for the registers that are in use by now: handlers run on the stack of the thread.
            ctypes.CDLL(None).sigaltstack(ctypes.byref(SignalStack(flags=SS_DISABLE)), None)
        if multiprocessing.get_start_method(allow_none=True) != start_method:
            multiprocessing.set_start_method(start_method, force=True)


def imported(name: str) -> ModuleType:
    """Import OpenVINO or nncf without telemetry, and without the class of nncf for all later loggers."""
    known, logger_class = TELEMETRY in sys.modules, logging.getLoggerClass()
    if not known:
        sys.modules[TELEMETRY] = None
    try:
        return import_module(name)
    finally:
        logging.setLoggerClass(logger_class)
        if not known:
            del sys.modules[TELEMETRY]


@process_kept()
def write(program: Program, file: Path) -> None:
    """Write a program through ONNX, whose graph is shorter than that of OpenVINO's conversion from torch."""
    openvino = imported('openvino')
    with TemporaryDirectory() as folder:
        onnx_file.write(program, Path(folder, 'network.onnx'))
        network = openvino.Core().read_model(Path(folder, 'network.onnx'))
        network.set_rt_info(json.dumps(program.metadata), [KEY])
        # By default, weights are rounded to fp16.
        openvino.save_model(network, file, compress_to_fp16=False)


@process_kept()
def load(file: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Load a file as a function in the precision of its weights."""
    openvino = imported('openvino')
    network = openvino.compile_model(file, 'CPU', dict([EXACT.split('=')]))
    return lambda images: network(images)[0]


@process_kept()
def load_by_default(file: Path) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
    """Load a file with the default settings of OpenVINO; return the function and its precision.

    The precision is bf16 on processors with such instructions, and a file cannot change this.
    """
    openvino = imported('openvino')
    network = openvino.compile_model(file, 'CPU')
    precision = network.get_property('INFERENCE_PRECISION_HINT').get_type_name()
    return lambda images: network(images)[0], precision


@process_kept()
def quantize(source: Path, images: Iterable[np.ndarray], target: Path, *, keep_depthwise: bool) -> None:
    """Convolutions and matrix products in int8, see ``int8``; calibrated on images one at a time."""
    openvino, nncf = imported('openvino'), imported('nncf')
    images, log = list(images), logging.getLogger('nncf')
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        small = nncf.quantize(
            openvino.Core().read_model(source),
            nncf.Dataset(images),
            subset_size=len(images),
            ignored_scope=nncf.IgnoredScope(types=['GroupConvolution'] if keep_depthwise else []),
            # Its kind of network: what stands between the matrix products, above all the sums of the blocks,
            # keeps its precision, and wide channels move from the activations into the weights.
            model_type=nncf.ModelType.TRANSFORMER,
            # Products of 8 and 8 bits overflow in the sums of processors without VNNI.
            advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
        )
    finally:
        log.setLevel(level)
    openvino.save_model(small, target, compress_to_fp16=False)
