"""Read the speeds that model_zoo.md quotes, and the conditions of their measurement."""

import json
from pathlib import Path

RESULTS = Path(__file__).parents[1] / 'benchmarks/results/throughput.json'


def read_results(path: str | Path = RESULTS) -> tuple[dict, dict[tuple[str, int], dict]]:
    """Return the conditions, and a row per (architecture, resolution); empty if nothing was measured."""
    if not Path(path).exists():
        return {}, {}
    results = json.loads(Path(path).read_text())
    return results['conditions'], {(r['architecture'], r['resolution']): r for r in results['rows']}
