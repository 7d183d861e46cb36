"""Images in tar shards, read from disk, over HTTP or from object storage."""

import logging
import random
import tarfile
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from itertools import accumulate, chain, count, groupby
from typing import NamedTuple

from mmengine.dataset import Compose
from mmengine.dist import get_dist_info
from mmengine.logging import print_log
from mmpretrain.registry import TRANSFORMS
from torch.utils.data import IterableDataset, get_worker_info

from ..errors import UserError
from ..registry import DATASETS
from .replay import draws_put_back, is_broken_image, mark_replaced, mixed, seed_draws
from .shard_index import is_url, read_index, url_of
from .shard_order import ShuffleBuffer, split
from .shard_reading import SUFFIXES, images_in, read_tar
from .transforms import LoadImage

# Seconds before a shard at a URL is opened again.
WAITS = (1, 5, 25)
# More consecutive broken images than this have another cause.
MAX_BROKEN = 100
MAX_LABEL_DIGITS = 9


class Raw(NamedTuple):
    """An encoded sample of a shard.

    Attributes:
        sample: position in the order of the index, the same in every epoch and run.
        path: path of the shard, followed by the key.
        image: bytes of the image file.
        label: class number, counted from 0.
    """

    sample: int
    path: str
    image: bytes
    label: int


@DATASETS.register_module()
class Shards(IterableDataset):
    """Images in the tar shards that ``tools/make_shards.py`` writes, for very large datasets.

    An epoch contains each sample at most once, and all processes take the same number of steps. In training,
    samples that do not fill a batch in each process are dropped, different ones in every epoch. The
    augmentation of a sample depends only on ``seed``, the epoch and the sample. An image that cannot be
    decoded is replaced by the next one with a warning; in evaluation, it is an error.

    A worker has one shard open at a time. It needs memory for ``shuffle_buffer`` encoded images: with 90 kB,
    the mean in ImageNet-22K, 1,000 images take 90 MB per worker. If there are fewer shards than workers in
    all processes, workers read whole shards but use only a part of them.

    The DataLoader needs ``sampler=None`` and ``persistent_workers=False``, which ``build_runner`` sets. The
    training loop calls ``set_position`` before each ``iter(dataloader)``.

    In training, ``len()`` is the number of samples of this process in an epoch. In evaluation, it is that of
    all processes, because mmengine cuts the gathered results to this length.

    Args:
        data_root: folder, or URL of one for webdataset: ``https://HOST/PATH``, ``gs://``, ``hf://``.
        pipeline: transforms of an image dataset; ``LoadImageFromFile``, if present, decodes the bytes.
        batch_size: batch size per process; ``build_runner`` takes it from the dataloader.
        multiple: the number of batches in a training epoch is a multiple of this, see ``ReplayableBatches``.
        training: whether the dataset is used for training; ``build_runner`` sets it.
        seed: seed of the order and the augmentation.
        shuffle: whether to permute the shards in every epoch, and the samples within a buffer.
        shuffle_buffer: number of samples among which a worker draws the next one.

    Raises:
        UserError: ``index.json`` or a shard is missing or invalid, or there are too few samples for one
            batch.
    """

    def __init__(
        self,
        data_root: str,
        pipeline: list[dict],
        batch_size: int,
        multiple: int = 1,
        training: bool = True,
        seed: int = 0,
        shuffle: bool = True,
        shuffle_buffer: int = 1000,
    ):
        self.data_root, self.index = data_root, read_index(data_root)
        self.batch_size, self.multiple, self.training = batch_size, multiple, training
        self.seed, self.shuffle_buffer = seed, shuffle_buffer if shuffle else 1
        self.shuffle = shuffle
        if self.shuffle_buffer < 1:
            raise UserError(f'shuffle_buffer is {shuffle_buffer}; it should be at least 1')
        self.rank, self.world_size = get_dist_info()
        self.pipeline = Compose([TRANSFORMS.build(step) for step in reading_bytes(pipeline)])
        self.metainfo = dict(classes=self.index.classes)
        self.firsts = [0, *accumulate(shard.samples for shard in self.index.shards)]
        self.epoch = self.batches = 0
        if len(self) == 0:
            raise UserError(
                f'{data_root} has {self.index.samples:,} samples, too few for {multiple} x {batch_size} in '
                f'each of {self.world_size} processes; lower batch_size'
            )

    def __len__(self) -> int:
        if not self.training:
            return self.index.samples
        each = self.index.samples // self.world_size
        return each - each % (self.batch_size * self.multiple)

    def set_position(self, epoch: int, batches: int) -> None:
        """Set the position at which the next iterator starts.

        Args:
            epoch: number of the epoch, from 0.
            batches: number of batches of this process to skip in the epoch, without decoding their images.
        """
        self.epoch, self.batches = epoch, batches

    def layout(self, num_workers: int) -> dict:
        """Return the settings that determine the order within an epoch, for checkpoints within it."""
        return dict(
            images=self.index.images,
            shards=len(self.index.shards),
            seed=self.seed,
            shuffle=self.shuffle,
            shuffle_buffer=self.shuffle_buffer,
            processes=self.world_size,
            batch_size=self.batch_size,
            multiple=self.multiple,
            num_workers=max(num_workers, 1),  # the process itself works as one
        )

    def check_layout(self, saved: dict, num_workers: int) -> None:
        """Raise UserError unless an epoch that was stopped with this layout can be resumed exactly."""
        now = self.layout(num_workers)
        changed = [f'{key} was {saved.get(key)}, is {now[key]}' for key in now if saved.get(key) != now[key]]
        if changed:
            raise UserError(
                f'the checkpoint is from the middle of an epoch over {self.data_root}, which cannot go on '
                f'exactly: {"; ".join(changed)}. Set it back, or resume from the end of an epoch'
            )

    def __iter__(self) -> Iterator[dict]:
        worker = get_worker_info()
        workers, mine = (worker.num_workers, worker.id) if worker else (1, 0)
        # DataLoader asks its first worker for the first batch, whichever worker had its turn.
        mine = (mine + self.batches) % workers
        given = len(range(mine, self.batches, workers)) * self.batch_size
        part = split(
            self.index.samples,
            rank=self.rank,
            world_size=self.world_size,
            workers=workers,
            worker=mine,
            batch_size=self.batch_size,
            multiple=self.multiple,
            training=self.training,
        )
        draw = random.Random(mixed(self.seed, self.epoch, self.rank, mine))
        buffer = ShuffleBuffer(part.samples, self.shuffle_buffer, draw)
        for _ in range(min(given, part.samples)):
            buffer.pop()
        return self.packed(self.epoch, self.in_order(self.epoch, part.start, buffer), part.slots - given)

    def first(self) -> dict:
        """Return one sample after the pipeline for a check, without filling a buffer."""
        return next(self.packed(0, self.read(0, count()), 1))

    def packed(self, epoch: int, raws: Iterator[Raw], slots: int) -> Iterator[dict]:
        """Yield the given number of samples after the pipeline, with broken ones replaced."""
        ahead = deque()  # read, but not returned yet
        for _ in range(slots):
            raw = ahead.popleft() if ahead else next(raws)
            try:
                sample = self.pack(raw, epoch)
            except Exception as error:  # transforms raise any exception
                if not is_broken_image(error):
                    raise
                if not self.training:
                    raise UserError(
                        f'{raw.path} cannot be read as an image ({error}); '
                        'replace it and make the shards again'
                    ) from error
                sample = mark_replaced(self.stand_in(epoch, raws, ahead), raw.path, error)
            yield sample

    def stand_in(self, epoch: int, raws: Iterator[Raw], ahead: deque[Raw]) -> dict:
        """Return the next sample that can be decoded, which is also returned in its own turn."""
        for i in range(MAX_BROKEN):
            if i == len(ahead):
                ahead.append(next(raws))
            try:
                return self.pack(ahead[i], epoch)
            except Exception as error:  # as above
                if not is_broken_image(error):
                    raise
                last = error
        raise UserError(f'{MAX_BROKEN} images in a row cannot be read, the last is {ahead[-1].path}: {last}')

    def pack(self, raw: Raw, epoch: int) -> dict:
        results = dict(img_bytes=raw.image, img_path=raw.path, gt_label=raw.label, sample_idx=raw.sample)
        # Nothing else draws in a worker process; restoring states would take a quarter of a millisecond.
        with nullcontext() if get_worker_info() else draws_put_back():
            seed_draws(self.seed, epoch, raw.sample)
            return self.pipeline(results)

    def in_order(self, epoch: int, start: int, buffer: ShuffleBuffer) -> Iterator[Raw]:
        """Yield samples in the order of the buffer, with offsets from ``start``, then those after them."""
        held, ahead = sorted(buffer.held), buffer.ahead
        offsets = chain(held, count(ahead))
        raws = self.read(epoch, (start + offset for offset in chain(held, count(ahead))))
        loaded = {}
        while buffer.held:
            wanted = buffer.pop()
            while wanted not in loaded:
                loaded[next(offsets)] = next(raws)
            yield loaded.pop(wanted)
        yield from raws

    def read(self, epoch: int, places: Iterable[int]) -> Iterator[Raw]:
        """Yield samples at ascending positions in the order of the epoch, which wraps around."""
        order = list(range(len(self.index.shards)))
        if self.shuffle:
            random.Random(mixed(self.seed, epoch)).shuffle(order)
        ends = list(accumulate(self.index.shards[number].samples for number in order))

        def locate(place: int) -> tuple[int, int, int]:
            laps, place = divmod(place, ends[-1])
            turn = bisect_right(ends, place)
            return laps, turn, place - (ends[turn - 1] if turn else 0)

        for (_, turn), located in groupby(map(locate, places), key=lambda found: found[:2]):
            yield from self.read_shard(order[turn], [inside for _, _, inside in located])

    def read_shard(self, number: int, places: list[int]) -> Iterator[Raw]:
        """Yield samples at ascending positions of a shard; broken connections are opened again."""
        shard, url = self.index.shards[number], url_of(self.data_root, self.index.shards[number].name)
        waits = iter(WAITS if is_url(self.data_root) else ())
        done = 0
        while done < len(places):
            try:
                for place, sample in read_tar(url, shard, places[done:]):
                    yield self.checked(self.firsts[number] + place, sample)
                    done += 1
            except (OSError, tarfile.TarError) as error:
                problem = f'{url} cannot be read: {error.args[0] if error.args else error}'
                wait = next(waits, None)
                if wait is None:
                    raise UserError(f'{problem}; copy or make it again, then resume') from error
                print_log(f'{problem}; again in {wait} s', logger='current', level=logging.WARNING)
                time.sleep(wait)

    def checked(self, number: int, sample: dict) -> Raw:
        path = f'{sample["__url__"]}/{sample["__key__"]}'
        images = images_in(sample)
        label = sample.get('cls', b'').strip()
        is_label = label.isdigit() and len(label) <= MAX_LABEL_DIGITS and int(label) < len(self.index.classes)
        if len(images) != 1 or not is_label:
            members = ', '.join(name for name in sample if not name.startswith('__'))
            raise UserError(
                f'{path} has {members:.99}, with the label {label[:20].decode(errors="replace")!r}; a sample '
                f'needs one image ({", ".join(SUFFIXES)}) and in cls a label below {len(self.index.classes)}'
            )
        return Raw(number, path, sample[images[0]], int(label))


def reading_bytes(pipeline: list[dict]) -> list[dict]:
    """Return the pipeline with a step that decodes the bytes of a shard."""
    has_loader = any(
        str(step['type']).endswith(('LoadImageFromFile', 'LoadImage', 'LoadImageForCrop'))
        for step in pipeline
    )
    return pipeline if has_loader else [dict(type=LoadImage), *pipeline]
