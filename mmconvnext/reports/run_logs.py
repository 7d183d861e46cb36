"""Read the logs of a run that mmengine has written."""

import json
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UserError
from ..files import open_regular

MAX_LOG_BYTES = 1 << 28  # a million rows
MAX_STEPS = 10**12


@dataclass
class Run:
    """The logged values of a run.

    Attributes:
        name: name of its folder.
        training: iteration -> scalars.
        validation: iteration, or epoch in epoch-based runs, -> scalars.
        epoch_length: iterations per epoch; None for iteration-based runs.
    """

    name: str
    training: dict[int, dict[str, float]] = field(default_factory=dict)
    validation: dict[int, dict[str, float]] = field(default_factory=dict)
    epoch_length: float | None = None


def read_run(folder: str | Path) -> Run:
    """Read the logs of a work dir, or of one of its dated folders, as one run.

    A killed run has logged values after its last checkpoint. From the first iteration of a later log on, the
    values of earlier logs are dropped.

    Raises:
        UserError: there is no training log, or a log cannot be read.
    """
    logs = [
        *Path(folder).glob('vis_data/scalars.json'),
        *sorted(Path(folder).glob('*/vis_data/scalars.json')),
    ]
    run, iterations_of = Run(Path(os.path.realpath(folder)).name), {}
    for log in logs:
        training, validation = {}, {}
        last = 0
        for row in read_rows(log):
            if 'iter' in row:
                last = int(row['iter'])
                training[last] = row
            else:
                # Validation has no iteration; an iteration-based run may count it as 0.
                step = int(row['step']) or last
                validation[step], iterations_of[step] = row, last
        start = min(training, default=None)
        if start is not None:
            run.training = {i: row for i, row in run.training.items() if i < start}
            run.validation = {
                step: row for step, row in run.validation.items() if iterations_of[step] < start
            }
        run.training.update(training)
        run.validation.update(validation)
    if not run.training:
        raise UserError(f'{folder} has no training log; name the work dir of a run that logged an iteration')
    # The last line of an epoch is within one log interval of its end.
    run.epoch_length = max(
        (i / row['epoch'] for i, row in run.training.items() if row.get('epoch')), default=None
    )
    return run


def read_rows(log: Path) -> Iterator[dict[str, float]]:
    """Yield the scalars of each line of a log, and warn about invalid lines.

    An incomplete last line of a killed run is ignored.
    """
    damaged = []
    try:
        with open_regular(log) as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > MAX_LOG_BYTES:
                raise UserError(
                    f'{log} has {size:,} bytes; a log has at most {MAX_LOG_BYTES:,}. Delete or move it'
                )
            for number, line in enumerate(stream, 1):
                row = parse_row(line)
                if row:
                    yield row
                elif line.endswith(b'\n') and line.strip():
                    damaged.append(number)
    except OSError as error:
        raise UserError(
            f'{log} cannot be read: {error.strerror}; correct its permissions or move it'
        ) from error
    if damaged:
        others = f' and {len(damaged) - 1} other lines' if len(damaged) > 1 else ''
        warnings.warn(
            f'{log}, line {damaged[0]}{others}: left out; expected a JSON object of numbers with "iter" '
            'or "step"',
            stacklevel=2,
        )


def parse_row(line: bytes) -> dict[str, float] | None:
    """Return the numbers in a line, or None if it is damaged or has no step."""
    try:
        row = json.loads(line.decode(), parse_int=float)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict):
        return None
    least = dict(iter=1, epoch=0, step=0)
    for name in least.keys() & row.keys():
        value = row[name]
        if not isinstance(value, float) or not value.is_integer() or not least[name] <= value <= MAX_STEPS:
            return None
    if not row.keys() & {'iter', 'step'}:
        return None
    return {name: value for name, value in row.items() if isinstance(value, float)}
