import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import init_default_scope
from mmpretrain.models.heads import LinearClsHead as MMPretrainLinearClsHead
from mmpretrain.structures import DataSample

from mmconvnext.models import LinearClsHead


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmpretrain')


def samples(labels):
    return [DataSample().set_gt_label(label) for label in labels]


def test_loss_and_predictions_are_those_of_mmpretrain():
    ours, theirs = LinearClsHead(5, 8), MMPretrainLinearClsHead(5, 8)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    feats = (torch.randn(3, 4), torch.randn(3, 8))
    torch.testing.assert_close(ours.loss(feats, samples([0, 4, 2])), theirs.loss(feats, samples([0, 4, 2])))
    for a, b in zip(ours.predict(feats), theirs.predict(feats), strict=True):
        torch.testing.assert_close(a.pred_score, b.pred_score)
        assert a.pred_label == b.pred_label
        assert a.pred_score.sum().item() == pytest.approx(1, abs=1e-6)


def test_head_init_scale_shrinks_a_fresh_head_once():
    plain, scaled = LinearClsHead(5, 8), LinearClsHead(5, 8, head_init_scale=0.001)
    for head in (plain, scaled):
        torch.manual_seed(1)
        head.init_weights()
    torch.testing.assert_close(scaled.fc.weight, plain.fc.weight * 0.001)
    before = scaled.fc.weight.clone()
    scaled.init_weights()
    torch.testing.assert_close(scaled.fc.weight, before)


@pytest.mark.parametrize('as_list', [False, True])
def test_head_init_scale_leaves_loaded_weights(tmp_path, as_list):
    trained = LinearClsHead(5, 8)
    torch.save(trained.state_dict(), tmp_path / 'head.pth')
    pretrained = dict(type='Pretrained', checkpoint=str(tmp_path / 'head.pth'))
    init_cfg = [pretrained] if as_list else pretrained
    head = LinearClsHead(5, 8, head_init_scale=0.001, init_cfg=init_cfg)
    head.init_weights()
    torch.testing.assert_close(head.fc.weight, trained.fc.weight)


def test_dropout_acts_in_training_only():
    head = LinearClsHead(5, 1000, dropout_rate=0.5)
    feats = (torch.ones(1, 1000),)
    assert not torch.equal(head(feats), head(feats))
    head.eval()
    torch.testing.assert_close(head(feats), head.fc(feats[0]))


@pytest.mark.parametrize('target', ['gt_score', 'gt_label'])
def test_one_output_is_regression_with_mean_squared_error(target):
    head = LinearClsHead(1, 8)
    feats = (torch.randn(3, 8),)
    values = [1.0, -2.5, 4.0] if target == 'gt_score' else [1, 2, 4]
    data_samples = [
        DataSample().set_gt_score(torch.tensor([v])) if target == 'gt_score' else DataSample().set_gt_label(v)
        for v in values
    ]
    loss = head.loss(feats, data_samples)['loss']
    torch.testing.assert_close(loss, F.mse_loss(head(feats)[:, 0], torch.tensor(values, dtype=torch.float)))
    predicted = torch.cat([s.pred_score for s in head.predict(feats, data_samples)])
    torch.testing.assert_close(predicted, head(feats)[:, 0])


def test_one_output_with_a_loss_of_its_own_stays_a_classifier():
    head = LinearClsHead(1, 8, loss=dict(type='CrossEntropyLoss'))
    assert head.predict((torch.randn(2, 8),))[0].pred_label == 0


def test_regression_has_no_accuracy():
    with pytest.raises(ValueError, match='cal_acc'):
        LinearClsHead(1, 8, cal_acc=True)
