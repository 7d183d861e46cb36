from dataclasses import replace

import chart as accuracy
import pytest
from chart import STYLES, draw, drawn, fingerprint, front, group, plot_accuracy
from matplotlib.colors import to_hex
from measured import read_results
from page import CHART
from PIL import Image

from mmconvnext.zoo.entries import zoo

ENTRIES = drawn(zoo().values())


def test_picture_is_written_in_full_size(tmp_path):
    plot_accuracy(tmp_path / 'accuracy.png')
    picture = Image.open(tmp_path / 'accuracy.png')
    assert picture.size == (1560, 744)
    assert len(picture.convert('RGB').getcolors(1 << 24)) > 50


def test_committed_picture_shows_the_data_as_they_are():
    """If this fails, draw it again with tools/zoo_page/write.py --chart."""
    assert Image.open(CHART).text[accuracy.KEY] == fingerprint(ENTRIES, read_results()[1])


def test_another_accuracy_is_another_fingerprint():
    changed = [replace(ENTRIES[0], top1=99.9), *ENTRIES[1:]]
    assert fingerprint(changed, {}) != fingerprint(ENTRIES, {})


def test_panels_show_every_network_once_at_each_resolution():
    _, measured = read_results()
    by_macs, by_time = draw(ENTRIES, read_results()[0], measured).axes
    networks = {(accuracy.label_of(e), e.architecture, e.resolution) for e in ENTRIES}
    timed = {case for case in networks if case[1:] in measured}
    for axes, cases in ((by_macs, networks), (by_time, timed)):
        assert sum(len(points.get_offsets()) for points in axes.collections) == len(cases)
    assert len(timed) > 20


def test_panel_of_speeds_stays_empty_without_measurements():
    by_macs, by_time = draw(ENTRIES, {}, {}).axes
    assert by_macs.collections and not by_time.collections
    assert 'none was measured' in by_time.get_xlabel()


def test_series_have_a_style_each():
    assert set(group(ENTRIES)) == set(STYLES)
    styles = [(to_hex(style['color']), style['marker']) for style in STYLES.values()]
    assert len(set(styles)) == len(styles)


def test_same_network_counts_with_its_best_weights():
    tiny = [
        e for e in ENTRIES if (e.architecture, e.resolution, e.pretraining) == ('convnext_tiny', 224, None)
    ]
    assert len(tiny) > 3
    assert [e.top1 for e in group(tiny)['ConvNeXt: no pre-training']] == [max(e.top1 for e in tiny)]


def test_front_has_what_nothing_cheaper_surpasses():
    some = [replace(ENTRIES[0], macs=macs, top1=top1) for macs, top1 in [(3, 80), (1, 70), (2, 69), (4, 80)]]
    assert [(e.macs, e.top1) for e in front(some, lambda e: e.macs)] == [(1, 70), (3, 80)]


@pytest.mark.parametrize('pretraining', ['something new'])
def test_pretraining_without_a_style_is_drawn(pretraining):
    by_macs, _ = draw([replace(ENTRIES[0], pretraining=pretraining)], {}, {}).axes
    assert [text.get_text() for text in by_macs.get_legend().get_texts()] == ['ConvNeXt: something new']
