"""Loss, learning rate and accuracy of a run, drawn from the log that mmengine writes."""

import json
from pathlib import Path

from matplotlib.figure import Figure

from ..errors import UserError


def plot_curves(work_dir: str | Path, out: str | Path) -> None:
    """Draw the curves of the runs in a work dir, a resumed run after the one it continues.

    Args:
        work_dir: of ``tools/train.py``.
        out: image file.

    Raises:
        UserError: there is no log.
    """
    training, validation = read_scalars(work_dir)
    figure = Figure(figsize=(12, 3.6), layout='constrained')
    loss, lr, accuracy = figure.subplots(1, 3)
    iterations = sorted(training)
    loss.plot(iterations, [training[i]['loss'] for i in iterations])
    loss.set(title='Training loss', xlabel='iteration')
    lr.plot(iterations, [training[i]['lr'] for i in iterations], color='tab:green')
    lr.set(title='Learning rate', xlabel='iteration')
    steps = sorted(validation)
    for metric in sorted(
        {name for step in steps for name in validation[step] if name.startswith('accuracy/')}
    ):
        values = [validation[step][metric] for step in steps]
        accuracy.plot(
            steps, values, marker='o', markersize=3, label=f'{metric[9:]} {values[-1]:.2f} at the end'
        )
    accuracy.set(title='Validation accuracy, %', xlabel='epoch')
    if steps:
        accuracy.legend(loc='lower right')
    for axes in (loss, lr, accuracy):
        axes.grid(alpha=0.3)
    figure.savefig(out, dpi=120)
    print(f'Wrote {out}')


def read_scalars(work_dir: str | Path) -> tuple[dict[int, dict], dict[int, dict]]:
    """Iteration to training scalars and epoch to validation scalars; a later run wins."""
    logs = sorted(Path(work_dir).glob('*/vis_data/scalars.json'))
    training, validation = {}, {}
    for log in logs:
        for line in log.read_text().splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:  # the last line of a run that was killed while writing it
                continue
            if 'loss' in row and 'lr' in row:
                training[row['step']] = row
            elif any(name.startswith('accuracy/') for name in row):
                validation[row['step']] = row
    if not training:
        raise UserError(
            f'{work_dir} has no training log; name the work dir of a run that logged an iteration'
        )
    return training, validation
