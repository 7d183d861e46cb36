"""A tiny classifier that tests only read, and a server."""

import http.server
import threading

import pytest
import torch

from mmconvnext import ImageClassificationInferencer
from mmconvnext.zoo import get_model
from tests.classifiers import CLASSES, CONFIG
from tests.peers import randomize


@pytest.fixture(autouse=True)
def _no_downloads_of_others(tmp_path, monkeypatch):
    monkeypatch.setenv('MMCONVNEXT_HOME', str(tmp_path / 'cache'))


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Return the paths of a config and a checkpoint of a tiny network with four classes."""
    folder = tmp_path_factory.mktemp('tiny')
    config, checkpoint = folder / 'tiny.py', folder / 'tiny.pth'
    config.write_text(CONFIG)
    torch.manual_seed(0)
    weights = randomize(get_model(config)).state_dict()
    torch.save(dict(state_dict=weights, meta=dict(dataset_meta=dict(classes=CLASSES))), checkpoint)
    return config, checkpoint


@pytest.fixture(scope='module')
def inferencer(files):
    config, checkpoint = files
    return ImageClassificationInferencer(config, checkpoint, device='cpu')


@pytest.fixture
def port():
    """Serve the working directory and return the port."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Quiet) as server:
        threading.Thread(target=server.serve_forever).start()
        yield server.server_port
        server.shutdown()
