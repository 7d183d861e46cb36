"""The formats of exported files and their requirements."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch.export import Dim

from ..errors import UserError
from . import onnx_file, openvino_file, torch_package
from .graph import Graph, Program


@dataclass(frozen=True)
class Format:
    """A format of exported files.

    Attributes:
        suffix: file suffix.
        beside: suffix of a second file with weights, which replaces the first; None without such a file.
        libraries: required libraries.
        write: function that writes a ``Program`` to a file.
        load: function that loads a file as a function of arrays, in the precision of the file.
        load_by_default: function that loads a file with the default settings of the runtime, and returns the
            function and the name of its precision; None if the runtime uses the precision of the file.
        exact: option with which the runtime keeps the precision of the file.
        quantize: function that converts a file to int8; None if this is not supported.
        quantizers: additional libraries for int8.
        check: function that raises UserError if something else is missing.
    """

    suffix: str
    beside: str | None
    libraries: tuple[str, ...]
    write: Callable
    load: Callable
    load_by_default: Callable | None = None
    exact: str | None = None
    quantize: Callable | None = None
    quantizers: tuple[str, ...] = ()
    check: Callable[[], None] = lambda: None


FORMATS = {
    'onnx': Format(
        '.onnx',
        onnx_file.BESIDE,
        ('onnx', 'onnxscript', 'onnxruntime'),
        onnx_file.write,
        onnx_file.load,
        quantize=onnx_file.quantize,
    ),
    'openvino': Format(
        '.xml',
        '.bin',
        ('onnx', 'onnxscript', 'openvino'),
        openvino_file.write,
        openvino_file.load,
        openvino_file.load_by_default,
        openvino_file.EXACT,
        openvino_file.quantize,
        quantizers=('nncf',),
    ),
    'torch': Format(
        '.pt2', None, (), torch_package.write, torch_package.load, check=torch_package.check_compiler
    ),
}


def find_format(name: str, *, int8: bool) -> Format:
    """Return the format with this name after checking its requirements, including those of int8.

    Raises:
        UserError: the format is unknown, or a library or compiler is missing.
    """
    if name not in FORMATS:
        raise UserError(f'format {name!r} is unknown; choose from {", ".join(FORMATS)}')
    form = FORMATS[name]
    needed = form.libraries + form.quantizers * int8
    missing = [library for library in needed if find_spec(library) is None]
    if missing:
        raise UserError(f'--format {name} needs {", ".join(missing)}: pip install "mmconvnext[export]"')
    form.check()
    return form


def write(graph: Graph, example: torch.Tensor, form: Format, metadata: dict, file: Path) -> None:
    """Write a graph for any number of images of any size from ``graph.min_size`` on.

    Args:
        graph: graph to export.
        example: example input, to whose size some formats are tuned.
        form: format in ``FORMATS``.
        metadata: result of ``metadata_of``.
        file: file to write; large weights go to a second file beside it.
    """
    # torch.export specializes maps of one pixel, so the example has none: their code is the same, as
    # ``check`` verifies. 3 is what overlapping stems need less.
    least = 2 * (graph.min_size + 3)
    first = 1 if graph.preprocess else 2
    sides = {first + i: Dim(name, min=least) for i, name in enumerate(('height', 'width'))}
    shapes = ({0: Dim('batch'), **sides},)
    shape = [max(side, least) if axis in sides else side for axis, side in enumerate(example.shape)]
    with torch.no_grad():
        exported = torch.export.export(graph, (example.new_zeros(shape),), dynamic_shapes=shapes)
        form.write(Program(exported, shapes, graph.output, metadata), file)
