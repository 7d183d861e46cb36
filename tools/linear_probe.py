#!/usr/bin/env python
"""Measure the features of a frozen network: the accuracy of a linear classifier, or of nearest neighbors."""

import argparse

from mmconvnext.command_line import add_trust_checkpoint, run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'model',
        help='name in model_zoo.md, weights in any format as a file, folder or URL, or config, whose weights '
        'are random without --checkpoint',
    )
    parser.add_argument(
        'data',
        nargs='?',
        help='folder with one folder of images per class, or config with training and validation data; '
        'default the data of the model, if that is such a config',
    )
    parser.add_argument('--checkpoint', help='weights for the network of a config, also of a pre-training')
    parser.add_argument(
        '--knn',
        type=int,
        nargs='?',
        const=20,
        metavar='K',
        help='let the K most similar training images vote, default 20, instead of a linear classifier',
    )
    parser.add_argument(
        '--labels-per-class', type=int, metavar='N', help='train on N images of each class; default all'
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='seed of the chosen images, of the folds and of random weights'
    )
    parser.add_argument('--batch-size', type=int, default=32, help='images per forward pass')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ...; default a GPU if there is one')
    add_trust_checkpoint(parser)
    return parser.parse_args()


if __name__ == '__main__':
    run_tool('mmconvnext.apis.linear_probe:linear_probe', parse_args())
