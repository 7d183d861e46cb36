"""Parameter groups and their errors; tests/test_recipes.py checks the rates for every config."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper

from mmconvnext.apis import load_config
from mmconvnext.training.model import build_on_meta


def test_frozen_stages_get_no_group():
    cfg = load_config('convnext-v2-atto_32xb32_in1k', {'model.backbone.frozen_stages': 1})
    model = build_on_meta(cfg)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    grouped = sum(p.numel() for group in optimizer.param_groups for p in group['params'])
    assert grouped == sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_misspelt_option_is_an_error():
    cfg = load_config('convnext-v2-atto_32xb32_in1k')
    cfg.optim_wrapper.paramwise_cfg = dict(layer_decay_rate=0.9, scheme='single')
    with pytest.raises(ValueError, match='layer_decay_scheme'):
        build_optim_wrapper(torch.nn.Linear(1, 1), cfg.optim_wrapper)
