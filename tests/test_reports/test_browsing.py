"""The dataset page: images as training draws them, mixed batches, and broken images."""

import base64
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from mmconvnext.apis import browse as module
from mmconvnext.apis import load_config
from mmconvnext.apis.browse import browse_dataset
from mmconvnext.errors import UserError
from mmconvnext.reports.pictures import rgb_of
from mmconvnext.training.runner import build_runner
from tests.conftest import REPO, write_tiny_pretraining
from tests.processes import call

FOLDER = 'convnext-v2-atto_ft_folder'
SMALL = {'train_dataloader.dataset.pipeline.0.scale': 32, 'train_dataloader.dataset.pipeline.1.scale': 32}


@pytest.fixture
def photos(tmp_path):
    noise = np.random.default_rng(0)
    for name in ('cat', '<b>dog</b>'):
        (tmp_path / 'photos/train' / name).mkdir(parents=True)
        for i in range(6):
            pixels = noise.integers(0, 255, (40, 50, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / 'photos/train' / name / f'{i}.png')
    return tmp_path / 'photos'


@pytest.fixture
def saved(monkeypatch):
    """Record the contents of the page."""
    seen, save = [], module.save_browser

    def keep(samples, mixes, out, **about):
        seen.append((samples, mixes, about))
        save(samples, mixes, out, **about)

    monkeypatch.setattr(module, 'save_browser', keep)
    return seen


def test_datasets_of_mmpretrain_are_found_without_a_prefix(photos, tmp_path, saved):
    config = tmp_path / 'own.py'
    steps = "[dict(type='LoadImageFromFile'), dict(type='CenterCrop', crop_size=32), dict(type='PackInputs')]"
    config.write_text(
        f"_base_ = '{REPO}/configs/convnext/convnext-tiny_32xb128_in1k.py'\n"
        f"dataset = dict(_delete_=True, type='CustomDataset', data_root='{photos}/train', pipeline={steps})\n"
        'train_dataloader = dict(dataset=dataset)\n'
    )
    browse_dataset(config, tmp_path / 'page.html', number=2)
    assert saved[0][2]['total'] == 12


def test_draws_are_those_of_the_training(tiny_config, tmp_path, saved):
    options = {'randomness.seed': 7}
    browse_dataset(tiny_config, tmp_path / 'page.html', number=4, cfg_options=options)
    samples, mixes, about = saved[0]
    assert (len(samples), mixes, about['total'], about['seed']) == (4, [], 64, 7)
    cfg = load_config(tiny_config, options)
    cfg.work_dir = str(tmp_path / 'w')
    loader = build_runner(cfg, ('train_dataloader',)).train_dataloader
    for epoch in (0, 2):
        loader.batch_sampler.set_position(epoch, 0)
        drawn = {rgb_of(image).tobytes() for batch in loader for image in batch['inputs']}
        assert all(sample.draws[epoch].tobytes() in drawn for sample in samples)
        assert len(drawn) == 64


def test_mixed_batches_are_between_their_images(photos, tmp_path, saved):
    augments = [dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]
    options = {**SMALL, 'model.train_cfg': dict(_delete_=True, augments=augments)}
    browse_dataset(FOLDER, tmp_path / 'page.html', number=6, data_root=str(photos), cfg_options=options)
    samples, mixes, _ = saved[0]
    first = np.stack([sample.draws[0] for sample in samples]).astype(int)
    assert [mix.name for mix in mixes] == ['Mixup', 'CutMix']
    for mix in mixes:
        assert all(sum(part for _, part in labels) == pytest.approx(1) for labels in mix.labels)
        for number, image in enumerate(mix.images):
            pairs = np.minimum(first[number], first), np.maximum(first[number], first)
            inside = (image >= pairs[0] - 1) & (image <= pairs[1] + 1)
            assert inside.all(axis=(1, 2, 3)).any()  # of this image and one other
    page = (tmp_path / 'page.html').read_text()
    assert '&lt;b&gt;dog&lt;/b&gt;' in page
    assert '<b>dog' not in page


def test_images_of_the_test_are_shown_once_and_broken_ones_told(photos, tmp_path, saved):
    (photos / 'train/cat/0.png').write_bytes(b'<script>')
    options = {
        'val_dataloader.dataset.pipeline.1.scale': 36,
        'val_dataloader.dataset.pipeline.2.crop_size': 32,
    }
    (photos / 'train').rename(photos / 'val')
    (photos / 'train').symlink_to(photos / 'val')
    browse_dataset(
        FOLDER, tmp_path / 'page.html', split='val', number=99, data_root=str(photos), cfg_options=options
    )
    samples, mixes, about = saved[0]
    assert (len(samples), len(mixes), about['total']) == (12, 0, 12)
    broken = [sample for sample in samples if sample.error]
    assert [sample.path.endswith('cat/0.png') for sample in broken] == [True]
    assert all(
        len(sample.draws) == 1 and sample.draws[0].shape == (32, 32, 3)
        for sample in samples
        if not sample.error
    )
    assert 'cannot be read' in (tmp_path / 'page.html').read_text()


def test_tool_writes_a_page_with_its_pictures(tiny_config, tmp_path):
    page = tmp_path / 'data.html'
    done = call('tools/browse_dataset.py', tiny_config, '--out', page, '--number', 3)
    assert done.returncode == 0, done.stderr[-2000:]
    pictures = page.read_text().split(';base64,')[1:]
    assert len(pictures) == 3 * (1 + 5)
    assert Image.open(BytesIO(base64.b64decode(pictures[1].split('"')[0]))).size == (32, 32)


def test_what_cannot_be_shown_is_told(tiny_config, tmp_path):
    page = tmp_path / 'page.html'
    for arguments, message in (
        (dict(out='page.png'), 'ends in .html'),
        (dict(number=0), 'number is 0'),
        (dict(cfg_options={'train_dataloader': None}), 'has no train_dataloader'),
        (dict(data_root=str(tmp_path)), 'has no data_root'),
    ):
        with pytest.raises(UserError, match=message):
            browse_dataset(tiny_config, **{'out': page, **arguments})
    assert not page.exists()


def test_data_of_a_pretraining_is_shown_without_labels(tmp_path):
    config = write_tiny_pretraining(tmp_path)
    browse_dataset(config, out=str(tmp_path / 'page.html'), number=2)
    assert (tmp_path / 'page.html').stat().st_size > 1000
