import pytest
import torch

from mmconvnext.checkpoints import check_fit, weights_of
from mmconvnext.errors import UserError
from tests.peers import Ours

SMALL = dict(depths=(1, 1, 1, 1), channels=(8, 16, 24, 32))
WIDER = dict(depths=(1, 1, 1, 1), channels=(8, 16, 24, 40))
DEEPER = dict(depths=(1, 1, 2, 1), channels=(8, 16, 24, 32))


def test_weights_come_out_of_every_wrapping():
    weight = torch.ones(1)
    for checkpoint in (
        {'fc': weight},
        {'state_dict': {'fc': weight}, 'meta': {}},
        {'model': {'module.fc': weight}, 'epoch': 3},
    ):
        assert weights_of(checkpoint) == {'fc': weight}
    with pytest.raises(UserError, match='holds no weights'):
        weights_of({'meta': {}})


def test_fitting_weights_pass_also_against_a_model_without_memory():
    with torch.device('meta'):
        model = Ours(arch=SMALL)
    check_fit(Ours(arch=SMALL).state_dict(), model, 'x.pth')


@pytest.mark.parametrize(
    ('arch', 'message'),
    [
        (
            WIDER,
            r'of another shape \(backbone.downsample_layers.3.1.weight: checkpoint \(40, 24, 2, 2\)',
        ),
        (DEEPER, r'unexpected \(backbone.stages.2.1'),
    ],
)
@pytest.mark.parametrize('new_head', [False, True])
def test_other_arch_is_an_error_that_lists_what_differs(arch, message, new_head):
    with pytest.raises(UserError, match=message):
        check_fit(Ours(arch=arch).state_dict(), Ours(arch=SMALL), 'x.pth', new_head=new_head)


def test_new_head_may_differ_in_classes_only_when_asked():
    weights = Ours(arch=SMALL).state_dict()
    weights['head.fc.weight'], weights['head.fc.bias'] = torch.ones(7, 32), torch.ones(7)
    check_fit(weights, Ours(arch=SMALL), 'x.pth', new_head=True)
    with pytest.raises(UserError, match='head.fc.weight'):
        check_fit(weights, Ours(arch=SMALL), 'x.pth')
