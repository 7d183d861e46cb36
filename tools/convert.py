#!/usr/bin/env python
"""Convert weights between the formats of all ConvNeXt implementations."""

import argparse

from mmconvnext.checkpoints import FORMATS
from mmconvnext.command_line import add_trust_checkpoint, add_weights, run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, epilog=f'Formats: {", ".join(FORMATS)}')
    parser.add_argument('source', help='file, URL, directory of transformers, or a name of model_zoo.md')
    parser.add_argument('target', help='file to write, or directory for transformers; must not exist')
    parser.add_argument(
        '--from', dest='source_format', default='auto', metavar='FORMAT', help='default: found out'
    )
    parser.add_argument(
        '--to',
        dest='target_format',
        default='openmmlab',
        metavar='FORMAT',
        help='default: openmmlab, which is ours',
    )
    add_weights(parser)
    add_trust_checkpoint(parser)
    return parser.parse_args()


if __name__ == '__main__':
    run_tool('mmconvnext.apis.convert:convert', parse_args())
