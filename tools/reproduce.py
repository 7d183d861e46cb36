#!/usr/bin/env python
"""Test published checkpoints and write a table of published and measured accuracies."""

import argparse

from mmconvnext.command_line import add_trust_checkpoint, run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'names', nargs='+', metavar='NAME', help="names in model_zoo.md, or patterns such as '*v2-atto*'"
    )
    parser.add_argument('--data-root', default='data/imagenet', help='ImageNet folder with val/CLASS/IMAGE')
    parser.add_argument(
        '--out',
        default='work_dirs/reproduced.md',
        help='table to write; rows that it already contains are not measured again',
    )
    parser.add_argument(
        '--model-index',
        default=argparse.SUPPRESS,
        help='model-index.yml of another zoo; default: that of this package',
    )
    parser.add_argument('--batch-size', type=int, default=64)
    parser.add_argument('--num-workers', type=int, default=4)
    add_trust_checkpoint(parser)
    return parser.parse_args()


if __name__ == '__main__':
    run_tool('mmconvnext.apis.reproduce:reproduce', parse_args())
