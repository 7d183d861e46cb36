#!/usr/bin/env python
"""Write an image folder into tar shards, for datasets past one disk."""

import argparse

from mmconvnext.command_line import run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('image_folder', help='holds one folder a class')
    parser.add_argument('out', help='new folder, or one in which this was started before: it goes on')
    size = parser.add_mutually_exclusive_group()
    size.add_argument('--max-size', help='of a shard, as 500MB; default 1GB')
    size.add_argument('--per-shard', type=int, help='images of a shard')
    parser.add_argument('--workers', type=int, default=4, help='shards written at a time; default 4')
    return parser.parse_args()


if __name__ == '__main__':
    run_tool('mmconvnext.datasets.shard_writing:make_shards', parse_args())
