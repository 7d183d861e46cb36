#!/usr/bin/env python
"""Measure accuracy and speed of a classifier in int8, in ONNX Runtime and OpenVINO, against fp32."""

import argparse

from mmconvnext.command_line import run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config, name of model_zoo.md, or weights in any format')
    parser.add_argument('checkpoint', nargs='?', help='its weights; default those of the name or file')
    parser.add_argument(
        '--images',
        metavar='DIR',
        help="one folder a class, in train/ and val/ or directly; default the config's data",
    )
    parser.add_argument('--batch', type=int, nargs='+', default=[1, 8], help='images at once, timed')
    parser.add_argument('--size', type=int, default=224, help='of their sides in pixels')
    parser.add_argument('--rounds', type=int, default=7, help='timings of each')
    parser.add_argument('--out', metavar='FILE', help='JSON lines; default those of this repository')
    return parser.parse_args()


if __name__ == '__main__':
    run_tool('mmconvnext.benchmark.int8:compare_int8', parse_args())
