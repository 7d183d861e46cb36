"""Pictures during a pre-training, which is the same without them."""

import numpy as np
import pytest
import torch
from PIL import Image

from mmconvnext.apis import train
from mmconvnext.errors import UserError
from mmconvnext.hooks import ReconstructionHook
from mmconvnext.hooks.reconstruction import is_sharded
from mmconvnext.reports.annotated import MARGIN, ROW
from mmconvnext.reports.reconstruction import SIDE
from tests.conftest import write_tiny_config, write_tiny_pretraining
from tests.global_state import same

HOOK = dict(type='mmconvnext.ReconstructionHook', interval=2, images=3)


def run(config, folder, hooks, epochs=3):
    options = {'train_cfg.max_epochs': epochs, 'custom_hooks': hooks}
    train(config, work_dir=str(folder), rehearsal=False, cfg_options=options)
    return torch.load(folder / f'epoch_{epochs}.pth', weights_only=False)


def leaves(value, name=''):
    """Yield every tensor and number of nested containers with its place."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f'{name}.{key}')
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from leaves(item, f'{name}.{number}')
    else:
        yield name, value


@pytest.mark.parametrize('algorithm', ['fcmae', 'spark'])
def test_run_is_the_same_to_the_last_bit(algorithm, tmp_path):
    config = write_tiny_pretraining(tmp_path, algorithm)
    without = run(config, tmp_path / 'without', [])
    with_pictures = run(config, tmp_path / 'with', [HOOK])
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        pairs = list(zip(leaves(without[part]), leaves(with_pictures[part]), strict=True))
        assert pairs
        for (name, one), (other_name, other) in pairs:
            assert name == other_name
            assert torch.equal(one, other) if isinstance(one, torch.Tensor) else same(one, other), name
    assert without['meta']['replay'].keys() == with_pictures['meta']['replay'].keys()
    for (name, one), (_, other) in zip(
        leaves(without['meta']['replay']), leaves(with_pictures['meta']['replay']), strict=True
    ):
        equal = np.array_equal(one, other)
        assert equal, name
    names = sorted(file.name for file in (tmp_path / 'with/reconstructions').iterdir())
    assert names == ['epoch_2.png', 'epoch_3.png']


def test_images_and_masks_are_the_same_in_every_picture(tmp_path):
    run(write_tiny_pretraining(tmp_path), tmp_path / 'w', [dict(HOOK, interval=1)], epochs=2)
    pictures = [np.asarray(Image.open(tmp_path / f'w/reconstructions/epoch_{epoch}.png')) for epoch in (1, 2)]
    column = pictures[0].shape[1] // 3
    assert np.array_equal(pictures[0][:, : 2 * column], pictures[1][:, : 2 * column])
    assert not np.array_equal(pictures[0][:, 2 * column :], pictures[1][:, 2 * column :])


def test_base_config_draws_after_the_last_epoch(tmp_path):
    train(write_tiny_pretraining(tmp_path), work_dir=str(tmp_path / 'w'))
    assert [file.name for file in (tmp_path / 'w/reconstructions').iterdir()] == ['epoch_2.png']


def test_images_that_cannot_be_read_are_left_out(tmp_path):
    folder = tmp_path / 'images'
    folder.mkdir()
    noise = np.random.default_rng(0)
    for number in range(3):
        Image.fromarray(noise.integers(0, 256, (40, 40, 3), np.uint8)).save(folder / f'{number}.png')
    (folder / '0.png').write_bytes(b'no image')
    config = write_tiny_pretraining(tmp_path)
    config.write_text(
        config.read_text().replace('digits_masked_32', 'unlabeled_224')
        + "steps = [dict(type='LoadImageFromFile'), dict(type='mmconvnext.RandomResizedCrop', scale=32), "
        "dict(type='mmconvnext.MaskPatches', patch_size=8), dict(type='mmconvnext.PackInputs')]\n"
        "train_dataloader['dataset'] = dict(_delete_=True, type='mmconvnext.UnlabeledImages', "
        f"data_root='{folder}', pipeline=steps)\n"
        "train_dataloader['num_workers'] = 0\n"
        'default_hooks = dict(broken_images=dict(max_fraction=1.0))\n'
    )
    train(config, work_dir=str(tmp_path / 'w'), rehearsal=False)
    assert '1 image to reconstruct cannot be read' in next((tmp_path / 'w').glob('*/*.log')).read_text()
    assert Image.open(tmp_path / 'w/reconstructions/epoch_2.png').height == ROW + 2 * (SIDE + ROW) + MARGIN


def test_hook_is_refused_where_nothing_is_masked(tmp_path):
    with pytest.raises(UserError, match='is for masked pre-training, and the model is a ImageClassifier'):
        train(
            write_tiny_config(tmp_path),
            work_dir=str(tmp_path / 'w'),
            rehearsal=False,
            cfg_options={'custom_hooks': [HOOK]},
        )


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        (dict(interval=0), 'interval is 0; it should be at least 1'),
        (dict(images=-1), 'images is -1; it should be at least 1'),
        (dict(interval=2.5), 'interval is 2.5 of type float; expected a whole number'),
        (dict(images=True), 'images is True of type bool; expected a whole number'),
    ],
)
def test_counts_are_whole_numbers_from_1_on(wrong, message):
    with pytest.raises(UserError, match=message):
        ReconstructionHook(**wrong)


def test_weights_that_other_processes_hold_are_noticed():
    whole = torch.nn.Linear(2, 2)
    assert not is_sharded(whole)
    whole.weight.data = torch.empty(0)
    assert is_sharded(whole)
