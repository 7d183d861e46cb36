"""Random draws are the same in any process, order and run; a resumed run keeps its order and position."""

import pickle
import random
from collections import Counter

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.utils.data import DataLoader, Sampler

from mmconvnext.datasets import Digits
from mmconvnext.datasets.batches import ReplayableBatches
from mmconvnext.datasets.replay import Draw, Draws, Replayed, draws_put_back, mixed, seed_draws
from mmconvnext.errors import UserError

PIPELINE = [
    dict(type='mmpretrain.Resize', scale=(32, 32)),
    dict(type='mmpretrain.RandomCrop', crop_size=32, padding=4),
    dict(type='mmpretrain.Rotate', angle=30, prob=0.5),
    dict(type='mmpretrain.PackInputs'),
]


@pytest.fixture(scope='module')
def digits():
    from mmengine.registry import init_default_scope

    init_default_scope('mmpretrain')
    return Replayed(Digits(split='train', indices=40, pipeline=PIPELINE), seed=3)


def batches(dataset, workers=0, epoch=0, done=0, rank=0, world=1, batch_size=6):
    sampler = DefaultSampler(dataset, shuffle=True, seed=0)
    sampler.rank, sampler.world_size = rank, world
    sampler.num_samples = len(dataset) // world
    ordered = ReplayableBatches(sampler, batch_size)
    ordered.set_position(epoch, done)
    loader = DataLoader(dataset, batch_sampler=ordered, num_workers=workers, collate_fn=list)
    return [[(s['data_samples'].sample_idx, s['inputs']) for s in batch] for batch in loader]


def images_by_sample(loaded):
    return {index: image for batch in loaded for index, image in batch}


@pytest.mark.parametrize(('workers', 'ranks'), [(1, 1), (3, 1), (0, 2), (2, 2)])
def test_augmentation_depends_on_neither_workers_nor_ranks(digits, workers, ranks):
    alone = images_by_sample(batches(digits, epoch=2))
    shared = {}
    for rank in range(ranks):
        shared |= images_by_sample(batches(digits, workers, epoch=2, rank=rank, world=ranks))
    torch.testing.assert_close(shared, alone, rtol=0, atol=0)


def test_augmentation_differs_from_epoch_to_epoch(digits):
    first, second = (images_by_sample(batches(digits, epoch=epoch)) for epoch in (0, 1))
    assert sum(not torch.equal(first[i], second[i]) for i in first) > 30


@pytest.mark.parametrize('workers', [0, 2])
def test_batches_before_the_place_are_not_loaded(digits, workers):
    whole = batches(digits, workers, epoch=1)
    for done in range(len(whole) + 1):
        rest = batches(digits, workers, epoch=1, done=done)
        assert len(rest) == len(whole) - done
        for (_, a), (_, b) in zip(sum(rest, []), sum(whole[done:], []), strict=True):
            assert torch.equal(a, b)


def test_skipped_images_are_not_decoded(digits, monkeypatch):
    loaded = []
    monkeypatch.setattr(Replayed, '_sample', lambda self, index, turn: loaded.append(index))
    dataset = Replayed(digits.dataset, 0)
    sampler = ReplayableBatches(DefaultSampler(dataset, seed=0), 6)
    sampler.set_position(0, 5)
    for _ in DataLoader(dataset, batch_sampler=sampler, collate_fn=list):
        pass
    assert len(loaded) == 40 - 5 * 6


def test_drawing_leaves_the_generators_of_the_process_as_they_were(digits):
    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()

    def seed():
        random.seed(1), np.random.seed(1), torch.manual_seed(1)

    seed()
    expected = draw()
    seed()
    digits[Draw(3, 1)]
    assert draw() == expected


def test_seeds_of_neighbours_have_nothing_in_common():
    draws = []
    with draws_put_back():
        for epoch in range(20):
            for sample in range(50):
                seed_draws(0, epoch, sample)
                draws.append((random.random(), np.random.rand(), torch.rand(1).item()))
    draws = np.array(draws)
    assert len({mixed(0, e, s) for e in range(300) for s in range(300)}) == 300 * 300
    assert np.abs(draws.mean(0) - 0.5).max() < 0.03
    assert np.abs(np.corrcoef(draws[:-1].T, draws[1:].T)[:3, 3:]).max() < 0.1
    assert np.abs(np.corrcoef(draws[:-50].T, draws[50:].T)[:3, 3:]).max() < 0.1


def test_draw_is_an_index_that_survives_pickling():
    draw = pickle.loads(pickle.dumps(Draw(7, 3)))
    assert (draw, draw.turn, [*range(10)][draw]) == (7, 3, 7)


@pytest.mark.parametrize('world', [1, 2, 3])
def test_endless_sampler_shows_every_sample_once_a_turn_over_all_ranks(world):
    seen = Counter()
    for rank in range(world):
        sampler = InfiniteSampler(range(10), shuffle=True, seed=0)
        sampler.rank, sampler.world_size = rank, world
        endless = iter(Draws(sampler))
        seen.update((int(draw), draw.turn) for draw in (next(endless) for _ in range(60 // world)))
    assert seen == Counter((index, turn) for index in range(10) for turn in range(6))


def test_sampler_that_repeats_a_sample_gets_it_augmented_differently(digits):
    class Repeating:
        def __iter__(self):
            return iter([5, 5])

        def __len__(self):
            return 2

    first, second = (digits[draw]['inputs'] for draw in Draws(Repeating()))
    assert not torch.equal(first, second)


def test_an_epoch_has_whole_accumulated_steps():
    assert [len(ReplayableBatches(range(n), 2, multiple=4)) for n in (7, 16, 21)] == [4, 8, 8]
    with pytest.raises(UserError, match='3 batches in each process, fewer than the 4'):
        ReplayableBatches(range(6), 2, multiple=4)
    assert len(list(ReplayableBatches(DefaultSampler(range(21), seed=0), 2, multiple=4))) == 8


def test_batch_samplers_that_ask_for_a_sampler_of_torch_get_one():
    """AspectRatioBatchSampler of mmdet is one of these."""
    assert isinstance(Draws(DefaultSampler(range(4))), Sampler)
