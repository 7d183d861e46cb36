"""tools/infer.py writes all results, and checks its options before it loads a model."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from mmconvnext.apis.infer import infer
from mmconvnext.errors import UserError
from mmconvnext.inference import classifier as inference
from tests.classifiers import CLASSES, photos
from tests.conftest import REPO


def test_tool_writes_all_and_lists_what_is_broken(files, tmp_path):
    good = photos(tmp_path / 'photos/Bären [1]', 2)
    (tmp_path / 'photos/notes.jpg').write_text('hello')
    weird = os.fsdecode(b'photos/\xff\x1b.png')  # neither UTF-8 nor harmless
    shutil.copy(good[0], tmp_path / weird)
    config, checkpoint = map(str, files)
    command = ['photos', '--config', config, '--checkpoint', checkpoint, '--topk', '2', '--out', 'r.json']
    result = subprocess.run(
        [sys.executable, str(REPO / 'tools/infer.py'), *command, '--out-dir', 'shown'],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(REPO), 'OMP_NUM_THREADS': '1', 'PYTHONIOENCODING': 'ascii'},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert result.stderr == (
        'Error: 1 of 4 images could not be read; the others are done:\n'
        '  photos/notes.jpg: has 5 bytes in no supported format (JPEG, PNG, BMP, GIF, TIFF, WEBP, '
        'PPM, JPEG2000, AVIF, NPY)\n'
    )
    lines = [line for line in result.stdout.splitlines() if line.strip() and 'OneDL' not in line]
    assert sum('photos/' in line for line in lines) == 3
    assert 'mmengine' not in result.stdout
    assert 'photos/B\\xe4ren [1]/0.png' in result.stdout
    assert '\x1b' not in result.stdout
    assert lines[-2:] == ['Wrote r.json', 'Wrote 3 annotated images into shown']
    assert len(list((tmp_path / 'shown').rglob('*.jpg'))) == 3
    assert (tmp_path / 'shown/Bären [1]/1.png.jpg').is_file()

    results = json.loads((tmp_path / 'r.json').read_text(encoding='utf-8'))
    assert [r['path'] for r in results] == [
        'photos/notes.jpg',
        weird,
        *(f'photos/Bären [1]/{i}.png' for i in (0, 1)),
    ]
    assert set(results[0]) == {'path', 'error'}
    assert set(results[1]) == {'path', 'pred_label', 'pred_score', 'pred_class', 'topk'}
    assert results[1]['pred_class'] == CLASSES[results[1]['pred_label']] == results[1]['topk'][0]['class']
    assert results[1]['topk'] == results[2]['topk']
    assert sorted(path.name for path in tmp_path.iterdir()) == ['photos', 'r.json', 'shown']


def test_tool_takes_weights_alone(files, tmp_path, capsys):
    with pytest.warns(UserWarning, match='does not tell how its images were prepared'):
        infer(photos(tmp_path, 1), checkpoint=str(files[1]), batch_size=1)
    told = capsys.readouterr().out
    assert '0.png' in told
    assert '%' in told


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(out='r.txt'), r'r.txt: expected the name of a file that ends in .json or .csv'),
        (dict(topk=0), 'topk is 0'),
        (dict(out='there.json/r.csv'), 'there.json is a file and no folder'),
        (dict(out='there.json'), 'there.json exists already'),
        (dict(out_dir='photos'), 'photos is there and not an empty folder'),
        (dict(out_dir='there.json'), 'there.json is there and not an empty folder'),
        (dict(checkpoint=None), 'which network\\?'),
        (
            dict(checkpoint=None, model='convnext-v2-atto_32xb32_in1k'),
            'is a config, and random weights predict',
        ),
        (
            dict(checkpoint=None, model='convnext-tini_32xb128_in1k'),
            'model convnext-tini.* does not exist; did you mean',
        ),
        (dict(checkpoint='there.json'), 'there.json is a config and holds no weights'),
        (dict(), 'checkpoint none.pth does not exist'),
        (dict(checkpoint='there.pth', inputs=['typo.jpg']), 'typo.jpg does not exist; name an image'),
        (dict(checkpoint='there.pth', inputs=['empty']), 'empty and its subfolders contain no images'),
    ],
)
def test_tool_looks_at_everything_before_it_loads_a_model(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(inference, 'get_model', None)
    photos(tmp_path / 'photos', 1)
    (tmp_path / 'empty').mkdir()
    for name in ('there.json', 'there.pth'):
        (tmp_path / name).write_text('kept')
    with pytest.raises(UserError, match=message):
        infer(**{'inputs': ['photos'], 'checkpoint': 'none.pth', **options})
    assert (tmp_path / 'there.json').read_text() == 'kept'
    assert sorted(path.name for path in tmp_path.iterdir()) == ['empty', 'photos', 'there.json', 'there.pth']
