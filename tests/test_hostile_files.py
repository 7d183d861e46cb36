"""No file may run code, write elsewhere, crash a reader, or use much time or memory.

``MMCONVNEXT_HOSTILE_FILES=5000 MMCONVNEXT_HOSTILE_SEED=7`` tests more files, or others.
"""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mmconvnext.apis.convert import convert
from mmconvnext.apis.train import train
from tests.conftest import REPO, write_tiny_config
from tests.hostile_files import hostile_files
from tests.hostile_reader import MAX_SECONDS, READERS

COUNT = int(os.environ.get('MMCONVNEXT_HOSTILE_FILES', '150'))  # in addition to 80 fixed ones
SEED = int(os.environ.get('MMCONVNEXT_HOSTILE_SEED', '0'))
MAX_RESUMED = 30  # of a small run, because resuming from a file trains


@pytest.fixture(scope='module')
def honest(tmp_path_factory):
    """Train a config; return it, its checkpoint, and the checkpoint in the format of transformers."""
    folder = tmp_path_factory.mktemp('honest')
    config = write_tiny_config(folder)
    options = {'train_cfg.max_epochs': 1, 'train_dataloader.num_workers': 0, 'val_dataloader.num_workers': 0}
    options |= {f'{split}_dataloader.persistent_workers': False for split in ('train', 'val')}
    train(str(config), work_dir=str(folder / 'run'), cfg_options=options)
    checkpoint = next((folder / 'run').glob('epoch_*.pth'))
    convert(checkpoint, folder / 'transformers', target_format='transformers')
    return config, checkpoint, folder / 'transformers'


def listing(folder: Path) -> dict[str, tuple]:
    return {str(path): (path.lstat().st_mode, path.lstat().st_size) for path in sorted(folder.rglob('*'))}


def tried(tries: list[tuple[str, str]], config: Path, folder: Path) -> list[dict]:
    """Return the lines of the reader. If it dies, the file is recorded and another reader continues."""
    results = []
    while len(results) < len(tries):
        rest, first = tries[len(results) :], len(READERS) if results else 0
        (folder / 'tries.json').write_text(json.dumps([*tries[:first], *rest]))
        work = folder / 'work'
        work.mkdir(exist_ok=True)
        environment = dict(os.environ, TMPDIR=str(work), OMP_NUM_THREADS='1')
        process = subprocess.run(
            [sys.executable, '-m', 'tests.hostile_reader', str(folder / 'tries.json'), str(config)],
            cwd=REPO, env=environment, capture_output=True, text=True, timeout=20 * len(rest) + 300,
        )  # fmt: skip
        lines = [json.loads(line) for line in process.stdout.splitlines()]
        results += [line for line in lines if 'outcome' in line][first:]
        if len(results) < len(tries):
            assert lines, process.stderr
            died = f'failed: the process ended with {process.returncode}: {process.stderr[-2000:]}'
            results.append(lines[-1] | dict(outcome=died, seconds=0))
    return results


def test_hostile_files_end_in_a_message_or_are_read(honest, tmp_path):
    config, checkpoint, directory = honest
    files, canary = tmp_path / 'files', tmp_path / 'was_run'
    files.mkdir()
    sources = list(hostile_files(files, checkpoint, directory, canary, seed=SEED, count=COUNT))
    assert len(sources) >= 200
    before = listing(files)
    # Without a config, the preprocessing is unknown, as for the files made from it.
    bare = Path(shutil.copy(directory / 'model.safetensors', directory.with_name('bare.safetensors')))
    tries = [(str(checkpoint), reader) for reader in READERS] + [(str(bare), 'infer')]
    resumed = [file for file in sources if file.suffix == '.pth']
    resumed = resumed[:: max(1, len(resumed) // MAX_RESUMED)] if COUNT <= 200 else resumed
    tries += [
        (str(source), reader)
        for source in sources
        for reader in READERS
        if reader != 'resume' or source in resumed
    ]
    results = tried(tries, config, tmp_path)

    # Without this, a reader that refuses everything would pass.
    assert [result['outcome'] for result in results[: len(READERS)]] == ['read'] * len(READERS)
    wrong = [result for result in results if result['outcome'].startswith('failed')]
    wrong += [result for result in results if result['seconds'] > MAX_SECONDS]
    wrong += [result for result in results if not all(map(math.isfinite, result.get('scores') or ()))]
    assert not wrong, '\n\n'.join(
        f'{r["source"]} {r["reader"]} {r["seconds"]:.1f} s\n{r["outcome"]}' for r in wrong
    )
    # A file damaged outside of its values is refused or has the same values; changed values may be read.
    of_checkpoint, of_bare = (result['scores'] for result in results[: len(READERS) + 1] if result['scores'])
    other_values = ('content', 'described', 'legacy', 'tensors', 'pickle')
    for result in results:
        if result.get('scores') and not Path(result['source']).name.startswith(other_values):
            expected = of_checkpoint if result['source'].endswith('.pth') else of_bare
            assert result['scores'] == expected, result['source']
    assert not canary.exists()
    assert listing(files) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ['files', 'tries.json', 'work']
