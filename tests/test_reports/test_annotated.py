"""Annotated pictures have names of their own in one folder, and text that fits."""

import pytest

from mmconvnext.errors import UserError
from mmconvnext.inference.inputs import find_images
from mmconvnext.reports.annotated import PictureFolder, annotate
from tests.classifiers import photo, photos


def test_pictures_get_names_of_their_own(tmp_path):
    folder = PictureFolder(tmp_path / 'new')
    names = ['a.jpg', 'a.png', 'a.jpg', 'A.JPG', 'b/a.jpg', 'a-2.jpg', 'a.jpg']
    places = [folder.place(name) for name in names]
    assert [str(place.relative_to(folder.folder)) for place in places][:2] == ['a.jpg', 'a.png.jpg']
    assert len({str(place).lower() for place in places}) == len(names)
    photos(tmp_path / 'full')
    with pytest.raises(UserError, match='is there and not an empty folder'):
        PictureFolder(tmp_path / 'full')


def test_pictures_of_urls_stay_in_their_folder(tmp_path):
    [given] = find_images('http://localhost/x%2F..%2F..%2Fetc%2Fp%00asswd?q=1')
    assert given.name == 'p_asswd'
    assert find_images('http://localhost/..')[0].name == '..'
    folder = PictureFolder(tmp_path / 'new')
    assert folder.place('..').name == 'image.jpg'
    for name in ('a/../../b.jpg', '/etc/b.jpg'):
        assert (tmp_path / 'new') in folder.place(name).resolve().parents


def test_long_names_are_elided_in_pictures():
    ranked = [{'label': 0, 'score': 0.999, 'class': 'long ' * 100}] * 30
    picture = annotate(photo(), ranked)
    assert picture.width == 320
    assert picture.height < 44 + 11 * 26  # at most ten of them
