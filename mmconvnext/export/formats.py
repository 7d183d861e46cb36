"""The formats of exported files, and what each needs."""

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
    """One format.

    Attributes:
        suffix: of its files.
        beside: suffix, in place of the first, of a second file with weights; None: there is none.
        libraries: that it takes.
        write: a ``Program`` to a file.
        load: from a file to a function of arrays, in the precision of the file.
        load_by_default: from a file to the function as its runtime computes it unless told otherwise, and
            the name of its precision; None: the runtime keeps that of the file.
        exact: option of the runtime by which it keeps that of the file.
        quantize: from such a file to one in int8; None: there is no way here.
        quantizers: libraries that this takes besides.
        check: raises UserError if something else is missing.
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
    """The format of this name, once everything is there that it takes, and int8 in it if that is asked for.

    Raises:
        UserError: no such format, or a library or a compiler is missing.
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
    """Write a graph, for any number of images of any size from ``graph.min_size`` on.

    Args:
        graph: see there.
        example: an input, whose size some formats tune themselves for.
        form: of ``FORMATS``.
        metadata: of ``describe``.
        file: to write; what there is no room for in it goes beside.
    """
    # torch.export makes maps of one pixel a case of their own, so the example has none: their code is the
    # same, as ``check`` finds. 3 is what overlapping stems need less.
    least = 2 * (graph.min_size + 3)
    first = 1 if graph.preprocess else 2
    sides = {first + i: Dim(name, min=least) for i, name in enumerate(('height', 'width'))}
    shapes = ({0: Dim('batch'), **sides},)
    shape = [max(side, least) if axis in sides else side for axis, side in enumerate(example.shape)]
    with torch.no_grad():
        exported = torch.export.export(graph, (example.new_zeros(shape),), dynamic_shapes=shapes)
        form.write(Program(exported, shapes, graph.output, metadata), file)
