"""Tar shards give the images of the folder: each once, in any number of processes, and after resuming."""

import json
import tarfile
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import TRANSFORMS
from mmpretrain.datasets import CustomDataset
from torch.utils.data import DataLoader

from mmconvnext.apis import evaluate, train
from mmconvnext.datasets import Shards, shard_reading, shards
from mmconvnext.datasets.shard_index import open_file
from mmconvnext.datasets.shard_order import split
from mmconvnext.datasets.shard_writing import make_shards
from mmconvnext.errors import UserError
from tests.servers import Folder, serve

COUNT = 53  # a multiple of neither the batch size nor the number of processes
PACK = [dict(type='PackInputs')]
CROP = [dict(type='RandomCrop', crop_size=6), dict(type='RandomFlip', prob=0.5), *PACK]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Create 53 different images of different file sizes in three classes and two formats."""
    root = tmp_path_factory.mktemp('images')
    noise = np.random.default_rng(0)
    for i in range(COUNT):
        file = root / ('cat', 'dog', 'eel')[i % 3] / f'{i:02d}{(".png", ".JPEG")[i % 2]}'
        file.parent.mkdir(exist_ok=True)
        height, width = noise.integers(8, 14, 2)
        cv2.imwrite(str(file), noise.integers(0, 256, (height, width, 3), dtype=np.uint8))
    return root


@pytest.fixture(scope='module')
def root(folder, tmp_path_factory):
    root = tmp_path_factory.mktemp('shards') / 'train'
    make_shards(folder, root, per_shard=8)
    return root


def shards_of(root, *, rank=0, world_size=1, epoch=0, batches=0, **options):
    dataset = Shards(str(root), **{**dict(pipeline=CROP, batch_size=4, shuffle_buffer=5), **options})
    dataset.rank, dataset.world_size = rank, world_size
    dataset.set_position(epoch, batches)
    return dataset


def batches_of(dataset, num_workers=0):
    """Return batches as lists of (sample, image)."""
    loader = DataLoader(dataset, dataset.batch_size, num_workers=num_workers, collate_fn=list)
    return [[(s['data_samples'].sample_idx, s['inputs']) for s in batch] for batch in loader]


def numbers(batches):
    return [number for batch in batches for number, _ in batch]


def assert_same(found, expected):
    assert numbers(found) == numbers(expected)
    for batch, other in zip(found, expected, strict=True):
        for (_, image), (_, image_expected) in zip(batch, other, strict=True):
            assert torch.equal(image, image_expected)


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


# Broken images.


def break_images(root, out, numbers):
    """Copy the shards and overwrite some images with zeros."""
    for file in root.iterdir():
        (out / file.name).write_bytes(file.read_bytes())
    for number in numbers:
        file = out / f'{number // 8:06d}.tar'
        content = bytearray(file.read_bytes())
        with tarfile.open(file) as tar:
            member = next(m for m in tar if m.name.startswith(f'{number:09d}') and not m.name.endswith('cls'))
        content[member.offset_data : member.offset_data + member.size] = bytes(member.size)
        file.write_bytes(content)


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


# Resuming within an epoch.


def test_layout_that_changed_is_refused_with_what_changed(root):
    dataset = shards_of(root)
    saved = json.loads(json.dumps(dataset.layout(num_workers=4)))
    dataset.check_layout(saved, num_workers=4)
    with pytest.raises(UserError, match='num_workers was 4, is 2. Set it back'):
        dataset.check_layout(saved, num_workers=2)
    assert dataset.layout(0) == dataset.layout(1)


# Invalid input.


def edited(**changes):
    def edit(index):
        for key, value in changes.items():
            if value is None:
                del index[key]
            else:
                index[key] = value

    return edit


def shard_with(**changes):
    return lambda index: index['shards'][1].update(changes)


@pytest.mark.parametrize(
    'edit, message',
    [
        (edited(classes=None), "index.json is not an index of shards: 'classes' is missing; make it with"),
        (edited(classes='cat'), "'classes' is 'cat', and should be a list of names"),
        (edited(shards=[]), r"'shards' is \[\], and should be a list of at least one shard"),
        (shard_with(samples=-1), r"in shards\[1\], 'samples' is -1, and should be a whole number above 0"),
        (shard_with(name='../a.tar'), r"in shards\[1\], 'name' is '../a.tar', and should be a plain"),
        (shard_with(name='a;rm b'), r"in shards\[1\], 'name' is 'a;rm b', and should be a plain"),
        (shard_with(name='000000.tar'), '000000.tar is listed twice'),
        (shard_with(size=70_000), r'000001.tar has [\d,]+ bytes, but index.json lists it with 70,000 bytes'),
        (shard_with(name='x.tar'), 'x.tar is missing, but index.json lists it'),
        (edited(classes=['cat']), 'with the label .*in cls a label below 1'),
    ],
)
def test_wrong_index_is_told_in_one_message(root, tmp_path, edit, message):
    for file in root.glob('*.tar'):
        (tmp_path / file.name).hardlink_to(file)
    index = json.loads((root / 'index.json').read_text())
    edit(index)
    (tmp_path / 'index.json').write_text(json.dumps(index))
    with pytest.raises(UserError, match=message):
        list(shards_of(tmp_path))


def test_roots_that_hold_no_index(tmp_path):
    with pytest.raises(
        UserError, match='index.json cannot be read: .*tools/make_shards.py, or correct data_r'
    ):
        shards_of(tmp_path)
    (tmp_path / 'index.json').write_text('{')
    with pytest.raises(UserError, match='index.json is not an index of shards: Expecting'):
        shards_of(tmp_path)
    with (
        serve(tmp_path) as url,
        pytest.raises(UserError, match='nothing/index.json cannot be read: .*exit 22'),
    ):
        shards_of(f'{url}/nothing')


@pytest.mark.parametrize(
    'root',
    [
        'pipe:touch ran; cat {}',
        'pipe://touch ran',
        'PIPE:touch ran',
        'https://host/$(touch ran)',
        "https://host/'; touch ran; '",
        'https://host/\ntouch ran',
        'gs://bucket/`touch ran`',
        's3://bucket/path',
        'file:///tmp/shards',
        'file:shards',
        'scp://host/path',
        'ais://bucket',
        'htgs://bucket',
    ],
)
def test_a_root_that_is_no_plain_address_is_refused_and_runs_nothing(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match='A command is not run'):
        shards_of(root)
    assert not list(tmp_path.iterdir())


def test_shard_with_fewer_samples_than_listed(root, tmp_path):
    for file in root.glob('*.tar'):
        (tmp_path / file.name).hardlink_to(file)
    index = json.loads((root / 'index.json').read_text())
    index['shards'][6]['samples'] = 8
    (tmp_path / 'index.json').write_text(json.dumps(index))
    with pytest.raises(
        UserError, match='000006.tar cannot be read: it ends after 5 samples, 8 were expected'
    ):
        list(shards_of(tmp_path, batch_size=1))


def test_more_in_a_batch_than_there_are_samples(root):
    with pytest.raises(UserError, match='has 53 samples, too few for 1 x 64 in each of 1 processes'):
        shards_of(root, batch_size=64)


# Configs.


def shard_options(root):
    pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(32, 32)), *PACK]
    dataset = dict(_delete_=True, type='mmconvnext.Shards', data_root=str(root), pipeline=pipeline)
    return {
        'train_dataloader.dataset': dataset,
        'train_dataloader.num_workers': 2,
        'val_dataloader.dataset': dict(dataset, shuffle=False),
        'test_dataloader.dataset': dict(dataset, shuffle=False),
        'model.head.num_classes': 3,
        'val_evaluator.topk': (1,),
        'test_evaluator.topk': (1,),
        'train_cfg.max_epochs': 1,
    }


def test_train_and_test_on_shards(tiny_config, root, tmp_path):
    options = shard_options(root)
    runner = train(tiny_config, work_dir=str(tmp_path / 'work'), cfg_options=options)
    assert runner.iter == 3  # whole batches of 16
    assert runner.train_dataloader.dataset.metainfo['classes'] == ('cat', 'dog', 'eel')
    out = tmp_path / 'predictions.pkl'
    checkpoint = tmp_path / 'work/epoch_1.pth'
    evaluate(tiny_config, checkpoint, work_dir=str(tmp_path / 'test'), out=str(out), cfg_options=options)
    import mmengine

    assert sorted(sample['sample_idx'] for sample in mmengine.load(out)) == list(range(COUNT))


def test_shards_that_do_not_fit_the_model_are_refused_before_anything_is_written(tiny_config, root, tmp_path):
    options = shard_options(root)
    with pytest.raises(UserError, match='has 3 classes .cat, dog, eel., but the head has 2 outputs'):
        train(tiny_config, work_dir=str(tmp_path / 'w'), cfg_options={**options, 'model.head.num_classes': 2})
    options['train_dataloader.dataset']['data_root'] = str(tmp_path)
    with pytest.raises(UserError, match='index.json cannot be read'):
        train(tiny_config, work_dir=str(tmp_path / 'w'), cfg_options=options)
    assert not (tmp_path / 'w').exists()


def test_error_of_a_loader_process_is_one_message(tiny_config, root, tmp_path):
    (tmp_path / 'val').mkdir()
    break_images(root, tmp_path / 'val', [20])
    options = {**shard_options(root), 'val_dataloader.num_workers': 1}
    options['val_dataloader.dataset']['data_root'] = str(tmp_path / 'val')
    with pytest.raises(UserError) as caught:
        train(tiny_config, work_dir=str(tmp_path / 'w'), cfg_options=options)
    assert str(caught.value).startswith(f'{tmp_path}/val/000002.tar/000000020-')
    assert str(caught.value).endswith('replace it and make the shards again')


@pytest.mark.parametrize(
    'fragment, schedule', [('imagenet_shards_224', 'adamw_300e'), ('imagenet21k_shards_224', 'adamw_90e')]
)
def test_configs_of_shards_run_small_without_them(fragment, schedule, tmp_path):
    repo = Path(__file__).parents[2]
    config = tmp_path / 'small.py'
    config.write_text(
        f"_base_ = ['{repo}/configs/_base_/models/convnext.py', "
        f"'{repo}/configs/_base_/datasets/{fragment}.py', "
        f"'{repo}/configs/_base_/schedules/{schedule}.py', '{repo}/configs/_base_/default_runtime.py']\n"
        'arch = dict(_delete_=True, depths=(1, 1, 1, 1), channels=(8, 8, 8, 8))\n'
        'model = dict(backbone=dict(arch=arch), head=dict(num_classes=1000, in_channels=8))\n'
        'train_dataloader = dict(sampler=None)\n'
    )
    assert train(config, work_dir=str(tmp_path / 'work'), smoke=True).iter == 2
