#!/usr/bin/env python
"""Write an HTML page that shows images of a dataset before and after augmentation."""

import argparse

from mmconvnext.command_line import add_cfg_options, run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of a config, or the name of one in this package')
    parser.add_argument(
        '--out', required=True, metavar='FILE', help='HTML file to write, with embedded pictures'
    )
    parser.add_argument('--split', choices=['train', 'val', 'test'], default='train')
    parser.add_argument('--number', type=int, default=12, help='number of images, evenly spaced; default 12')
    parser.add_argument('--data-root', help='data folder; default that of the config')
    add_cfg_options(parser, 'train_dataloader.dataset.pipeline.3.magnitude=9')
    return parser.parse_args()


if __name__ == '__main__':
    run_tool('mmconvnext.apis.browse:browse_dataset', parse_args())
