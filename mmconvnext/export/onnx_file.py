"""ONNX files, for ONNX Runtime and other readers.

Example:
    >>> session = onnxruntime.InferenceSession('atto.onnx')
    >>> about = json.loads(session.get_modelmeta().custom_metadata_map['mmconvnext'])
    >>> (logits,) = session.run(None, {'images': images})
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch

from .graph import Program
from .metadata import KEY

# Suffix of the file for weights beyond the limit of ONNX files, two gigabytes.
BESIDE = '.onnx.data'


def write(program: Program, file: Path) -> None:
    """Write a program; weights that are too large for one file go to a second one, see ``BESIDE``."""
    written = torch.onnx.export(
        program.exported,
        dynamo=True,
        verbose=False,
        dynamic_shapes=program.shapes,
        input_names=['images'],
        output_names=[program.output],
    )
    written.model.metadata_props[KEY] = json.dumps(program.metadata)
    written.save(file)


def load(file: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Load a file as a function, computed by ONNX Runtime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=['CPUExecutionProvider'])
    return lambda images: session.run(None, {'images': images})[0]


def quantize(source: Path, images: Iterable[np.ndarray], target: Path, *, keep_depthwise: bool) -> None:
    """Quantize convolutions and matrix products to int8, see ``int8``; images are processed one by one."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.images = iter(images)

        def get_next(self) -> dict | None:
            one = next(self.images, None)
            return None if one is None else {'images': one}

    network = onnx.load(source)
    # Shapes are already inferred; without this mark, a warning says that they might not be.
    add_pre_process_metadata(network)
    quantize_static(
        network,
        target,
        Reader(),
        op_types_to_quantize=['Conv', 'MatMul', 'Gemm'],
        nodes_to_exclude=[n.name for n in network.graph.node if keep_depthwise and is_depthwise(n)],
        per_channel=True,
        # Products of 8 and 8 bits overflow in the sums of processors without VNNI.
        reduce_range=True,
        # The quantized file has the same limit of two gigabytes.
        use_external_data_format=source.with_suffix(BESIDE).exists(),
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        # Biases and GELU follow matrix products: rounding before them costs time and accuracy.
        extra_options=dict(OpTypesToExcludeOutputQuantization=['MatMul', 'Gemm']),
    )


def is_depthwise(node) -> bool:
    """Return whether an ``onnx.NodeProto`` is a grouped convolution."""
    return node.op_type == 'Conv' and any(a.name == 'group' and a.i > 1 for a in node.attribute)
