#!/usr/bin/env python
"""Measure on one core how many training images a second our pipeline, mmpretrain's and timm's make."""

import argparse

from mmconvnext.command_line import run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rounds', type=int, default=15, help='timings of each')
    parser.add_argument('--out', metavar='FILE', help='JSON lines; default those of this repository')
    return parser.parse_args()


if __name__ == '__main__':
    run_tool('mmconvnext.benchmark.data_pipeline:compare_pipelines', parse_args())
