"""From training to the table of accuracies: train, publish, list, serve, download, evaluate and compare."""

import json
import re

import pytest
import torch
import yaml
from PIL import Image

from mmconvnext.apis import evaluate, train
from mmconvnext.apis.publish import publish
from mmconvnext.apis.reproduce import reproduce
from mmconvnext.checkpoints import load_checkpoint
from mmconvnext.datasets import Digits
from mmconvnext.errors import UserError
from tests.conftest import REPO, TINY_ARCH
from tests.processes import call
from tests.servers import serve

NETWORKS = {'digits-v1': {}, 'digits-v2': dict(use_grn=True, layer_scale_init_value=0.0)}


@pytest.fixture(scope='module')
def zoo(tmp_path_factory):
    """Train, publish and serve two digits models in a zoo of their own, and return their accuracies."""
    root = tmp_path_factory.mktemp('zoo')
    served = root / 'served'
    served.mkdir()
    top1, models = {}, []
    with serve(served) as url:
        for name, backbone in NETWORKS.items():
            config = root / f'{name}.py'
            config.write_text(
                f"_base_ = '{REPO / 'configs/digits/convnext-atto_1xb48_digits.py'}'\n"
                f'model = dict(backbone=dict(arch=dict(_delete_=True, **{TINY_ARCH}), **{backbone}),'
                ' head=dict(in_channels=32))\n'
                'train_cfg = dict(max_epochs=3)\n'
            )
            train(config, work_dir=str(root / name), no_validate=True)
            file = publish(root / name / 'epoch_3.pth', served / f'{name}.pth')
            top1[name] = evaluate(config, file, work_dir=str(root / 'test'))['accuracy/top1']
            models.append(
                {
                    'Name': name,
                    'In Collection': 'Digits',
                    'Config': config.name,
                    'Weights': f'{url}/{file.name}',
                    'Format': 'openmmlab',
                    'Metadata': dict(
                        Task='Image Classification', Classes=10, Resolution=32, Parameters=1, FLOPs=1
                    ),
                    'Preprocessing': dict(Size=32, Resize=None, Mean=[0.5] * 3, Std=[0.5] * 3),
                    'Results': [
                        dict(
                            Task='Image Classification',
                            Dataset='Digits',
                            Metrics={'Top 1 Accuracy': round(top1[name], 2) + (name == 'digits-v2')},
                        )
                    ],
                }
            )
        (root / 'metafile.yml').write_text(yaml.safe_dump({'Models': models}))
        (root / 'model-index.yml').write_text('Import: [metafile.yml]\n')
        for i, sample in enumerate(Digits('test', pipeline=[]).load_data_list()):
            folder = root / f'data/val/{sample["gt_label"]}'
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(sample['img']).save(folder / f'{i}.png')
        yield root, top1


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv('MMCONVNEXT_HOME', str(tmp_path / 'cache'))


def test_table_compares_published_with_measured_accuracies(zoo, tmp_path):
    root, top1 = zoo
    out = tmp_path / 'table.md'
    arguments = [
        *NETWORKS,
        '--data-root',
        root / 'data',
        '--model-index',
        root / 'model-index.yml',
        '--out',
        out,
    ]
    result = call(REPO / 'tools/reproduce.py', *arguments, '--num-workers', 0, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-2000:]
    rows = {row['name']: row for row in json.loads(out.with_suffix('.json').read_text())}
    for name in NETWORKS:
        assert rows[name]['top1'] == pytest.approx(top1[name], abs=1e-3)
        assert rows[name]['images'] == 360
    assert [rows[name]['differs'] for name in NETWORKS] == [False, True]
    text = out.read_text()
    assert text in result.stdout
    assert re.search(r'\| `digits-v2` .* \| \*\*-1.00\*\* \|', text)


def test_rows_that_are_there_are_not_measured_again(zoo, tmp_path, monkeypatch):
    root, _ = zoo
    options = dict(model_index=root / 'model-index.yml', out=tmp_path / 'table.md', num_workers=0)
    first = reproduce(['digits-v1'], root / 'data', **options)
    monkeypatch.setattr('mmconvnext.apis.reproduce.measure', lambda *_: pytest.fail('measured again'))
    assert reproduce(['digits-v1'], root / 'data', **options) == first


def test_what_fails_is_told_and_the_rest_is_measured(zoo, tmp_path):
    root, _ = zoo
    text = (root / 'metafile.yml').read_text()
    (tmp_path / 'metafile.yml').write_text(re.sub(r'digits-v1_(\d+)-\w+', r'digits-v1_\1-00000000', text))
    for name in NETWORKS:
        (tmp_path / f'{name}.py').write_text((root / f'{name}.py').read_text())
    (tmp_path / 'model-index.yml').write_text('Import: [metafile.yml]\n')
    out = tmp_path / 'out/table.md'
    with pytest.raises(UserError, match='1 of 2 could not be measured: digits-v1'):
        reproduce(
            ['digits-*'], root / 'data', model_index=tmp_path / 'model-index.yml', out=out, num_workers=0
        )
    assert [row['name'] for row in json.loads(out.with_suffix('.json').read_text())] == ['digits-v2']


@pytest.mark.parametrize(
    ('names', 'data', 'out', 'message'),
    [
        (
            ['convnext_tiny.fcmae'],
            '.',
            't.md',
            "the zoo has no 'convnext_tiny.fcmae' with a published accuracy",
        ),
        (['convnextv2_tiny.fcmae'], '.', 't.md', 'has no published accuracy on ImageNet-1k'),
        (['convnext_atto.d2_in1k'], 'nowhere', 't.md', 'nowhere has no folder val/'),
    ],
)
def test_wrong_requests_say_what_is_expected(names, data, out, message):
    with pytest.raises(UserError, match=message):
        reproduce(names, data, out=out)


def test_published_file_holds_weights_and_their_description_only(zoo):
    root, _ = zoo
    file = next((root / 'served').glob('digits-v1_*.pth'))
    assert re.fullmatch(r'digits-v1_20\d{6}-[0-9a-f]{8}\.pth', file.name)
    content = load_checkpoint(file)
    assert set(content) == {'meta', 'state_dict'}
    assert set(content['meta']) == {'dataset_meta', 'mmconvnext'}
    assert content['meta']['dataset_meta'] == {'classes': tuple('0123456789')}
    assert file.stat().st_size < (root / 'digits-v1/epoch_3.pth').stat().st_size / 2


def test_unfinished_weights_are_not_published(tmp_path):
    torch.save({'state_dict': {'backbone.norm3.weight': torch.ones(3)}}, tmp_path / 'part.pth')
    with pytest.raises(UserError, match='not those of a whole ConvNeXt'):
        publish(tmp_path / 'part.pth', tmp_path / 'new.pth')
    with pytest.raises(UserError, match=r"ends in '.txt'; expected .pth or .safetensors"):
        publish(tmp_path / 'part.pth', tmp_path / 'new.txt')
    assert [file.name for file in tmp_path.iterdir()] == ['part.pth']
