#!/usr/bin/env python
"""Pack an image folder into tar shards, which are read faster than many files."""

import argparse

from mmconvnext.command_line import run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('image_folder', help='folder with one folder per class')
    parser.add_argument('out', help='new folder, or one from an interrupted run, which continues')
    size = parser.add_mutually_exclusive_group()
    size.add_argument('--max-size', help='maximum size of a shard, for example 500MB; default 1GB')
    size.add_argument('--per-shard', type=int, help='maximum number of images in a shard')
    parser.add_argument(
        '--workers', type=int, default=4, help='number of shards written in parallel; default 4'
    )
    return parser.parse_args()


if __name__ == '__main__':
    run_tool('mmconvnext.datasets.shard_writing:make_shards', parse_args())
