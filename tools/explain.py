#!/usr/bin/env python
"""Draw what the prediction of a classifier rests on: Grad-CAM, occlusion and the maps of the stages."""

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
        help='name or number of the class to explain; default the predicted one',
    )
    parser.add_argument('--out', metavar='FILE', help='new file for the picture of one image, .png')
    parser.add_argument('--out-dir', metavar='DIR', help='new folder for the pictures of several')
    parser.add_argument(
        '--stage',
        type=int,
        help='whose map Grad-CAM weights, from 0; default the last that has 4 x 4 places or more',
    )
    parser.add_argument(
        '--patch', type=int, help='side of the hidden square in pixels; default a seventh of the short side'
    )
    parser.add_argument(
        '--stride', type=int, help='pixels from one place of it to the next; default half of it'
    )
    parser.add_argument(
        '--batch-size', type=int, default=32, help='covered images that go through the network at once'
    )
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ...; default a GPU if there is one')
    add_trust_checkpoint(parser)
    return parser.parse_args()


if __name__ == '__main__':
    run_tool('mmconvnext.apis.explain:explain', parse_args())
