#!/usr/bin/env python
"""Visualize the prediction of a classifier with Grad-CAM, occlusion and feature maps."""

import argparse

from mmconvnext.command_line import add_model, add_trust_checkpoint, run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('inputs', nargs='+', metavar='IMAGE', help='image, folder, "pattern/*.jpg" or URL')
    add_model(parser)
    parser.add_argument(
        '--class',
        dest='class_name',
        metavar='CLASS',
        help='name or number of the class to explain; default the predicted class',
    )
    parser.add_argument('--out', metavar='FILE', help='new .png file for the picture of a single image')
    parser.add_argument('--out-dir', metavar='DIR', help='new folder for the pictures of several images')
    parser.add_argument(
        '--stage',
        type=int,
        help='stage to visualize with Grad-CAM, counted from 0; default the last whose map is at least 4 x 4',
    )
    parser.add_argument(
        '--patch',
        type=int,
        help='side of the hidden square in pixels; default a seventh of the short side',
    )
    parser.add_argument(
        '--stride', type=int, help='distance between positions of the square in pixels; default half its side'
    )
    parser.add_argument(
        '--batch-size', type=int, default=32, help='images with a hidden square per forward pass'
    )
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ...; default a GPU if there is one')
    add_trust_checkpoint(parser)
    return parser.parse_args()


if __name__ == '__main__':
    run_tool('mmconvnext.apis.explain:explain', parse_args())
