#!/usr/bin/env python
"""Measure this ConvNeXt and its peers in one run, in turns: images a second and peak memory."""

import argparse

from mmconvnext.command_line import run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--arch', nargs='+', default=['tiny'], help='networks, as tiny or v2-base')
    parser.add_argument(
        '--mode', nargs='+', choices=['inference', 'training'], default=['inference', 'training']
    )
    parser.add_argument('--dtype', nargs='+', choices=['fp32', 'bf16'], default=['fp32'])
    parser.add_argument('--batch', nargs='+', type=int, default=[1, 8], help='numbers of images at once')
    parser.add_argument('--size', type=int, default=224, help='of their sides in pixels')
    parser.add_argument(
        '--contenders',
        nargs='+',
        metavar='NAME',
        help='as "mmconvnext optimized" "timm compiled"; default all installed ones but the compiled',
    )
    parser.add_argument('--rounds', type=int, default=7, help='timings of each')
    parser.add_argument(
        '--quick', action='store_true', help='three minutes: one network, few rounds, no memory'
    )
    parser.add_argument('--out', metavar='FILE', help='JSON lines; default those of this repository')
    parser.add_argument('--plot', metavar='FILE', help='image for bars of these measurements')
    return parser.parse_args()


if __name__ == '__main__':
    run_tool('mmconvnext.benchmark.comparison:compare', parse_args())
