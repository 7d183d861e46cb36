"""Folder layouts that people use."""

import unicodedata

import pytest
from PIL import Image

from mmconvnext.datasets import ImageFolder
from mmconvnext.datasets.image_folder import held_out_of
from mmconvnext.errors import UserError


def put(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (8, 8)).save(root / name, 'PNG')
    return root


def many(*classes, count=40):
    return [f'{name}/{i}.png' for name in classes for i in range(count)]


def read(root, split, **kwargs):
    """Read a split and return the class of each path relative to the root."""
    dataset = ImageFolder(data_root=str(root), split=split, **kwargs)
    classes = dataset.metainfo['classes']
    samples = [dataset.get_data_info(i) for i in range(len(dataset))]
    return {s['img_path'].removeprefix(f'{root}/'): classes[s['gt_label']] for s in samples}


def test_folders_for_training_and_validation(tmp_path):
    put(tmp_path, *many('train/dog', 'train/cat', 'train/eel', count=3), *many('val/dog', 'val/eel', count=2))
    training = ImageFolder(data_root=tmp_path, split='train')
    validation = ImageFolder(data_root=tmp_path, split='val')
    assert training.metainfo['classes'] == validation.metainfo['classes'] == ('cat', 'dog', 'eel')
    assert (len(training), len(validation)) == (9, 4)
    assert validation.get_gt_labels().tolist() == [1, 1, 2, 2]  # no cat for validation
    assert read(tmp_path, 'test') == read(tmp_path, 'val')


@pytest.mark.parametrize('name', ['valid', 'validation'])
def test_other_names_for_validation(tmp_path, name):
    put(tmp_path, *many('train/a', 'train/b', count=3), f'{name}/a/x.png')
    assert read(tmp_path, 'val') == {f'{name}/a/x.png': 'a'}
    assert len(read(tmp_path, 'train')) == 6


def test_test_folder_is_for_tests_only(tmp_path):
    put(tmp_path, *many('train/a', 'train/b'), 'test/b/x.png')
    assert read(tmp_path, 'test') == {'test/b/x.png': 'b'}
    training, validation = read(tmp_path, 'train'), read(tmp_path, 'val')
    assert all(path.startswith('train/') for path in validation)
    assert len(training) + len(validation) == 80
    assert not training.keys() & validation.keys()


def test_a_part_of_every_class_is_held_out(tmp_path):
    put(tmp_path, *many('cat', 'dog', count=200))
    for part in (0.2, 0.5):
        training, validation = (read(tmp_path, split, held_out=part) for split in ('train', 'val'))
        assert len(training.keys() | validation.keys()) == len(training) + len(validation) == 400
        for name in ('cat', 'dog'):
            share = list(validation.values()).count(name) / 200
            assert share == part


@pytest.mark.parametrize(
    ('images', 'held_out'), [(1, 0), (2, 1), (3, 1), (4, 1), (5, 1), (8, 2), (10, 2), (33, 7), (34, 7)]
)
def test_a_fifth_of_every_class_is_held_out(images, held_out):
    for name in ('bird', 'flower', 'übung'):
        assert len(held_out_of([f'{name}/{i}.jpg' for i in range(images)], 0.2)) == held_out


def test_new_images_move_few_old_ones_and_another_place_none(tmp_path):
    put(tmp_path / 'a', *many('cat', 'dog'))
    before = read(tmp_path / 'a', 'val')
    put(tmp_path / 'b', *many('cat', 'dog', 'eel', count=60))
    after = read(tmp_path / 'b', 'val')
    gone = set(before) - set(after)
    come = {path for path in after if path in set(many('cat', 'dog'))} - set(before)
    assert len(gone) + len(come) <= 8  # out of 40 new images of cats and dogs
    (tmp_path / 'c').mkdir()
    (tmp_path / 'a').rename(tmp_path / 'c/train')
    assert {f'train/{path}' for path in before} == set(read(tmp_path / 'c', 'val'))


def test_two_images_are_one_for_each_side_and_a_single_one_is_trained_on(tmp_path):
    for i in range(20):
        assert len(held_out_of([f'{i}/a', f'{i}/b'], 0.2)) == len(held_out_of([f'{i}/a', f'{i}/b'], 0.9)) == 1
        assert not held_out_of([f'{i}/only'], 0.9)
    put(tmp_path, *many('cat', count=2), 'dog/only.png')
    assert list(read(tmp_path, 'val').values()) == ['cat']
    assert sorted(read(tmp_path, 'train').values()) == ['cat', 'dog']


def test_the_letters_of_macos_are_the_same_letters():
    names = [f'übung/{i}.png' for i in range(50)]
    apart = [unicodedata.normalize('NFD', name) for name in names]
    assert apart != names
    assert [n in held_out_of(names, 0.3) for n in names] == [n in held_out_of(apart, 0.3) for n in apart]


def test_a_folder_as_a_whole_can_be_tested_on(tmp_path):
    put(tmp_path, *many('cat', 'dog', count=5))
    assert len(read(tmp_path, 'test', held_out=1)) == 10
    with pytest.raises(UserError, match='has no images for the split train'):
        len(ImageFolder(data_root=tmp_path, split='train', held_out=1))


def test_nested_folders_and_capitals_count_and_clutter_does_not(tmp_path):
    put(tmp_path, 'train/a/x/y/1.PNG', 'train/b/2.JPeG', 'train/b/.hidden/3.png', 'train/b/._2.png')
    put(tmp_path, '__MACOSX/train/a/1.png', 'train/__MACOSX/a/1.png', 'train/.cache/1.png', 'val/a/1.png')
    (tmp_path / 'train/a/notes.txt').write_text('no image')
    (tmp_path / 'train/Thumbs.db').write_text('no image')
    assert read(tmp_path, 'train') == {'train/a/x/y/1.PNG': 'a', 'train/b/2.JPeG': 'b'}


def test_links_are_followed_and_circles_end(tmp_path):
    put(tmp_path / 'store', 'a/1.png', 'b/1.png', 'b/2.png')
    for split in ('train', 'val'):
        (tmp_path / 'data' / split).mkdir(parents=True)
        for name in ('a', 'b'):
            (tmp_path / 'data' / split / name).symlink_to(tmp_path / 'store' / name)
    (tmp_path / 'store/a/again').symlink_to(tmp_path / 'store/a')
    assert sorted(read(tmp_path / 'data', 'train')) == [f'train/{n}.png' for n in ('a/1', 'b/1', 'b/2')]


def test_a_class_may_be_called_train(tmp_path):
    put(tmp_path, *many('bus', 'train', count=5))
    assert set(read(tmp_path, 'train').values()) == {'bus', 'train'}


def test_other_folders_beside_the_splits_are_no_classes(tmp_path):
    put(tmp_path, 'train/a/1.png', 'train/b/1.png', 'val/a/1.png', 'originals/1.png')
    assert set(read(tmp_path, 'train').values()) == {'a', 'b'}


def test_classes_of_a_trained_model_set_the_labels(tmp_path):
    put(tmp_path, 'val/b/1.png', 'val/c/1.png')
    dataset = ImageFolder(data_root=tmp_path, split='val', classes=['c', 'a', 'b'])
    assert dataset.get_gt_labels().tolist() == [2, 0]


def test_images_of_no_class_are_left_out_aloud(tmp_path):
    put(tmp_path, 'stray.png', *many('a', 'b', count=5))
    with pytest.warns(UserWarning, match='left out 1 image directly in '):
        assert len(read(tmp_path, 'train')) < 10


@pytest.mark.parametrize(
    ('files', 'message'),
    [
        ([], 'has no class folders; expected two or more'),
        (['a/1.png'], r'has 1 class folder \(a\); expected two or more'),
        (['1.png', '2.png'], 'has images but not two folders of classes; sort them'),
        (['train/1.png', 'val/2.png'], 'has images but not two folders of classes; sort them'),
        (['val/a/1.png', 'val/b/1.png'], 'has val, but no folder for train'),
    ],
)
def test_folders_that_cannot_be_trained_on(tmp_path, files, message):
    put(tmp_path, *files)
    with pytest.raises(UserError, match=message):
        ImageFolder(data_root=tmp_path, split='train')


def test_an_empty_class_is_named(tmp_path):
    put(tmp_path, *many('a', 'b'))
    (tmp_path / 'c').mkdir()
    with pytest.raises(UserError, match='the class folder .*/c is empty'):
        len(ImageFolder(data_root=tmp_path, split='train'))


def test_a_class_that_is_not_trained_is_named(tmp_path):
    put(tmp_path, *many('train/a', 'train/b'), 'val/a/1.png', 'val/fox/1.png')
    with pytest.raises(UserError, match='val has 1 class folder .*: fox; it has 2 classes: a, b'):
        len(ImageFolder(data_root=tmp_path, split='val'))


def test_nothing_to_validate_on(tmp_path):
    put(tmp_path, *many('train/a', 'train/b'))
    (tmp_path / 'val').mkdir()
    with pytest.raises(UserError, match='has no images for the split val; expected .*/val/CLASS/'):
        len(ImageFolder(data_root=tmp_path, split='val'))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(split='training'), 'choose train, val or test'),
        (dict(split='val', held_out=0), 'held_out is 0; it should be above 0'),
        (dict(split='val', data_root='nowhere'), 'nowhere is not a folder; name .* --data-root'),
    ],
)
def test_wrong_arguments(tmp_path, arguments, message):
    with pytest.raises(UserError, match=message):
        ImageFolder(**{'data_root': tmp_path, **arguments})


def test_skipped_files_are_counted_and_their_reader_named(tmp_path):
    put(tmp_path, *many('a', 'b', count=5), 'a/1.HEIC', 'a/2.heic', 'b/film.mp4', 'b/.DS_Store')
    with pytest.warns(
        UserWarning, match=r'3 files .* 2 \.heic, 1 \.mp4; .* imageio\[ffmpeg\] and pillow-heif'
    ):
        assert len(read(tmp_path, 'train')) == 8


def test_what_systems_leave_in_folders_is_no_file_to_convert(tmp_path, recwarn):
    clutter = 'Thumbs.db', 'thumbs.db', 'ehthumbs.db', 'desktop.ini', 'Desktop.ini', 'Icon\r', '.DS_Store'
    put(tmp_path, *many('a', 'b', count=5), *(f'a/{name}' for name in clutter), 'a/__MACOSX/1.png')
    assert len(read(tmp_path, 'train')) == 8
    assert not [warning for warning in recwarn if 'skipped' in str(warning.message)]


def test_classes_of_one_image_are_named_before_the_training(tmp_path):
    put(tmp_path, *many('a', 'b', count=5), 'lonely/1.png')
    with pytest.warns(UserWarning, match='has one image only of lonely; none is held out for val'):
        assert len(read(tmp_path, 'val')) == 2
    put(tmp_path / 'each', *many('a', 'b', count=1))
    with pytest.raises(UserError, match='every class has one image, so none can be held .* --no-validate'):
        read(tmp_path / 'each', 'val')


def test_a_class_of_files_that_cannot_be_read_says_what_they_are(tmp_path):
    put(tmp_path, *many('a', 'b'))
    (tmp_path / 'c').mkdir()
    (tmp_path / 'c/1.heic').write_bytes(b'x')
    with pytest.raises(UserError, match=r'/c has no images, but 1 \.heic; convert them .* pillow-heif'):
        len(ImageFolder(data_root=tmp_path, split='train'))


def test_names_compare_in_one_unicode_form(tmp_path):
    composed, apart = 'café', unicodedata.normalize('NFD', 'café')
    put(tmp_path, *many(f'train/{apart}', 'train/zoo', count=2), f'val/{composed}/1.png')
    assert ImageFolder(data_root=tmp_path, split='train').metainfo['classes'] == (composed, 'zoo')
    assert set(read(tmp_path, 'val').values()) == {composed}
    known = ImageFolder(data_root=tmp_path, split='val', classes=['zoo', apart])
    assert known.get_gt_labels().tolist() == [1]
    put(tmp_path, f'train/{composed}/1.png')
    with pytest.raises(UserError, match='two folders café, whose letters are composed differently'):
        ImageFolder(data_root=tmp_path, split='train')


def test_archives_are_to_be_unpacked(tmp_path):
    (tmp_path / 'data.zip').write_bytes(b'PK')
    with pytest.raises(UserError, match='data.zip is a file, not a folder; unpack it'):
        ImageFolder(data_root=tmp_path / 'data.zip', split='train')
