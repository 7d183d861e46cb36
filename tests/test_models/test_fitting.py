import pytest
import torch

from mmconvnext.checkpoints.reading import weights_of
from mmconvnext.errors import UserError
from mmconvnext.models.fitting import check_fit
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


RAW, EMA = dict(fc=torch.zeros(1)), dict(fc=torch.ones(1))
OF_MMENGINE = dict(state_dict=EMA, ema_state_dict={'module.fc': RAW['fc'], 'steps': torch.tensor(3)})
OF_TIMM = dict(state_dict=RAW, state_dict_ema=EMA, epoch=3)
OF_THE_OFFICIAL_CODE = dict(model=RAW, model_ema=EMA, args=None)


@pytest.mark.parametrize('checkpoint', [OF_MMENGINE, OF_TIMM, OF_THE_OFFICIAL_CODE])
def test_weights_and_their_average_are_told_apart(checkpoint):
    assert weights_of(checkpoint, 'raw') == RAW
    assert weights_of(checkpoint, 'ema') == EMA


@pytest.mark.parametrize(
    ('checkpoint', 'has'),
    [(dict(state_dict=RAW), 'under state_dict,'), (dict(model=RAW), 'under model,'), (RAW, 'one set')],
)
@pytest.mark.parametrize('which', ['raw', 'ema'])
def test_asking_one_set_of_weights_for_another_is_an_error(checkpoint, has, which):
    with pytest.raises(UserError, match=f'--weights {which}: .*{has}'):
        weights_of(checkpoint, which)


@pytest.mark.parametrize(
    'name',
    ['_orig_mod.head.fc', 'module._orig_mod.head.fc', '_orig_mod.module.head.fc', 'head._orig_mod.fc'],
)
def test_names_of_compiled_models_are_those_of_the_model(name):
    assert weights_of({'model': {name: RAW['fc']}}) == {'head.fc': RAW['fc']}
