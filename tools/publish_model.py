#!/usr/bin/env python
"""Strip a checkpoint of all but its weights, and name it by date and hash."""

import argparse

from mmconvnext.command_line import add_trust_checkpoint, run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', help='file or URL of weights in any format')
    parser.add_argument('target', help='new file; NAME.pth becomes NAME_DATE-HASH.pth')
    add_trust_checkpoint(parser)
    return parser.parse_args()


if __name__ == '__main__':
    run_tool('mmconvnext.apis.publish:publish', parse_args())
