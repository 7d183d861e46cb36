#!/usr/bin/env python
"""Export a classifier to ONNX, OpenVINO or a compiled PyTorch package, and compare it with PyTorch."""

import argparse

from mmconvnext.command_line import add_trust_checkpoint, run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'config',
        help='config, name in model_zoo.md, or weights in any format, from which the network is inferred',
    )
    parser.add_argument(
        'checkpoint', nargs='?', help='other weights for the model; default those of the name or file'
    )
    parser.add_argument(
        '--format',
        required=True,
        choices=['onnx', 'openvino', 'torch'],
        help='torch: compiled ahead of time for this kind of processor',
    )
    parser.add_argument('--out', metavar='FILE', help='new file, .onnx, .xml or .pt2; default work_dirs/NAME')
    parser.add_argument(
        '--preprocess',
        action='store_true',
        help='include the normalization: the input is RGB images (N, H, W, 3) of uint8',
    )
    parser.add_argument('--softmax', action='store_true', help='output probabilities instead of logits')
    parser.add_argument(
        '--int8', action='store_true', help='quantize to 8 bits, calibrated on images; only onnx and openvino'
    )
    parser.add_argument(
        '--images',
        metavar='DIR',
        help='real images to check and calibrate with; with one folder per class, the accuracy is reported. '
        "Default: the config's data, or photographs from installed libraries",
    )
    add_trust_checkpoint(parser)
    return parser.parse_args()


if __name__ == '__main__':
    run_tool('mmconvnext.export:export', parse_args())
