#!/usr/bin/env python
"""A page on this machine: choose a model, drop an image, see classes, Grad-CAM and latency.

Answers this machine only, unless --host or --origin says otherwise. Others choose from --model and
--checkpoint alone: they neither upload checkpoints nor have the server download the zoo.
"""

import argparse

from mmconvnext.command_line import run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--model',
        '--config',
        nargs='+',
        default=[],
        help='models to choose from, the first one first: names in model_zoo.md, or weights in any format',
    )
    parser.add_argument(
        '--checkpoint', help='other weights for the first; alone, the network is read off them'
    )
    parser.add_argument('--host', default='127.0.0.1', help='address to answer at; default 127.0.0.1')
    parser.add_argument('--port', type=int, default=7860, help='default 7860; 0: any free one')
    parser.add_argument('--max-megabytes', type=float, default=20, help='of an image; default 20')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ...; default a GPU if there is one')
    parser.add_argument('--origin', help='https://name under which a proxy on this machine offers the page')
    return parser.parse_args()


if __name__ == '__main__':
    run_tool('mmconvnext.page.app:serve', parse_args())
