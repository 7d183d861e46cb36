#!/usr/bin/env python
"""Predict for images with a checkpoint: files, folders, patterns in quotes, URLs.

Classifiers name the image, detectors its objects with boxes and masks, segmenters its areas.
"""

import argparse

from mmconvnext.command_line import add_model, add_optimize, add_trust_checkpoint, run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('inputs', nargs='+', metavar='INPUT', help='image, folder, "pattern/*.jpg" or URL')
    add_model(parser)
    parser.add_argument('--topk', type=int, default=5, help='how many classes of an image to list')
    parser.add_argument(
        '--batch-size', type=int, default=32, help='images that go through a classifier at once'
    )
    parser.add_argument(
        '--min-score', type=float, default=0.3, help='leave out objects that are less likely; default 0.3'
    )
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ...; default a GPU if there is one')
    parser.add_argument('--out', metavar='FILE', help='new file for the results: .json or .csv')
    parser.add_argument('--out-dir', metavar='DIR', help='new folder for the images with what was found')
    add_optimize(parser)
    add_trust_checkpoint(parser)
    return parser.parse_args()


if __name__ == '__main__':
    run_tool('mmconvnext.apis.infer:infer', parse_args())
