#!/usr/bin/env python
"""Write model_zoo.md from the metafiles; check it, draw its chart, measure the speeds it quotes."""

import argparse
from pathlib import Path

from mmconvnext.command_line import run_tool
from mmconvnext.errors import UserError


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    task = parser.add_mutually_exclusive_group()
    task.add_argument(
        '--check', action='store_true', help='only see whether the page is current; else exit 1'
    )
    task.add_argument('--chart', action='store_true', help='draw docs/accuracy.png instead')
    task.add_argument(
        '--measure', action='store_true', help='time forward passes instead, on the GPU if there is one'
    )
    parser.add_argument('--out', type=Path, metavar='FILE', help='another file to write or check')
    # What is not given is not there, so that measure's own defaults hold.
    how = parser.add_argument_group('with --measure', argument_default=argparse.SUPPRESS)
    how.add_argument('--max-gmacs', type=float, help='leave out costlier networks; default 20')
    how.add_argument('--batch-size', type=int, help='default 8')
    how.add_argument('--rounds', type=int, help='timings of each network, in turns; default 5')
    how.add_argument('--threads', type=int, help='default: one a core')
    how.add_argument('--amp', action='store_true', help='bfloat16 by autocast')
    return parser.parse_args()


def main(out: Path | None, check: bool, chart: bool, **options) -> None:
    if options.pop('measure'):
        from mmconvnext.zoo.throughput import measure

        measure(out, **options)
    elif options:
        raise UserError(f'--{next(iter(options)).replace("_", "-")} goes with --measure')
    elif chart:
        from mmconvnext.visualization.accuracy import plot_accuracy

        plot_accuracy(out)
    else:
        from mmconvnext.zoo.markdown import write_page

        write_page(out, check)


if __name__ == '__main__':
    run_tool(main, parse_args())
