#!/usr/bin/env python
"""Draw what a masked pre-training reconstructs: original, masked image and reconstruction of each image."""

import argparse

from mmconvnext.command_line import add_trust_checkpoint, run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('inputs', nargs='+', metavar='IMAGE', help='image, folder, "pattern/*.jpg" or URL')
    parser.add_argument('config', help='config of the pre-training, by path or name')
    parser.add_argument('checkpoint', help='checkpoint of the pre-training as a file or URL')
    parser.add_argument('--out', required=True, metavar='FILE', help='new .png file for the picture')
    parser.add_argument('--seed', type=int, default=0, help='seed of the mask; default 0')
    parser.add_argument(
        '--mask-ratio',
        type=float,
        metavar='RATIO',
        help='part of the patches to remove, such as 0.6; default that of the config',
    )
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ...; default a GPU if there is one')
    add_trust_checkpoint(parser)
    return parser.parse_intermixed_args()  # options may stand between the images and the config


if __name__ == '__main__':
    run_tool('mmconvnext.apis.reconstruct:reconstruct', parse_args())
