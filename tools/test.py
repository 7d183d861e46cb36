#!/usr/bin/env python
"""Test a checkpoint on the test data of its config."""

import argparse

from mmconvnext.command_line import (
    add_cfg_options,
    add_image_size,
    add_optimize,
    add_trust_checkpoint,
    add_weights,
    run_tool,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'config',
        help='path of a config, name of one in this package, or name of a checkpoint in model_zoo.md',
    )
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='weights in any format as a file or URL, or a name in model_zoo.md; default those of the config',
    )
    parser.add_argument('--data-root', help='data folder; default that of the config')
    add_image_size(parser)
    parser.add_argument('--work-dir', help='folder for logs; default work_dirs/NAME')
    parser.add_argument(
        '--out', help='new file for the results: .pkl for predictions, .pkl, .json or .yml for metrics'
    )
    parser.add_argument(
        '--out-item', choices=['pred', 'metrics'], help='content of the file; default the predictions'
    )
    parser.add_argument('--show-dir', help='new folder for all test images with their predictions')
    parser.add_argument(
        '--report',
        metavar='FILE',
        help='HTML file with accuracy, confusions, classes and the most confident mistakes',
    )
    parser.add_argument(
        '--tta', action='store_true', help='average the scores of each image and its mirror image'
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision')
    add_optimize(parser)
    add_cfg_options(parser, 'test_dataloader.batch_size=8')
    add_weights(parser)
    add_trust_checkpoint(parser)
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm'], default='none')
    return parser.parse_args()


if __name__ == '__main__':
    run_tool('mmconvnext.apis:evaluate', parse_args())
