"""YAML and JSON configs are data: no content of theirs runs code, hangs or fills the memory."""

import json

import pytest

from mmconvnext.apis import load_config
from mmconvnext.config.data import MAX_BYTES, is_registered
from mmconvnext.errors import UserError
from tests.conftest import REPO

DIGITS = REPO / 'configs/digits/convnext-atto_1xb48_digits.py'


def write(folder, name, content):
    file = folder / name
    file.write_text(content)
    return file


@pytest.mark.parametrize(
    'content',
    [
        'model: !!python/object/apply:os.system ["touch ran"]',
        'model: !!python/object/new:os.system ["touch ran"]',
        'model: !!python/name:os.system',
        'model: !!python/module:antigravity',
        'model: &x !!python/tuple [1, 2]',
        'model: {type: os.system, command: "touch ran"}',
        'model: {type: subprocess.check_output, args: [touch, ran]}',
        'model: {type: mmengine.load, file: evil.pkl}',
        'model: {type: mmengine.utils.call_command, cmd: [touch, ran]}',
        'model: {type: builtins.eval}',
        'model: {type: antigravity}',
        'model: {head: [{loss: {type: os.system}}]}',
        'optim_wrapper: {constructor: os.system}',
        'runner_type: os.system',
        'default_scope: evil',
        'model: {_scope_: evil}',
        'custom_imports: {imports: [antigravity]}',
        'model: {trust_remote_code: true}',
        'train_dataloader: {dataset: {type: ImageNet, ann_file: http://evil/list.pkl}}',
    ],
)
@pytest.mark.parametrize('suffix', ['.yaml', '.yml', '.json'])
def test_no_content_leads_to_code(content, suffix, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, 'evil.py', 'open("ran", "w")')
    monkeypatch.syspath_prepend(tmp_path)
    if suffix == '.json':
        if '!!' in content:
            pytest.skip('JSON has no tags')
        import yaml

        content = json.dumps(yaml.safe_load(content))
    with pytest.raises(UserError):
        load_config(write(tmp_path, f'config{suffix}', content))
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        (
            'bomb.yaml',
            'a0: &a0 [x, x]\n'
            + ''.join(f'a{i}: &a{i} [{", ".join([f"*a{i - 1}"] * 9)}]\n' for i in range(1, 20)),
            'aliases',
        ),
        ('cycle.yaml', 'model: &m {head: *m}', 'leads back to itself'),
        ('deep.yaml', f'model: {"[" * 200_000}', 'line 1'),
        ('deep.json', f'{{"model": {"[" * 200_000}{"]" * 200_000}}}', 'nested deeper'),
        ('big.json', f'{{"x": "{"a" * MAX_BYTES}"}}', 'larger than'),
        ('digits.json', f'{{"x": {"9" * 5000}}}', 'digits'),
        ('line.yaml', 'model:\n  type: x\n bad: [', 'line 3'),
        ('line.json', '{\n"model": {"type": 1,}}', 'line 2'),
        ('twice.yaml', 'model: {}\ntrain_cfg: {}\nmodel: {}', "'model' is given twice"),
        ('twice.json', '{"model": {"a": 1, "a": 2}}', "'a' is given twice"),
        ('list.json', '[1]', 'holds a list'),
        ('empty.yaml', '', 'holds nothing'),
        ('date.yaml', 'x: 2020-01-01', 'is a date'),
        ('bytes.yaml', 'x: !!binary aGVsbG8=', 'is a bytes'),
        ('key.yaml', '1.5: x', 'key 1.5'),
        ('template.yaml', 'x: "{{ fileDirname }}"', 'templates'),
        ('name.json', '{"text": "x"}', 'keeps for itself'),
    ],
)
def test_odd_content_is_refused_by_name(name, content, message, tmp_path):
    with pytest.raises(UserError, match=message) as error:
        load_config(write(tmp_path, name, content))
    assert name in str(error.value)


def test_data_config_builds_on_data_and_on_configs_of_this_package(tmp_path):
    write(tmp_path, 'base.yaml', f'_base_: {DIGITS}\nmodel: {{backbone: {{drop_path_rate: 0.3}}}}')
    file = write(tmp_path, 'leaf.json', '{"_base_": ["base.yaml"], "train_cfg": {"max_epochs": 3}}')
    cfg = load_config(file)
    assert (cfg.model.backbone.drop_path_rate, cfg.train_cfg.max_epochs) == (0.3, 3)
    assert cfg.model.backbone.type == 'mmconvnext.ConvNeXt'
    deleting = write(tmp_path, 'new.yaml', '_base_: base.yaml\ntrain_cfg: {_delete_: true, max_epochs: 4}')
    assert dict(load_config(deleting).train_cfg) == dict(max_epochs=4)


def test_data_config_does_not_build_on_code(tmp_path):
    write(tmp_path, 'code.py', f'open({str(tmp_path / "ran")!r}, "w")')
    for base in ('code.py', 'mmpretrain::resnet/resnet18_8xb32_in1k.py'):
        with pytest.raises(UserError, match='which is code'):
            load_config(write(tmp_path, 'leaf.yaml', f'_base_: {base}'))
    assert not (tmp_path / 'ran').exists()


def test_anchors_of_yaml_are_usual(tmp_path):
    file = write(tmp_path, 'config.yaml', 'a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: *a')
    assert load_config(file).b == dict(x=1, y=2)


@pytest.mark.parametrize(
    'name',
    ['ImageClassifier', 'mmpretrain.ResNet', 'mmconvnext.ConvNeXt', 'AdamW', 'mmengine.DefaultSampler', 'BN'],
)
def test_types_of_every_library_are_known(name):
    assert is_registered(name)


def test_whole_config_written_as_json_loads_as_the_same(tmp_path):
    cfg = load_config(DIGITS)
    file = tmp_path / 'config.json'
    file.write_text(json.dumps(cfg.to_dict()))
    assert load_config(file).to_dict() == json.loads(file.read_text())
