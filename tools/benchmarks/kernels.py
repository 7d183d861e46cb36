#!/usr/bin/env python
"""Check and time the Triton kernels on a GPU beside plain and compiled torch, in turns."""

import argparse

from mmconvnext.command_line import run_tool

OPS = ('depthwise_conv', 'layer_norm', 'gelu_backward', 'grn')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--op', nargs='+', choices=OPS, default=OPS)
    parser.add_argument('--batch', type=int, default=128, help='number of images')
    parser.add_argument('--rounds', type=int, default=7, help='timings of each')
    parser.add_argument('--out', metavar='FILE', help='JSON lines; default those of this repository')
    return parser.parse_args()


if __name__ == '__main__':
    run_tool('mmconvnext.benchmark.kernels:measure_kernels', parse_args())
