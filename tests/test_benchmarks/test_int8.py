"""The benchmark of int8 accuracy and speed."""

import json

import pytest

from mmconvnext.apis import train
from tests.conftest import TINY_ARCH
from tests.processes import call


@pytest.mark.slow
def test_every_form_is_measured_in_every_runtime(tiny_config, tmp_path):
    for library in ('onnxruntime', 'onnxscript', 'openvino', 'nncf'):
        pytest.importorskip(library)
    options = {'train_cfg.max_epochs': 1}
    train(tiny_config, work_dir=str(tmp_path / 'w'), no_validate=True, cfg_options=options)
    out = tmp_path / 'rows.jsonl'
    # In a separate process, because the threads of the runtimes stay alive.
    brief = '--batch', 1, '--size', 32, '--rounds', 2
    done = call('tools/benchmarks/int8.py', tiny_config, tmp_path / 'w/epoch_1.pth', *brief, '--out', out)
    assert done.returncode == 0, done.stderr[-1500:]
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    forms = ('fp32', 'int8', 'int8 everywhere')
    assert [(row['runtime'], row['form']) for row in rows] == [
        (runtime, form) for runtime in ('onnxruntime', 'openvino') for form in forms
    ]
    assert rows[0]['network']['arch'] == {key: list(value) for key, value in TINY_ARCH.items()}
    for row in rows:
        assert row['images_per_second'] > 0
        assert row['tested'] == 32
        if row['form'] == 'fp32':
            assert (row['agreement'], row['top1']) == (1, row['top1_torch'])
            assert row['error'] < 1e-5
        else:
            assert 1e-4 < row['error'] < 0.5
