#!/usr/bin/env python
"""Write a classifier for ONNX Runtime, OpenVINO or a program without Python, checked against PyTorch."""

import argparse

from mmconvnext.command_line import add_trust_checkpoint, run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'config',
        help='config, name of model_zoo.md, or weights in any format, whose network is read off them',
    )
    parser.add_argument('checkpoint', nargs='?', help='its weights; default those of the name or file')
    parser.add_argument(
        '--format',
        required=True,
        choices=['onnx', 'openvino', 'torch'],
        help='torch: compiled ahead of time for processors like this one',
    )
    parser.add_argument('--out', metavar='FILE', help='new file, .onnx, .xml or .pt2; default work_dirs/NAME')
    parser.add_argument(
        '--preprocess',
        action='store_true',
        help='normalise in the file: it takes RGB images (N, H, W, 3) of uint8',
    )
    parser.add_argument('--softmax', action='store_true', help='give probabilities in place of logits')
    parser.add_argument(
        '--int8', action='store_true', help='8 bits where that is fast, calibrated on images; onnx, openvino'
    )
    parser.add_argument(
        '--images',
        metavar='DIR',
        help='real images to check and calibrate with; with one folder a class, the accuracy is told. '
        "Default: the config's data, or photographs that libraries carry",
    )
    add_trust_checkpoint(parser)
    return parser.parse_args()


if __name__ == '__main__':
    run_tool('mmconvnext.export:export', parse_args())
