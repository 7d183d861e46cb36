"""Which speeds model_zoo.md quotes, and how they were measured."""

import json
from pathlib import Path

RESULTS = Path(__file__).parents[1] / 'benchmarks/results/throughput.json'


def read_results(path: str | Path = RESULTS) -> tuple[dict, dict[tuple[str, int], dict]]:
    """Conditions, and the row of each (architecture, resolution); empty where nothing was measured."""
    if not Path(path).exists():
        return {}, {}
    results = json.loads(Path(path).read_text())
    return results['conditions'], {(r['architecture'], r['resolution']): r for r in results['rows']}
