#!/usr/bin/env python
"""Strip a checkpoint of all but its weights, and name it by date and hash."""

import argparse

from mmconvnext.checkpoints.publishing import publish
from mmconvnext.errors import run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', help='file or URL of weights in any format')
    parser.add_argument('target', help='new file; NAME.pth becomes NAME_DATE-HASH.pth')
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='unpickle the source even if that runs code; only for files whose maker you know',
    )
    return parser.parse_args()


if __name__ == '__main__':
    run_tool(publish, parse_args())
