#!/usr/bin/env python
"""Draw test images with the predictions of a checkpoint."""

import argparse

from mmconvnext.command_line import add_cfg_options, add_trust_checkpoint, run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'config',
        help='path of a config, or the name of one in this package or of a checkpoint in model_zoo.md',
    )
    parser.add_argument('checkpoint', help='weights in any format as a file or URL, or name in model_zoo.md')
    parser.add_argument('out', help='image file to write')
    parser.add_argument('--count', type=int, default=40, help='number of images')
    add_cfg_options(parser, 'test_dataloader.batch_size=8')
    add_trust_checkpoint(parser)
    return parser.parse_args()


if __name__ == '__main__':
    run_tool('mmconvnext.apis.plot_predictions:plot_predictions', parse_args())
