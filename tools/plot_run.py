#!/usr/bin/env python
"""Plot loss, learning rate, accuracy and throughput of one or more runs."""

import argparse

from mmconvnext.command_line import run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('runs', nargs='+', metavar='RUN', help='work dir of tools/train.py')
    parser.add_argument('--out', required=True, help='image file to write')
    return parser.parse_args()


if __name__ == '__main__':
    run_tool('mmconvnext.reports.runs:plot_runs', parse_args())
