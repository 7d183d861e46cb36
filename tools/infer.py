#!/usr/bin/env python
"""Classify images with a checkpoint: files, folders, patterns in quotes, URLs."""

import argparse

from mmconvnext.apis.inference import infer
from mmconvnext.command_line import add_trust_checkpoint, run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('inputs', nargs='+', metavar='INPUT', help='image, folder, "pattern/*.jpg" or URL')
    parser.add_argument('--model', help='name of model_zoo.md, whose weights are downloaded once')
    parser.add_argument('--config', help='path of a config, or the name of one; needs --checkpoint')
    parser.add_argument(
        '--checkpoint',
        help='file or URL of weights in any format; without --config, the network is read off them',
    )
    parser.add_argument('--topk', type=int, default=5, help='how many classes to list')
    parser.add_argument('--batch-size', type=int, default=32, help='images that go through at once')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ...; default a GPU if there is one')
    parser.add_argument('--out', metavar='FILE', help='new file for the results: .json or .csv')
    parser.add_argument('--out-dir', metavar='DIR', help='new folder for the images with their classes')
    add_trust_checkpoint(parser)
    return parser.parse_args()


if __name__ == '__main__':
    run_tool(infer, parse_args())
