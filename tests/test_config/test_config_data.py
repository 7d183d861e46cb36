"""YAML and JSON configs are data: no content runs code, hangs or exhausts memory."""

import json
from functools import reduce
from importlib.util import find_spec
from operator import getitem

import pytest
import yaml
from mmengine.registry import Registry
from mmpretrain.registry import BATCH_AUGMENTS

import mmconvnext.registry
from mmconvnext.apis import load_config
from mmconvnext.config.data import MAX_BYTES, check_values
from mmconvnext.config.data_names import LIBRARIES, OWN_TYPES, check_type
from mmconvnext.config.files import read_config
from mmconvnext.config.loading import find_type
from mmconvnext.errors import UserError
from mmconvnext.paths import CONFIGS
from tests.conftest import REPO

# Each mapping is merged ten times into the next.
MERGES = 'a0: &a0 {x: 1}\n' + ''.join(
    f'a{i}: &a{i} {{<<: [{", ".join([f"*a{i - 1}"] * 10)}], y{i}: 1}}\n' for i in range(1, 12)
)
LEVELS = 'a0: &a0 [1]\n' + ''.join(f'a{i}: &a{i} [*a{i - 1}]\n' for i in range(1, 60))
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
        'train_dataloader: {dataset: {type: MultiLabelDataset, ann_file: evil.yaml}}',
        'train_dataloader: {dataset: {type: MultiLabelDataset, data_root: "", ann_file: yaml}}',
        'train_dataloader: {dataset: {type: CIFAR10, data_root: evil, download: true}}',
        'train_dataloader: {dataset: {type: RefCOCO, split_file: evil.p}}',
        'train_dataloader: {dataset: {type: mmconvnext.Shards, data_root: "pipe:touch ran; cat {}"}}',
        'train_dataloader: {dataset: {type: mmconvnext.Shards, data_root: "https://evil/x"}}',
        'train_dataloader: {dataset: {pipeline: [{type: LoadImageFromFile, backend_args: {backend: http}}]}}',
        'tta_pipeline: [{type: torchvision/ConvertImageDtype, dtype: "float32 if f() else 0"}]',
        'tta_pipeline: [{type: Resize, dtype: "float32 if f() else 0"}]',
        'train_dataloader: {dataset: {pipeline: [{type: Albu, transforms: [{type: system}]}]}}',
        'train_dataloader: {dataset: {metainfo: {classes: "petrel://evil"}}}',
        'default_hooks: {checkpoint: {backend_args: {backend: memcached, sys_path: evil}}}',
        'default_hooks: {checkpoint: {file_client_args: {backend: memcached, sys_path: evil}}}',
        'default_hooks: {logger: {out_dir: /tmp/elsewhere}}',
        'custom_hooks: [{type: SwAVHook, queue_path: evil.pth}]',
        'visualizer: {vis_backends: [{type: WandbVisBackend}]}',
        'visualizer: {vis_backends: [{type: LocalVisBackend, save_dir: /tmp/elsewhere}]}',
        'env_cfg: {dist_cfg: {backend: nccl, init_method: "tcp://evil:1"}}',
        'model: {type: ImageToImageRetriever, prototype: evil.pth}',
        'model: {init_cfg: {type: Pretrained, checkpoint: "s3://evil"}}',
        'load_from: file:///evil.pth',
        'load_from: ftp://evil/evil.pth',
        'model: {type: mmconvnext.get_model, name: x}',
        'model: {type: mmconvnext.apis.convert, source: a, out: b}',
        'model: {type: [os.system]}',
        'model.type: os.system',
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
        ('merges.yaml', MERGES, 'aliases'),
        ('levels.yaml', LEVELS, '50 levels'),
        ('anchor.yaml', 'a: *nothing', 'nothing is called &nothing'),
        ('merge.yaml', 'a: {<<: 3}', '<< is given no mapping'),
        ('two.yaml', 'a: 1\n---\nb: 2', 'line 2: a second document'),
        ('many.json', f'{{"a": [{"0," * 150_000}0]}}', 'more than 100,000 values'),
        ('many.yaml', f'a: [{"0," * 150_000}]', 'more than 100,000 values'),
        ('keys.yaml', ''.join(f'k{i}: 1\n' for i in range(60_000)) + 'k59999: 1', "'k59999' is given twice"),
        (
            'keys.json',
            '{' + ''.join(f'"k{i}": 1,' for i in range(60_000)) + '"k1": 1}',
            "'k1' is given twice",
        ),
        ('long.yaml', f'classes: [{"x" * 2000}]', 'text of 2,000 characters'),
        ('long.json', f'{{"classes": ["{"x" * 2000}"]}}', 'text of 2,000 characters'),
        ('sixty.yaml', f'a: {"1:" * 200_000}1', 'text of 400,001 characters'),
        ('clock.yaml', 'a: 1:30', "text '1:30'"),
        ('octal.yaml', 'a: 010', "text '010'"),
        ('yes.yaml', 'a: yes', "text 'yes'.*truth as true and false"),
        ('infinite.yaml', 'a: .inf', "text '.inf'"),
        ('infinite.json', '{"a": Infinity}', 'Infinity is not a JSON number'),
        ('nan.json', '{"a": NaN}', 'NaN is not a JSON number'),
        ('large.json', '{"a": 1e999}', 'a is a number beyond'),
        ('large.yaml', f'a: {"9" * 400}', 'a is a number beyond'),
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
        ('date.yaml', 'x: 2020-01-01', "text '2020-01-01'"),
        ('bytes.yaml', 'x: !!binary aGVsbG8=', 'without tags'),
        ('key.yaml', '1.5: x', 'key that is no word'),
        ('key.json', f'{{"{"k" * 1000}": 1}}', 'key that is no word'),
        ('surrogate.json', '{"\\ud800": 1}', r'json: \\ud800 has a key that is no word'),
        ('dots.json', '{"model.type": 3}', 'key that is no word'),
        ('code.json', '{"a": {"b\': print(1), \'c": 1}}', 'key that is no word'),
        ('template.yaml', 'data_root: "{{ fileDirname }}"', 'expected the path'),
        ('misspelt.yaml', 'model: {type: ImageClasifier}', 'did you mean ImageClassifier'),
        ('name.json', '{"text": 1}', 'keeps for itself'),
    ],
)
def test_odd_content_is_refused_by_name(name, content, message, tmp_path):
    with pytest.raises(UserError, match=message) as error:
        load_config(write(tmp_path, name, content))
    assert name in str(error.value)


@pytest.mark.parametrize(
    ('name', 'end'),
    [('os.system', '. Write a'), ('xyzzyplugh', '. Write a'), ('AdamWW', r' AdamW.*\? Write a')],
)
def test_a_message_about_a_type_is_made_of_sentences(name, end):
    with pytest.raises(ValueError, match=f'may name.*{end}'):
        check_type(name)


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


def test_types_that_may_be_named_are_registered():
    """The tables have no misspelt types, and each of ours is in them or deliberately left out."""
    registered = set()
    for registry in vars(mmconvnext.registry).values():
        if isinstance(registry, Registry) and registry.scope == 'mmconvnext':
            registry.import_from_location()
            # Other tests register types of their own.
            types = registry.module_dict.items()
            registered |= {name for name, each in types if each.__module__.startswith('mmconvnext.')}
    assert registered - OWN_TYPES == {'InferenceHook', 'TensorboardBackend', 'WandbBackend'}
    assert registered >= OWN_TYPES
    load_config(DIGITS)
    installed = (f'{LIBRARIES[role]} ' for role in LIBRARIES if role not in ('detection', 'segmentation'))
    unknown = {name for name in ''.join(installed).split() if find_type(name, 'mmpretrain') is None}
    assert unknown - set(BATCH_AUGMENTS.module_dict) <= {
        'DeepSpeedOptimWrapper',
        'DeepSpeedStrategy',
    }  # which need the package


def places(value, path=()):
    """Yield the path of every item in the content of a config."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        yield from places(each, (*path, key))


HOSTILE = [
    'pipe:touch ran',
    '__import__("os").system("touch ran")',
    '{{ fileDirname }}',
    '{{$HOME:x}}',
    'ftp://evil/x',
    'memcached:x y',
    dict(backend='memcached', server_list_cfg='a', client_cfg='b', sys_path='evil'),
    dict(type='os.system', command='touch ran'),
    dict(type='mmconvnext.apis.train'),
]


def test_no_place_of_a_config_takes_hostile_text():
    content = json.loads(json.dumps(load_config(DIGITS).to_dict()))
    check_values(content, DIGITS, ())
    for path in places(content):
        for hostile in HOSTILE if path else ():
            if path[-1] in ('checkpoint', 'load_from') and 'import' in hostile:
                continue  # any file name is allowed
            changed = json.loads(json.dumps(content))
            inside = reduce(getitem, path[:-1], changed)
            inside[path[-1]] = hostile
            with pytest.raises(UserError):
                check_values(changed, DIGITS, ())


@pytest.mark.parametrize('file', sorted(CONFIGS.glob('[!_]*/*.py')), ids=lambda file: file.stem)
def test_every_recipe_can_be_written_as_data(file, tmp_path):
    if file.parent.name == 'detection' and find_spec('mmdet') is None:
        pytest.skip('needs mmdet')
    content = json.loads(json.dumps(read_config(file).to_dict()))
    for suffix, text in (('.json', json.dumps(content)), ('.yaml', yaml.safe_dump(content))):
        written = write(tmp_path, f'config{suffix}', text)
        assert read_config(written).to_dict() == content


def test_numbers_of_yaml_are_those_of_json(tmp_path):
    numbers = ['0', '-1', '12', '0.5', '1e-3', '-1.5E+2', '1.0e-05', 'true', 'false', 'null', '~', '']
    file = write(tmp_path, 'config.yaml', f"a: [{', '.join(numbers[:-1])}]\nb:\nclasses: [\"1\", '0.5', '']")
    assert load_config(file).to_dict() == dict(
        a=[0, -1, 12, 0.5, 1e-3, -150.0, 1e-5, True, False, None, None], b=None, classes=['1', '0.5', '']
    )


@pytest.mark.parametrize('suffix', ['.json', '.yaml', '.py'])
def test_bases_that_lead_on_and_on_are_refused(suffix, tmp_path):
    def chain(length, times):
        for i in range(length):
            bases = json.dumps([f'{i + 1}{suffix}'] * times if i < length - 1 else [])
            text = f'_base_ = {bases}' if suffix == '.py' else f'{{"_base_": {bases}}}'
            write(tmp_path, f'{i}{suffix}', text)
        return tmp_path / f'0{suffix}'

    load_config(chain(8, 1))
    load_config(chain(4, 2))
    for length, times in ((8, 2), (30, 2), (1500, 1), (2, 60)):
        with pytest.raises(UserError, match='more than 10 levels of bases, or more than 50 bases'):
            load_config(chain(length, times))


def test_bases_are_bounded_together(tmp_path):
    for name in ('a', 'b'):
        write(tmp_path, f'{name}.json', json.dumps({name: [0] * 60_000}))
    load_config(tmp_path / 'a.json')
    with pytest.raises(UserError, match='more than 100,000 values in all'):
        load_config(write(tmp_path, 'leaf.json', '{"_base_": ["a.json", "b.json"]}'))


def test_python_config_does_not_reach_code_through_data(tmp_path):
    write(tmp_path, 'code.py', f'open({str(tmp_path / "ran")!r}, "w")')
    write(tmp_path, 'data.yaml', '_base_: code.py')
    with pytest.raises(UserError, match='which is code'):
        load_config(write(tmp_path, 'leaf.py', "_base_ = 'data.yaml'"))
    assert not (tmp_path / 'ran').exists()


def test_whole_config_written_as_json_loads_as_the_same(tmp_path):
    cfg = load_config(DIGITS)
    file = tmp_path / 'config.json'
    file.write_text(json.dumps(cfg.to_dict()))
    assert load_config(file).to_dict() == json.loads(file.read_text())
