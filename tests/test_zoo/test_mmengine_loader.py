"""With one call, a program that builds mmengine's Runner uses our loading, and never random weights."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import CheckpointLoader, Runner
from safetensors.torch import save_file

import mmconvnext
from mmconvnext.apis import load_config
from mmconvnext.apis.convert import convert
from mmconvnext.errors import UserError
from mmconvnext.registry import MODELS
from mmconvnext.zoo.names import load_weights


@pytest.fixture
def own_loading():
    with mmconvnext.safe_loading():
        yield


@pytest.fixture
def cfg(tiny_config, tmp_path):
    cfg = load_config(tiny_config)
    cfg.work_dir, cfg.launcher = str(tmp_path / 'work'), 'none'
    cfg.experiment_name = tmp_path.name  # mmengine's own Runners share what has one name
    return Config(cfg.to_dict())


def test_a_loader_that_is_registered_inside_stays(monkeypatch):
    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))
    before = dict(CheckpointLoader._schemes)

    def own_loader(filename, map_location=None):
        raise NotImplementedError

    with mmconvnext.safe_loading():
        CheckpointLoader.register_scheme('own://', own_loader)
    assert CheckpointLoader._schemes == before | {'own://': own_loader}


def network(cfg, **backbone):
    init_default_scope('mmpretrain')
    return MODELS.build({**cfg.model, 'backbone': {**cfg.model.backbone, **backbone}})


def loaded_by_runner(cfg, file):
    cfg.load_from = str(file)
    runner = Runner.from_cfg(cfg)
    runner.load_or_resume()
    return runner.model.state_dict()


def test_runner_of_mmengine_loads_weights_of_another_library(own_loading, cfg, tmp_path):
    weights = network(cfg).state_dict()
    torch.save(dict(state_dict=weights), tmp_path / 'ours.pth')
    convert(tmp_path / 'ours.pth', tmp_path / 'timm.safetensors', target_format='timm')
    loaded = loaded_by_runner(cfg, tmp_path / 'timm.safetensors')
    for name, weight in load_weights(tmp_path / 'ours.pth').tensors.items():
        torch.testing.assert_close(loaded[name], weight, rtol=0, atol=0)


@pytest.mark.parametrize('kind', ['another size', 'another model', 'a part'])
def test_weights_that_do_not_fit_are_an_error_not_random_weights(kind, own_loading, cfg, tmp_path):
    arch = dict(depths=(1, 1, 1, 1), channels=(8, 16, 24, 40))
    weights = network(cfg, arch=arch).state_dict() if kind == 'another size' else network(cfg).state_dict()
    if kind == 'another model':
        weights = torch.nn.TransformerEncoderLayer(8, 2).state_dict()
    elif kind == 'a part':
        weights = {name: weight for name, weight in weights.items() if 'stages.3' not in name}
    file = tmp_path / 'weights.safetensors'
    save_file({name: weight.contiguous() for name, weight in weights.items()}, file)
    with pytest.raises(UserError):
        loaded_by_runner(cfg, file)


def test_missing_file_is_an_error_too(own_loading, cfg, tmp_path):
    with pytest.raises(UserError, match='does not exist'):
        loaded_by_runner(cfg, tmp_path / 'nowhere.pth')


def test_new_head_and_a_load_of_ones_own_are_left_alone(own_loading, cfg, tmp_path):
    weights = network(cfg).state_dict()
    torch.save(dict(state_dict=weights), tmp_path / 'ours.pth')
    cfg.model.head.num_classes = 3
    loaded = loaded_by_runner(cfg, tmp_path / 'ours.pth')
    torch.testing.assert_close(loaded['backbone.norm3.weight'], weights['backbone.norm3.weight'])
    model = network(cfg)
    head = {name: torch.ones_like(w) for name, w in model.state_dict().items() if name.startswith('head.')}
    model.load_state_dict(head, strict=False)  # torch's own call, for one module
    assert model.head.fc.weight.eq(1).all()
