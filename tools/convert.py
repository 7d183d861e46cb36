#!/usr/bin/env python
"""Convert weights between the formats of all ConvNeXt implementations."""

import argparse

from mmconvnext.checkpoints import FORMATS
from mmconvnext.command_line import add_trust_checkpoint, add_weights, run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, epilog=f'Formats: {", ".join(FORMATS)}')
    parser.add_argument('source', help='file, URL, transformers directory, or name in model_zoo.md')
    parser.add_argument('target', help='new file, or new directory for transformers')
    parser.add_argument(
        '--from', dest='source_format', default='auto', metavar='FORMAT', help='default: detected'
    )
    parser.add_argument(
        '--to',
        dest='target_format',
        default='openmmlab',
        metavar='FORMAT',
        help='default: openmmlab, the format of this package',
    )
    add_weights(parser)
    add_trust_checkpoint(parser)
    return parser.parse_args()


if __name__ == '__main__':
    run_tool('mmconvnext.apis.convert:convert', parse_args())
