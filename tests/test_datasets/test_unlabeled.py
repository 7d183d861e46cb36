import pytest

from mmconvnext.datasets import UnlabeledImages
from mmconvnext.errors import UserError
from tests.test_datasets.test_image_folder import put


def read(root):
    """Return the paths of all samples relative to the root."""
    dataset = UnlabeledImages(data_root=root)
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    assert not any('gt_label' in info for info in infos)
    return [info['img_path'].removeprefix(f'{root}/') for info in infos]


def test_all_images_in_any_folders_are_read_in_order(tmp_path):
    put(tmp_path, 'b.png', 'a/c.JPG', 'a/deep/er/d.png', 'summer 2024/e.png', '.hidden/f.png', '._g.png')
    assert read(tmp_path) == ['a/c.JPG', 'a/deep/er/d.png', 'b.png', 'summer 2024/e.png']


@pytest.mark.parametrize(
    ('training', 'validation'), [('train', 'val'), ('training', 'test'), ('data/train', 'data/val')]
)
def test_only_training_images_of_a_folder_with_splits_are_read(tmp_path, training, validation):
    put(tmp_path, f'{training}/cat/a.png', f'{training}/dog/b.png', f'{validation}/cat/c.png')
    assert read(tmp_path) == [f'{training}/cat/a.png', f'{training}/dog/b.png']


def test_folders_of_classes_are_read_whole(tmp_path):
    put(tmp_path, *(f'{name}/{i}.png' for name in ('cat', 'dog') for i in range(20)))
    assert len(read(tmp_path)) == 40


def test_a_path_below_the_home_folder_is_found(tmp_path, monkeypatch):
    put(tmp_path, 'photos/a.png')
    monkeypatch.setenv('HOME', str(tmp_path))
    assert len(UnlabeledImages(data_root='~/photos')) == 1


def test_other_files_are_counted_in_one_warning(tmp_path):
    put(tmp_path, 'a.png')
    for name in ('b.heic', 'c.heic', 'd.txt'):
        (tmp_path / name).write_bytes(b'x')
    with pytest.warns(UserWarning, match=r'skipped 3 files in .*: 2 \.heic, 1 \.txt; .*pillow-heif'):
        assert read(tmp_path) == ['a.png']


@pytest.mark.parametrize('content', [(), ('notes.txt',), ('.thumbnails/a.png',)])
def test_a_folder_without_images_is_reported(tmp_path, content):
    put(tmp_path, *content)
    with pytest.raises(UserError, match='has no images; name a folder with images as --data-root'):
        read(tmp_path)


def test_a_missing_folder_is_reported(tmp_path):
    with pytest.raises(UserError, match='missing'):
        read(tmp_path / 'missing')
