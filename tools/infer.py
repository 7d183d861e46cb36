#!/usr/bin/env python
"""Predict classes, objects or areas in images with a classifier, detector or segmenter."""

import argparse

from mmconvnext.command_line import add_model, add_optimize, add_trust_checkpoint, run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('inputs', nargs='+', metavar='INPUT', help='image, folder, "pattern/*.jpg" or URL')
    add_model(parser)
    parser.add_argument('--topk', type=int, default=5, help='number of top classes to list per image')
    parser.add_argument('--batch-size', type=int, default=32, help='batch size of classifiers')
    parser.add_argument(
        '--min-score', type=float, default=0.3, help='minimum score of objects to report; default 0.3'
    )
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ...; default a GPU if there is one')
    parser.add_argument('--out', metavar='FILE', help='new file for the results: .json or .csv')
    parser.add_argument('--out-dir', metavar='DIR', help='new folder for the images with their predictions')
    add_optimize(parser)
    add_trust_checkpoint(parser)
    return parser.parse_args()


if __name__ == '__main__':
    run_tool('mmconvnext.apis.infer:infer', parse_args())
