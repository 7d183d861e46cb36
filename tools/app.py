#!/usr/bin/env python
"""Serve a web page that classifies images and shows the top classes, Grad-CAM and the latency.

Only this machine can connect, unless --host or --origin is given. Remote users can only choose the models
given by --model and --checkpoint: they can neither upload checkpoints nor make the server download others.
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
        help='models to offer, the default first: names in model_zoo.md, or weights in any format',
    )
    parser.add_argument(
        '--checkpoint',
        help='other weights for the first model; without --model, the network is inferred from them',
    )
    parser.add_argument('--host', default='127.0.0.1', help='address to listen on; default 127.0.0.1')
    parser.add_argument('--port', type=int, default=7860, help='default 7860; 0 for any free port')
    parser.add_argument('--max-megabytes', type=float, default=20, help='maximum image size; default 20')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ...; default a GPU if there is one')
    parser.add_argument('--origin', help='public URL, https://NAME, of a proxy on this machine')
    return parser.parse_args()


if __name__ == '__main__':
    run_tool('mmconvnext.page.app:serve', parse_args())
