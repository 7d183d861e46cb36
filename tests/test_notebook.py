"""The notebook that a new user opens first runs from top to bottom."""

import json
import re

import pytest
from PIL import Image
from safetensors.torch import save_file

from mmconvnext import get_entry
from tests.conftest import REPO
from tests.processes import call
from tests.servers import serve

NOTEBOOK = REPO / 'docs/quickstart.ipynb'
SMALLER = {'IMAGES_PER_CLASS = 40': 'IMAGES_PER_CLASS = 6', 'EPOCHS = 3': 'EPOCHS = 1'}
WRITE_WHAT_IT_FOUND = """
import json
found = dict(heat=list(heat.shape), top5=top5.indices.tolist(), digits=results)
Path('found.json').write_text(json.dumps(found, default=str))
"""


def cells(kind: str) -> list[dict]:
    return [cell for cell in json.loads(NOTEBOOK.read_text())['cells'] if cell['cell_type'] == kind]


def source(cell: dict) -> str:
    return ''.join(cell['source'])


@pytest.mark.slow
def test_all_cells_run_in_their_order(tmp_path):
    import timm

    code = '\n\n'.join(map(source, cells('code')))
    for shown, small in SMALLER.items():
        assert shown in code
        code = code.replace(shown, small)
    (name,) = re.findall(r"NAME = '(.+)'", code)
    weights = tmp_path / 'hub/timm' / name / 'model.safetensors'
    weights.parent.mkdir(parents=True)
    save_file(timm.create_model(name.split('.')[0]).state_dict(), weights)
    script = tmp_path / 'tools/quickstart.py'
    script.parent.mkdir()
    script.write_text(code + WRITE_WHAT_IT_FOUND)
    with serve(tmp_path / 'hub') as url:
        result = call(
            script,
            cwd=tmp_path,
            HF_ENDPOINT=url,
            MMCONVNEXT_HOME=str(tmp_path / 'cache'),
            MPLBACKEND='agg',
        )
    assert result.returncode == 0, result.stderr[-3000:]
    found = json.loads((tmp_path / 'found.json').read_text())
    for label in found['top5']:
        assert get_entry(name).class_names[label] in result.stdout
    assert found['heat'] == [224, 224]
    assert len(found['digits']) == 10
    assert {each['pred_class'] for each in found['digits']} <= set('0123456789')
    assert Image.open(tmp_path / 'work_dirs/quickstart/curves.png').width > 100


def test_notebook_is_stored_without_outputs():
    for cell in cells('code'):
        assert cell['outputs'] == []
        assert cell['execution_count'] is None


def test_files_that_the_notebook_links_to_exist():
    links = [link for cell in cells('markdown') for link in re.findall(r'\]\(([^)#]+)', source(cell))]
    assert links
    for link in links:
        assert (NOTEBOOK.parent / link).exists(), link
