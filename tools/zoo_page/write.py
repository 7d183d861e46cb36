#!/usr/bin/env python
"""Write model_zoo.md from the metafiles, check that it is up to date, or draw its chart."""

import argparse
from pathlib import Path

from mmconvnext.command_line import run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    task = parser.add_mutually_exclusive_group()
    task.add_argument(
        '--check', action='store_true', help='exit with status 1 if the page is out of date; write nothing'
    )
    task.add_argument('--chart', action='store_true', help='draw docs/accuracy.png instead')
    parser.add_argument('--out', type=Path, metavar='FILE', help='another file to write or check')
    return parser.parse_args()


def main(out: Path | None, check: bool, chart: bool) -> None:
    if chart:
        from chart import plot_accuracy

        plot_accuracy(out)
    else:
        from page import write_page

        write_page(out, check)


if __name__ == '__main__':
    run_tool(main, parse_args())
