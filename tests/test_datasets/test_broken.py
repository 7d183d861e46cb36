"""Broken images are found before they are used."""

import pytest
from PIL import Image

from mmconvnext.datasets import LoadImage, broken
from mmconvnext.datasets.broken import find_broken


class Pictures:
    """A dataset that decodes each file with Pillow, as a pipeline would."""

    def __init__(self, paths):
        self.paths, self.read = paths, []

    def __len__(self):
        return len(self.paths)

    def get_data_info(self, index):
        return dict(img_path=str(self.paths[index]))

    def __getitem__(self, index):
        self.read.append(index)
        if self.paths[index].suffix == '.raw':  # remembered for this pipeline only
            return self.paths[index].read_bytes()
        with Image.open(self.paths[index]) as image:
            image.load()
            return image


def picture(path):
    Image.effect_noise((64, 64), 50).convert('RGB').save(path)
    return path


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'webp', 'bmp', 'tif', 'gif'])
def test_whole_and_cut_files(tmp_path, suffix):
    whole, cut, padded = (picture(tmp_path / f'{name}.{suffix}') for name in ('whole', 'cut', 'padded'))
    content = cut.read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    padded.write_bytes(content + bytes(5000))
    dataset = Pictures([whole, cut, padded])
    assert list(find_broken(dataset, tmp_path / 'memory')) == [str(cut)]
    assert set(dataset.read) <= {1, 2}


def test_other_files(tmp_path):
    paths = [tmp_path / name for name in ('none.png', 'empty.png', 'text.png', 'own.raw', 'folder.png')]
    for path in paths[1:4]:
        path.write_bytes(b'' if path.stem == 'empty' else b'text')
    paths[4].mkdir()
    found = find_broken(Pictures(paths), tmp_path / 'memory')
    assert list(found) == [str(path) for path in paths if path.suffix == '.png']
    assert all(found.values())


def test_whole_files_are_remembered_until_they_change(tmp_path, monkeypatch):
    first, second = picture(tmp_path / '1.png'), picture(tmp_path / '2.png')
    looked_at = []
    check = broken.check_whole
    monkeypatch.setattr(broken, 'check_whole', lambda path, size: (looked_at.append(path), check(path, size)))
    dataset = Pictures([first, second, first])
    memory = tmp_path / 'memory'
    assert find_broken(dataset, memory) == {}
    assert sorted(looked_at) == [str(first), str(second)]
    assert find_broken(dataset, memory) == {}
    assert len(looked_at) == 2
    second.write_bytes(second.read_bytes()[:200])
    assert list(find_broken(dataset, memory)) == [str(second)]
    assert looked_at[2:] == [str(second)]
    assert list(find_broken(dataset, memory)) == [str(second)]


@pytest.mark.parametrize('content', ['', '{}', '[1, null]', 'not JSON'])
def test_a_memory_of_nonsense_is_none(tmp_path, content):
    path = picture(tmp_path / '1.png')
    find_broken(Pictures([path]), tmp_path / 'memory')
    (file,) = (tmp_path / 'memory').iterdir()
    file.write_text(content)
    assert find_broken(Pictures([path]), tmp_path / 'memory') == {}
    assert len(file.read_text()) > 10


def test_a_memory_that_cannot_be_written_does_not_matter(tmp_path):
    (tmp_path / 'memory').write_text('a file')
    assert find_broken(Pictures([picture(tmp_path / '1.png')]), tmp_path / 'memory') == {}


def test_what_takes_too_long_is_left_out(tmp_path, monkeypatch):
    (tmp_path / '1.png').write_bytes(b'')
    monkeypatch.setattr(broken, 'MAX_SECONDS', -1)
    assert find_broken(Pictures([tmp_path / '1.png']), tmp_path / 'memory') == {}


def test_bombs_are_left_to_the_limits_of_the_pipeline(tmp_path, monkeypatch):
    """Decompression bombs have an intact end; whether they can be read is left to the pipeline."""
    big, scans = tmp_path / 'big.png', tmp_path / 'scans.jpg'
    Image.new('1', (8001, 8000)).save(big)
    Image.effect_noise((64, 64), 50).save(scans, progressive=True)
    content = scans.read_bytes()
    scans.write_bytes(content[:-2] + content[content.rindex(b'\xff\xda') : -2] * 101 + content[-2:])
    dataset = Pictures([big, scans])
    loader = LoadImage()
    monkeypatch.setattr(Pictures, '__getitem__', lambda _, index: loader(dataset.get_data_info(index)))
    found = find_broken(dataset, tmp_path / 'memory')
    assert 'at most 64,000,000' in found[str(big)]
    assert 'more than 100 scans' in found[str(scans)]
