#!/usr/bin/env python
"""Extract the weights from a training checkpoint, and add date and hash to its name."""

import argparse

from mmconvnext.command_line import add_trust_checkpoint, run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', help='weights in any format as a file or URL')
    parser.add_argument('target', help='new file; NAME.pth becomes NAME_DATE-HASH.pth')
    add_trust_checkpoint(parser)
    return parser.parse_args()


if __name__ == '__main__':
    run_tool('mmconvnext.apis.publish:publish', parse_args())
