"""Packages compiled ahead of time by AOTInductor for this kind of processor and this version of torch.

Example:
    >>> network = torch._inductor.aoti_load_package('atto.pt2')
    >>> about = json.loads(network.get_metadata()['mmconvnext'])
    >>> logits = network(torch.from_numpy(images).contiguous())
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ..errors import UserError
from .graph import Program
from .metadata import KEY


def check_compiler() -> None:
    """Raise UserError if there is no C++ compiler."""
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise UserError(
            '--format torch compiles the network, and there is no C++ compiler; install g++ or name one in '
            'the environment variable CXX'
        ) from error


def write(program: Program, file: Path) -> None:
    """Compile a program for the instructions of this processor and for contiguous pixels.

    The package reads the memory of a tensor without its strides, so a transposed array would be another
    image.
    """
    metadata = program.metadata | dict(input=f'contiguous {program.metadata["input"]}')
    settings = {'aot_inductor.metadata': {KEY: json.dumps(metadata)}}
    torch._inductor.aoti_compile_and_package(
        program.exported, package_path=str(file), inductor_configs=settings
    )


def load(file: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Load a file as a function."""
    network = torch._inductor.aoti_load_package(str(file))
    return lambda images: network(torch.from_numpy(images).contiguous()).numpy()
