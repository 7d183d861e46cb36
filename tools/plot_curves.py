#!/usr/bin/env python
"""Draw loss, learning rate and accuracy of a run."""

import argparse

from mmconvnext.command_line import run_tool
from mmconvnext.visualization.curves import plot_curves


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('work_dir', help='work dir of tools/train.py')
    parser.add_argument('out', help='image file')
    return parser.parse_args()


if __name__ == '__main__':
    run_tool(plot_curves, parse_args())
