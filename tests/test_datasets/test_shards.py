"""Tar shards give the images of the folder: each once, in any number of processes, and after resuming."""

import json
import tarfile
from collections import Counter
from pathlib import Path

import pytest
import torch
from mmengine.registry import TRANSFORMS
from mmpretrain.datasets import CustomDataset
from torch.utils.data import DataLoader

from mmconvnext.datasets import shard_reading, shards
from mmconvnext.datasets.shard_index import open_file
from mmconvnext.datasets.shard_order import split
from mmconvnext.errors import UserError
from tests.servers import Folder, serve
from tests.test_datasets.small_shards import (
    COUNT,
    CROP,
    PACK,
    assert_same,
    batches_of,
    break_images,
    numbers,
    shards_of,
)


@pytest.mark.parametrize('num_workers', [0, 1, 3])
@pytest.mark.parametrize('world_size', [1, 2, 3])
def test_no_sample_comes_twice_and_every_process_takes_as_many_steps(root, world_size, num_workers):
    ranks = [
        batches_of(shards_of(root, rank=rank, world_size=world_size, epoch=1), num_workers)
        for rank in range(world_size)
    ]
    assert [len(batches) for batches in ranks] == [COUNT // world_size // 4] * world_size
    assert all(len(batch) == 4 for batches in ranks for batch in batches)
    given = [number for batches in ranks for number in numbers(batches)]
    assert len(set(given)) == len(given)
    assert set(given) <= set(range(COUNT))
    dataset = shards_of(root, world_size=world_size)
    assert len(DataLoader(dataset, 4)) == len(ranks[0])


@pytest.mark.parametrize('num_workers', [0, 3])
@pytest.mark.parametrize('world_size', [1, 2, 3])
def test_evaluation_gives_every_sample_once(root, world_size, num_workers):
    """Holds after mmengine has interleaved the results of the processes and cut off the padding."""
    ranks = []
    for rank in range(world_size):
        dataset = shards_of(root, rank=rank, world_size=world_size, training=False, shuffle=False)
        ranks.append(numbers(batches_of(dataset, num_workers)))
    assert len({len(given) for given in ranks}) == 1
    gathered = [number for together in zip(*ranks, strict=True) for number in together][: len(dataset)]
    assert sorted(gathered) == list(range(COUNT))


def test_all_splits_into_processes_and_workers_cover_the_data():
    for total in (10, 16, 31):
        for world_size in (1, 2, 3):
            for workers in (1, 2, 5):
                for training in (False, True):
                    check_split(total, world_size, workers, 3, training)
                if total >= world_size * 6:
                    check_split(total, world_size, workers, 3, training=True, multiple=2)


def check_split(total, world_size, workers, batch_size, training, multiple=1):
    places, steps = Counter(), set()
    for rank in range(world_size):
        parts = [
            split(
                total,
                rank=rank,
                world_size=world_size,
                workers=workers,
                worker=worker,
                batch_size=batch_size,
                multiple=multiple,
                training=training,
            )
            for worker in range(workers)
        ]
        for part in parts:
            places.update(range(part.start, part.start + part.samples))
        steps.add(sum(part.slots for part in parts))
    assert max(places.values()) == 1
    assert len(steps) == 1
    if training:
        step = batch_size * multiple
        assert len(places) == world_size * (total // world_size // step * step)
    else:
        assert sorted(places) == list(range(total))


def test_order_differs_between_epochs_and_ranks_shuffle_inside_shards(root):
    first, second = (numbers(batches_of(shards_of(root, epoch=epoch))) for epoch in (0, 1))
    again = numbers(batches_of(shards_of(root, epoch=0)))
    assert first == again != second
    assert first != sorted(first)
    unbuffered = numbers(batches_of(shards_of(root, shuffle_buffer=1)))
    assert first != unbuffered
    plain = numbers(batches_of(shards_of(root, shuffle=False)))
    assert plain == list(range(52))


@pytest.mark.parametrize('num_workers', [0, 1, pytest.param(3, marks=pytest.mark.slow)])
def test_resumed_epoch_goes_on_as_if_uninterrupted(root, num_workers):
    options = dict(epoch=2, batch_size=8)
    whole = batches_of(shards_of(root, **options), num_workers)
    assert len(whole) == 6
    for batches in range(7):
        resumed = batches_of(shards_of(root, batches=batches, **options), num_workers)
        assert_same(resumed, whole[batches:])


def test_resuming_reads_less_and_decodes_nothing_it_skips(root, monkeypatch):
    decoded, opened = [], []

    @TRANSFORMS.register_module(force=True)
    class CountDecoded:
        def __call__(self, results):
            decoded.append(results['sample_idx'])
            return results

    def counting_open(url):
        opened.append(url)
        return open_file(url)

    monkeypatch.setattr(shard_reading, 'open_file', counting_open)
    counted = [dict(type='CountDecoded'), dict(type='LoadImageFromFile'), *CROP]
    expected = numbers(batches_of(shards_of(root, pipeline=counted)))
    assert (decoded, len(opened)) == (expected, 7)
    decoded.clear()
    opened.clear()
    batches_of(shards_of(root, pipeline=counted, batches=10))
    assert decoded == expected[40:]
    assert len(opened) < 5


def test_augmentation_does_not_depend_on_workers_and_processes(root):
    images = {number: image for batch in batches_of(shards_of(root, epoch=3)) for number, image in batch}
    split_up = [
        sample
        for rank in (0, 1)
        for batch in batches_of(shards_of(root, rank=rank, world_size=2, epoch=3), num_workers=2)
        for sample in batch
    ]
    both = [(image, images[number]) for number, image in split_up if number in images]
    assert len(both) > 40
    assert all(torch.equal(*pair) for pair in both)
    others = dict(sample for batch in batches_of(shards_of(root, epoch=4)) for sample in batch)
    assert any(not torch.equal(images[n], others[n]) for n in images.keys() & others.keys())


def test_drawing_in_the_main_process_leaves_its_generators_alone(root):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    list(shards_of(root))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    'load', [{}, dict(color_type='grayscale', imdecode_backend='pillow', to_float32=True)]
)
def test_shards_give_the_tensors_and_labels_of_the_folder(folder, root, load):
    pipeline = [dict(type='LoadImageFromFile', **load), *PACK]
    images = CustomDataset(data_root=str(folder), pipeline=pipeline)
    expected = {Path(images.get_data_info(i)['img_path']).stem: images[i] for i in range(COUNT)}
    dataset = shards_of(root, pipeline=pipeline, training=False, batch_size=1)
    assert dataset.metainfo['classes'] == images.metainfo['classes'] == ('cat', 'dog', 'eel')
    for sample in dataset:
        other = expected.pop(sample['data_samples'].img_path.split('-')[-1])
        assert torch.equal(sample['inputs'], other['inputs'])
        assert sample['inputs'].dtype == other['inputs'].dtype
        assert sample['data_samples'].gt_label == other['data_samples'].gt_label
        assert sample['data_samples'].ori_shape == other['data_samples'].ori_shape
    assert not expected


def test_shards_over_http(root):
    with serve(root) as url:
        assert_same(batches_of(shards_of(url), num_workers=2), batches_of(shards_of(root), num_workers=2))


class Interrupted(Folder):
    """A server that breaks off its first responses for each shard after some bytes."""

    size, times, answered = 0, 0, Counter()

    def copyfile(self, source, outputfile):
        self.answered[self.path] += 1
        cut = self.path.endswith('.tar') and self.answered[self.path] <= self.times
        outputfile.write(source.read(self.size if cut else -1))


@pytest.mark.parametrize('size', [12000, 'between the members of a sample'])
def test_a_connection_that_breaks_off_is_opened_again(root, monkeypatch, size):
    monkeypatch.setattr(shards, 'WAITS', (0, 0))
    if isinstance(size, str):
        with tarfile.open(root / '000003.tar') as tar:
            members = tar.getmembers()
        assert members[6].name.split('.')[0] == members[7].name.split('.')[0]
        size = members[7].offset
    once = type('Once', (Interrupted,), dict(size=size, times=1, answered=Counter()))
    with serve(root, once) as url:
        assert_same(batches_of(shards_of(url)), batches_of(shards_of(root)))
    assert set(once.answered.values()) == {1, 2}
    always = type('Always', (Interrupted,), dict(size=12000, times=10**9, answered=Counter()))
    with (
        serve(root, always) as url,
        pytest.raises(UserError, match=r'0000\d\d.tar cannot be read: .*copy or make it again'),
    ):
        batches_of(shards_of(url))


@pytest.fixture
def broken(root, tmp_path):
    """Break the first and the last image, and two neighbors."""
    break_images(root, tmp_path, (0, 20, 21, 52))
    return tmp_path


def test_the_next_image_stands_in_for_a_broken_one(broken):
    samples = list(shards_of(broken, shuffle=False, batch_size=1))
    given = [sample['data_samples'].sample_idx for sample in samples]
    assert given == [1, *range(1, 20), 22, 22, *range(22, 52), 1]  # the first follows the last
    marks = [sample['data_samples'].get('stands_in_for') for sample in samples]
    assert [i for i, mark in enumerate(marks) if mark] == [0, 20, 21, 52]
    assert marks[20].startswith(f'{broken}/000002.tar/000000020-')


@pytest.mark.parametrize('num_workers', [0, 2])
def test_resuming_among_broken_images_is_exact(broken, num_workers):
    options = dict(epoch=1, batch_size=8)
    whole = batches_of(shards_of(broken, **options), num_workers)
    for batches in range(1, 6, 2):
        resumed = batches_of(shards_of(broken, batches=batches, **options), num_workers)
        assert_same(resumed, whole[batches:])


def test_a_broken_image_ends_an_evaluation(broken):
    with pytest.raises(UserError, match='000000.tar/000000000-.* cannot be read as an image'):
        batches_of(shards_of(broken, training=False, shuffle=False))


def test_layout_that_changed_is_refused_with_what_changed(root):
    dataset = shards_of(root)
    saved = json.loads(json.dumps(dataset.layout(num_workers=4)))
    dataset.check_layout(saved, num_workers=4)
    with pytest.raises(UserError, match='num_workers was 4, is 2. Set it back'):
        dataset.check_layout(saved, num_workers=2)
    assert dataset.layout(0) == dataset.layout(1)
