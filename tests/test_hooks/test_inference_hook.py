"""Tests run with the network optimized for inference."""

import mmengine
import pytest
import torch

from mmconvnext.apis import evaluate, train
from mmconvnext.errors import UserError
from mmconvnext.models.block import ConvNeXtBlock


@pytest.mark.parametrize('average', [False, True])
def test_scores_are_those_of_the_plain_network_and_it_is_not_used(
    tiny_config, tmp_path, average, monkeypatch
):
    hooks = [dict(type='mmconvnext.EMAHook', momentum=0.5)] if average else []
    options = {'train_cfg.max_epochs': 1, 'custom_hooks': hooks}
    train(tiny_config, work_dir=str(tmp_path / 'w'), cfg_options=options)

    def scores(optimize):
        out = tmp_path / f'{optimize}.pkl'
        evaluate(
            tiny_config,
            tmp_path / 'w/epoch_1.pth',
            work_dir=str(tmp_path / 't'),
            out=str(out),
            optimize=optimize,
            cfg_options={'custom_hooks': hooks},
        )
        return torch.stack([sample['pred_score'] for sample in mmengine.load(out)])

    plain = scores(None)

    def used(*_):
        raise AssertionError('the plain block computes')

    monkeypatch.setattr(ConvNeXtBlock, 'forward', used)
    torch.testing.assert_close(scores('fp32'), plain, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(scores('bf16'), plain, rtol=0, atol=0.02)


def test_mixed_precision_is_refused_beside_it(tiny_config, tmp_path):
    with pytest.raises(UserError, match='leave --amp out'):
        evaluate(tiny_config, tmp_path / 'none.pth', amp=True, optimize='bf16')
