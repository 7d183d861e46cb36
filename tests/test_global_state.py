"""What a process has once for all its code is after any import and any call what it was before."""

import ast
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from urllib.error import URLError
from urllib.request import urlopen

import cv2
import numpy as np
import pytest
import torch
import yaml
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.registry import HOOKS
from mmengine.runner import CheckpointLoader
from PIL import Image

import mmconvnext
import mmconvnext.apis
from mmconvnext.apis.browse import browse_dataset
from mmconvnext.apis.convert import convert
from mmconvnext.apis.explain import explain
from mmconvnext.apis.infer import infer
from mmconvnext.apis.linear_probe import linear_probe
from mmconvnext.apis.plot_predictions import plot_predictions
from mmconvnext.apis.publish import publish
from mmconvnext.apis.reconstruct import reconstruct
from mmconvnext.apis.reproduce import reproduce
from mmconvnext.datasets.shard_writing import make_shards
from mmconvnext.datasets.synthetic import Synthetic
from mmconvnext.errors import UserError
from mmconvnext.export import export
from mmconvnext.images.preprocessing import Preprocessing
from mmconvnext.images.reader import ImageReader
from mmconvnext.reports.runs import plot_runs
from mmconvnext.zoo.names import load_weights
from tests.conftest import REPO, write_tiny_config, write_tiny_pretraining
from tests.global_state import changes, snapshot
from tests.pages import save_checkpoint
from tests.processes import free_port

# A network's first weights are drawn, even if those of a file take their place, and mmengine's Runner seeds.
DRAWS = ('random', 'torch: random', 'numpy: random')


@contextmanager
def unchanged(*, drawing=False):
    before = snapshot()
    try:
        yield
    finally:
        found = [line for line in changes(before, snapshot()) if not (drawing and line.startswith(DRAWS))]
    assert not found, '\n' + '\n'.join(found)


class Files:
    """Inputs of the calls; each is made once."""

    def __init__(self, folder):
        self.folder = folder
        self.config = write_tiny_config(folder)
        self.weights = save_checkpoint(folder / 'weights.pth')
        self.image = folder / 'image.png'
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)).save(self.image)
        self.broken = folder / 'broken.png'
        self.broken.write_bytes(self.image.read_bytes()[:100])
        for i in range(72):
            place = folder / f'images/val/{i % 12}/{i}.png'
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(self.image.read_bytes())
        self.run = folder / 'run'
        mmconvnext.apis.train(self.config, work_dir=str(self.run), cfg_options={'train_cfg.max_epochs': 1})
        self.checkpoint = self.run / 'epoch_1.pth'
        self.pretraining = write_tiny_pretraining(folder)
        self.pretrained = folder / 'pretrained.pth'
        model = mmconvnext.get_model(self.pretraining)
        torch.save(dict(state_dict=model.state_dict()), self.pretrained)


@pytest.fixture(autouse=True)
def of_a_user(monkeypatch):
    """Settings that a program may have and mmengine's Runner has otherwise."""
    threads, method = cv2.getNumThreads(), multiprocessing.get_start_method(allow_none=True)
    cv2.setNumThreads(2)
    multiprocessing.set_start_method(None, force=True)
    torch.use_deterministic_algorithms(True, warn_only=True)
    MMLogger.get_current_instance()  # which mmengine makes for its first message
    yield
    cv2.setNumThreads(threads)
    multiprocessing.set_start_method(method, force=True)
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    return Files(tmp_path_factory.mktemp('files'))


def train(files, **options):
    mmconvnext.apis.train(files.config, work_dir='work', **options)


@HOOKS.register_module()
class HookThatRaises(Hook):
    def after_train_iter(self, *_, **__):
        raise UserError('in the middle')


@HOOKS.register_module()
class HookThatInterrupts(Hook):
    def after_train_iter(self, *_, **__):
        signal.raise_signal(signal.SIGINT)


@HOOKS.register_module()
class HookThatTerminates(Hook):
    def after_train_iter(self, *_, **__):
        signal.raise_signal(signal.SIGTERM)


def train_with(files, hook):
    train(files, rehearsal=False, cfg_options={'custom_hooks': [dict(type=hook.__name__)]})


def resume(files):
    mmconvnext.apis.train(files.config, work_dir='work', resume=str(files.checkpoint))


def build_and_use_a_runner(files):
    cfg = mmconvnext.apis.load_config(files.config, {'load_from': str(files.checkpoint)})
    cfg.work_dir = 'work'
    runner = mmconvnext.apis.build_runner(cfg, ('test_dataloader',))
    with unchanged(drawing=True):
        assert 'accuracy/top1' in runner.test()


def start_from_pretrained(files):
    """A config whose backbone reads its weights while mmengine initialises it."""
    pretrained = dict(type='Pretrained', checkpoint=str(files.checkpoint), prefix='backbone.')
    train(files, cfg_options={'model.backbone.init_cfg': pretrained})


def outputs(files):
    model = mmconvnext.get_model(files.weights).eval()
    mmconvnext.outputs_of(model, torch.zeros(1, 3, 32, 32))


def classify(files):
    inferencer = mmconvnext.ImageClassificationInferencer(files.weights)
    with unchanged():
        inferencer([files.image, files.broken], show_dir='shown')


def classify_in_threads(files):
    inferencer = mmconvnext.ImageClassificationInferencer(files.weights)
    threads = [threading.Thread(target=inferencer, args=[[str(files.image)] * 3]) for _ in range(4)]
    threads += [threading.Thread(target=mmconvnext.get_model, args=[files.weights]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def load_by_mmengine(files):
    with mmconvnext.safe_loading():
        CheckpointLoader.load_checkpoint(str(files.weights))


def export_int8(files):
    export(files.weights, format='openvino', out='out.xml', int8=True, images=files.folder / 'images/val')


def serve(files):
    """Open the page, ask for it, and end it as Ctrl+C does."""
    from mmconvnext.page import app

    app.MAX_ENDING_SECONDS = 600  # it ends the process where a busy machine takes longer
    port = free_port()

    def ask_and_interrupt():
        for _ in range(600):
            with suppress(URLError):
                urlopen(f'http://127.0.0.1:{port}').read()
                break
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=ask_and_interrupt).start()
    app.serve([str(files.weights)], port=port, device='cpu')


def measure_again(files):
    (files.folder / 'metafile.yml').write_text(
        yaml.safe_dump(
            {
                'Models': [
                    {
                        'Name': 'tiny',
                        'In Collection': 'Digits',
                        'Config': files.config.name,
                        'Weights': str(files.weights),
                        'Format': 'openmmlab',
                        'Metadata': dict(
                            Task='Image Classification', Classes=2, Resolution=32, Parameters=1, FLOPs=1
                        ),
                        'Results': [
                            dict(
                                Task='Image Classification',
                                Dataset='Digits',
                                Metrics={'Top 1 Accuracy': 50.0},
                            )
                        ],
                    }
                ]
            }
        )
    )
    index = files.folder / 'model-index.yml'
    index.write_text('Import: [metafile.yml]\n')
    reproduce(
        ['tiny'], files.folder / 'images', out='table.md', model_index=index, num_workers=0, batch_size=2
    )


# A line for each public function and what is done with it; more than one where ways differ.
CALLS = {
    'keep_freed_memory': lambda files: mmconvnext.memory.keep_freed_memory(),
    'list_models': lambda files: mmconvnext.list_models(),
    'get_entry': lambda files: mmconvnext.get_entry('convnext_atto.d2_in1k').network,
    'get_model of a name': lambda files: mmconvnext.get_model('convnext_atto.d2_in1k'),
    'get_model of weights': lambda files: mmconvnext.get_model(files.weights),
    'outputs_of': outputs,
    'ImageClassificationInferencer': classify,
    'ImageClassificationInferencer in threads': classify_in_threads,
    'safe_loading': load_by_mmengine,
    'load_config': lambda files: mmconvnext.apis.load_config(files.config),
    'load_weights': lambda files: load_weights(files.checkpoint),
    'Preprocessing': lambda files: Preprocessing()(Image.open(files.image)),
    'ImageReader of any size': lambda files: ImageReader(max_pixels=10**9).from_bytes(
        files.image.read_bytes()
    ),
    'Synthetic': lambda files: Synthetic(num_classes=2, num_samples=2, pipeline=[])[0],
    'make_smoke_test': lambda files: mmconvnext.apis.make_smoke_test(
        mmconvnext.apis.load_config(files.config)
    ),
    'build_runner': build_and_use_a_runner,
    'train': train,
    'train without rehearsal': lambda files: train(files, rehearsal=False),
    'train from init_cfg': start_from_pretrained,
    'train on noise': lambda files: train(files, smoke=True),
    'train and record': lambda files: train(files, log=['tensorboard']),
    'train and resume': resume,
    'evaluate': lambda files: mmconvnext.apis.evaluate(
        files.config, files.checkpoint, work_dir='work', show_dir='shown', report='report.html'
    ),
    'infer': lambda files: infer([str(files.image)], model=files.weights, out='out.json', out_dir='shown'),
    'convert': lambda files: convert(files.checkpoint, 'timm.safetensors', target_format='timm'),
    'publish': lambda files: publish(files.checkpoint, 'tiny.pth'),
    'explain': lambda files: explain([str(files.image)], model=files.weights, out='out.png'),
    'browse_dataset': lambda files: browse_dataset(files.config, 'out.html'),
    'reconstruct': lambda files: reconstruct(
        [str(files.image)], files.pretraining, files.pretrained, out='out.png'
    ),
    'linear_probe': lambda files: linear_probe(files.config, checkpoint=files.checkpoint),
    'plot_predictions': lambda files: plot_predictions(files.config, files.checkpoint, 'out.png', count=4),
    'plot_runs': lambda files: plot_runs([files.run], 'out.png'),
    'make_shards': lambda files: make_shards(files.folder / 'images/val', 'shards', workers=2),
    'reproduce': measure_again,
    'export for ONNX Runtime': lambda files: export(files.weights, format='onnx', out='out.onnx'),
    'export for OpenVINO in int8': export_int8,
    'serve': serve,
}
WITHOUT_NETWORK = {
    *('keep_freed_memory', 'list_models', 'get_entry', 'load_config', 'load_weights', 'Preprocessing'),
    *('ImageReader of any size', 'Synthetic', 'make_smoke_test', 'convert', 'publish', 'browse_dataset'),
    *('plot_runs', 'make_shards'),
}
NEEDED = {
    'export for ONNX Runtime': ('onnxruntime', 'onnxscript'),
    'export for OpenVINO in int8': ('onnxscript', 'openvino', 'nncf'),
    'serve': ('gradio',),
}
ERRORS = {
    'get_model': lambda files: mmconvnext.get_model('resnet50'),
    'get_model with other weights': lambda files: mmconvnext.get_model(
        'convnext_tiny.fb_in1k', pretrained=files.weights
    ),
    'DenseInferencer': lambda files: mmconvnext.DenseInferencer(files.weights),
    'ImageClassificationInferencer': lambda files: mmconvnext.ImageClassificationInferencer(files.config),
    'load_config': lambda files: mmconvnext.apis.load_config(files.config, {'model.head.nothing': 1}),
    'train before it begins': lambda files: train(files, cfg_options={'model.head.in_channels': 3}),
    'train in its rehearsal': lambda files: train(
        files, cfg_options={'custom_hooks': [dict(type='EMAHook', momentum=3)]}
    ),
    'train in the middle': lambda files: train_with(files, HookThatRaises),
    'train until SIGINT': lambda files: train_with(files, HookThatInterrupts),
    'train until SIGTERM': lambda files: train_with(files, HookThatTerminates),
    'evaluate': lambda files: mmconvnext.apis.evaluate(files.config, files.weights, work_dir='work'),
    'infer': lambda files: infer([str(files.broken)], model=files.weights),
    'explain': lambda files: explain([str(files.broken)], model=files.weights, out='out.png'),
    'convert': lambda files: convert(files.image, 'out.pth'),
    'export': lambda files: export(files.weights, format='onnx', out='out.xml'),
}


@pytest.mark.parametrize('call', CALLS)
def test_call_leaves_the_process_as_it_was(call, files, tmp_path, monkeypatch):
    for library in NEEDED.get(call, ()):
        pytest.importorskip(library)
    monkeypatch.chdir(tmp_path)
    with unchanged(drawing=call not in WITHOUT_NETWORK):
        CALLS[call](files)


@pytest.mark.parametrize('call', ERRORS)
def test_call_that_ends_in_an_error_leaves_it_too(call, files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with unchanged(drawing=True), pytest.raises((UserError, KeyboardInterrupt, SystemExit)):
        ERRORS[call](files)


def test_every_public_function_is_called():
    tools = ''.join(file.read_text() for file in (REPO / 'tools').glob('*.py'))
    named = re.findall(r"run_tool\('.+:(\w+)'", tools)
    named += re.findall(r'autofunction:: (?:\w+\.)*(\w+)', (REPO / 'docs/api.md').read_text())
    named += mmconvnext.__all__ + mmconvnext.apis.__all__
    called = {call.split()[0] for call in CALLS} | {'__version__', 'DenseInferencer'}  # see test_downstream
    assert set(named) <= called


ROOMS = sorted(f'mmconvnext.{file.parent.name}' for file in (REPO / 'mmconvnext').glob('*/__init__.py'))
IMPORTS = """
import importlib, json, sys
from contextlib import suppress
from tests.global_state import changes, snapshot
libraries, rooms = map(json.loads, sys.argv[1:])
for name in libraries:
    with suppress(ModuleNotFoundError):  # of an optional one
        importlib.import_module(name)
before, found = snapshot(), []
for room in ['mmconvnext', *rooms]:
    importlib.import_module(room)
    found += [f'{room}: {line}' for line in changes(before, snapshot())]
print(json.dumps(found))
"""


def imported_libraries():
    """Modules of others that a module of ours imports when it is imported."""
    found = set()
    for file in (REPO / 'mmconvnext').rglob('*.py'):
        if '.mim' in file.parts:
            continue
        left = [ast.parse(file.read_text())]
        while left:
            node = left.pop()
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module)
            elif not isinstance(node, ast.FunctionDef):
                left += ast.iter_child_nodes(node)
    return sorted(found)


def test_import_changes_nothing_but_registries():
    """In comparison with a process that has imported the same libraries."""
    arguments = map(json.dumps, (imported_libraries(), ROOMS))
    done = subprocess.run(
        [sys.executable, '-c', IMPORTS, *arguments], cwd=REPO, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    # mmengine's table of schemes is a registry: ours has a prefix of its own there.
    assert [line for line in found if ': mmconvnext:// is <function load_from_mmconvnext' not in line] == []
