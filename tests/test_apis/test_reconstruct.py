"""The pictures and errors of tools/reconstruct.py."""

import numpy as np
import pytest
import torch
from PIL import Image

from mmconvnext.apis import reconstruct as module
from mmconvnext.apis import train
from mmconvnext.apis.reconstruct import MAX_IMAGES, reconstruct
from mmconvnext.errors import UserError
from mmconvnext.zoo import get_model
from tests.conftest import REPO, write_tiny_config, write_tiny_pretraining
from tests.processes import call


@pytest.fixture(scope='module', params=['fcmae', 'spark'])
def trained(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp('pretrained')
    config = write_tiny_pretraining(folder, request.param)
    train(config, work_dir=str(folder / 'w'), rehearsal=False, cfg_options={'train_cfg.max_epochs': 1})
    return config, folder / 'w/epoch_1.pth'


@pytest.fixture(scope='module')
def fcmae(tmp_path_factory):
    folder = tmp_path_factory.mktemp('fcmae')
    config = write_tiny_pretraining(folder)
    model = get_model(config)
    torch.save(dict(state_dict=model.state_dict()), folder / 'net.pth')
    return config, folder / 'net.pth'


@pytest.fixture
def drawn(monkeypatch):
    rows, save = [], module.save_reconstructions
    monkeypatch.setattr(module, 'save_reconstructions', lambda r, out: (rows.extend(r), save(r, out)))
    return rows


def test_picture_shows_the_images_as_the_network_sees_them(trained, photos, tmp_path, drawn, capsys):
    reconstruct([str(photos)], *trained, out=str(tmp_path / 'out.png'))
    assert [row.name for row in drawn] == [str(photos / 'a.jpg'), str(photos / 'b.png')]
    for row in drawn:
        pixels = np.asarray(Image.open(row.name).resize((32, 32), Image.Resampling.BICUBIC))
        assert np.abs(row.pictures[0].astype(int) - pixels).max() <= 2
        gray = (row.pictures[1] == 127).all(2).reshape(4, 8, 4, 8).all((1, 3))
        assert gray.sum() == 10  # 6 of 16 stay visible
        visible = ~gray.repeat(8, 0).repeat(8, 1)
        np.testing.assert_array_equal(row.pictures[2][visible], row.pictures[0][visible])
        assert not np.array_equal(row.pictures[2], row.pictures[0])
    assert capsys.readouterr().out == f'Wrote {tmp_path / "out.png"}\n'
    assert Image.open(tmp_path / 'out.png').format == 'PNG'


def masks(rows):
    return [(row.pictures[1] == 127).all(2).tobytes() for row in rows]


def test_mask_depends_on_the_seed_alone(fcmae, photos, tmp_path, drawn):
    def draw(number, inputs, **options):
        drawn.clear()
        torch.rand(number), np.random.rand(number)  # noqa: B018
        reconstruct([str(one) for one in inputs], *fcmae, out=tmp_path / f'{number}.png', **options)
        return masks(drawn)

    first = draw(1, [photos])
    assert draw(2, [photos / 'b.png'], seed=0) == first[1:] == first[:1]
    assert draw(3, [photos]) == first
    assert draw(4, [photos], seed=1) != first
    assert (tmp_path / '1.png').read_bytes() == (tmp_path / '3.png').read_bytes()
    draw(5, [photos], mask_ratio=0.25)
    assert [np.frombuffer(mask, bool).sum() for mask in masks(drawn)] == [4 * 64] * 2


def test_many_images_are_drawn_in_part(fcmae, tmp_path, drawn):
    for number in range(MAX_IMAGES + 5):
        Image.new('RGB', (32, 32), (number, 0, 0)).save(tmp_path / f'{number:03}.png')
    with pytest.warns(UserWarning, match=f'{MAX_IMAGES} of 37 images are drawn, evenly spaced'):
        reconstruct([str(tmp_path)], *fcmae, out=str(tmp_path / 'out.png'))
    assert len(drawn) == MAX_IMAGES
    assert drawn[0].name.endswith('000.png') and drawn[-1].name.endswith('036.png')


def test_broken_images_are_named_and_the_others_drawn(fcmae, photos, tmp_path, drawn):
    (photos / 'c.png').write_bytes(b'no image')
    with pytest.raises(UserError, match=r'1 of 3 images could not be read; the others are drawn:\n  .*c.png'):
        reconstruct([str(photos)], *fcmae, out=str(tmp_path / 'out.png'))
    assert len(drawn) == 2 and (tmp_path / 'out.png').exists()
    with pytest.raises(UserError, match='1 of 1 images could not be read:'):
        reconstruct([str(photos / 'c.png')], *fcmae, out=str(tmp_path / 'none.png'))
    assert not (tmp_path / 'none.png').exists()


@pytest.mark.parametrize(
    ('change', 'options', 'message'),
    [
        (None, dict(seed=-1), '--seed is -1'),
        (None, dict(mask_ratio=1.0), 'mask_ratio is 1.0; it should be above 0 and below 1'),
        (None, dict(mask_ratio=0.99), 'leaves 0 of 16 patches visible'),
        (None, dict(out='out.jpg'), 'ends in .png'),
        (None, dict(inputs=['nothing.jpg']), 'nothing.jpg does not exist'),
        (None, dict(checkpoint='none.pth'), 'checkpoint none.pth does not exist'),
        (None, dict(device='abacus'), 'device abacus cannot be used'),
        (
            "train_dataloader['dataset']['pipeline'] = [dict(type='Resize', scale=(36, 36)), "
            "dict(type='mmconvnext.MaskPatches', patch_size=8), dict(type='mmconvnext.PackInputs')]",
            {},
            'patches of 8 pixels do not fit an image of 36 x 36',
        ),
        ("model['patch_size'] = 16", {}, 'the masks have patches of 8 pixels and the model patches of 16'),
        (
            "train_dataloader['dataset']['pipeline'] = [dict(type='mmconvnext.PackInputs')]",
            {},
            'is no masked pre-training: its model is mmconvnext.FCMAE, and its training pipeline has no Mask',
        ),
    ],
)
def test_mistakes_end_in_a_message_and_no_file(change, options, message, fcmae, photos, tmp_path):
    config, checkpoint = fcmae
    if change:
        config = tmp_path / 'changed.py'
        config.write_text(f'{fcmae[0].read_text()}{change}\n')
    call_with = dict(
        dict(inputs=[str(photos)], config=config, checkpoint=checkpoint, out=str(tmp_path / 'out.png')),
        **options,
    )
    with pytest.raises(UserError, match=message):
        reconstruct(**call_with)
    assert not list(tmp_path.glob('out*'))


def test_config_of_a_classifier_is_refused(fcmae, photos, tmp_path):
    config = write_tiny_config(tmp_path)
    with pytest.raises(UserError, match='no masked pre-training: its model is ImageClassifier, .* no Mask'):
        reconstruct([str(photos)], config, fcmae[1], out=str(tmp_path / 'out.png'))


@pytest.mark.parametrize('content', ['a classifier', 'an encoder'])
def test_checkpoint_without_a_decoder_is_refused(content, fcmae, photos, tmp_path):
    network = dict(use_grn=True, layer_scale_init_value=0.0, stem_patch_size=1)
    classifier = get_model(write_tiny_config(tmp_path), backbone=network)
    model = classifier if content == 'a classifier' else get_model(fcmae[0])
    weights = {n: w for n, w in model.state_dict().items() if not n.startswith('neck.')}
    torch.save(dict(state_dict=weights), tmp_path / 'other.pth')
    with pytest.raises(UserError, match='other.pth has no decoder of this model, without which'):
        reconstruct([str(photos)], fcmae[0], tmp_path / 'other.pth', out=str(tmp_path / 'out.png'))


def test_nothing_is_overwritten(fcmae, photos, tmp_path):
    (tmp_path / 'out.png').write_bytes(b'mine')
    with pytest.raises(UserError, match='out.png exists already'):
        reconstruct([str(photos)], *fcmae, out=str(tmp_path / 'out.png'))
    assert (tmp_path / 'out.png').read_bytes() == b'mine'


def test_tool_takes_its_options_anywhere(fcmae, photos, tmp_path):
    images = photos / 'a.jpg', photos / 'b.png'
    done = call(REPO / 'tools/reconstruct.py', *images, '--out', 'out.png', *fcmae, '--seed', 3, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, 'Wrote out.png\n'), done.stderr
    done = call(REPO / 'tools/reconstruct.py', *images, *fcmae, '--out', 'out.png', cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.startswith('Error: out.png exists already')
