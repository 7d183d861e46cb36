"""The first process decides, and all others receive the result."""

import pytest
import torch.distributed as dist

from mmconvnext.engine.processes import decided_by_first
from mmconvnext.errors import UserError
from tests.processes import CONTEXT

KINDS = {
    'result': [('first', None), ('first', None)],
    'UserError': [('UserError', 'nothing there'), ('UserError', 'nothing there')],
    'KeyError': [('KeyError', "'name'"), ('UserError', "KeyError: 'name'")],
}


def decide(kind, rank, store, outcomes):
    dist.init_process_group('gloo', init_method=f'file://{store}', rank=rank, world_size=2)
    errors = {'UserError': UserError('nothing there'), 'KeyError': KeyError('name')}

    def look():
        if kind in errors:
            raise errors[kind]
        return 'first' if rank == 0 else 'another'

    try:
        outcomes.put((rank, decided_by_first(look), None))
    except Exception as error:
        outcomes.put((rank, type(error).__name__, str(error)))
    dist.destroy_process_group()


@pytest.mark.parametrize('kind', KINDS)
def test_every_process_learns_what_the_first_one_found(tmp_path, kind):
    outcomes = CONTEXT.SimpleQueue()
    processes = [
        CONTEXT.Process(target=decide, args=(kind, rank, tmp_path / 'store', outcomes)) for rank in (0, 1)
    ]
    for process in processes:
        process.start()
    found = sorted(outcomes.get() for _ in processes)
    assert [tuple(outcome) for _, *outcome in found] == KINDS[kind]
    for process in processes:
        process.join()


def test_one_process_decides_for_itself():
    assert decided_by_first(lambda: 3) == 3
    with pytest.raises(KeyError):
        decided_by_first(lambda: {}['name'])
