"""model_zoo.md is up to date, complete, and matches the metafiles."""

import re
import runpy
import shutil
import sys

import page as markdown
import pytest
from cells import figure
from measured import read_results
from page import BUDGETS, HEADINGS, grid, picks, render

from mmconvnext.models.network import ARCHS
from mmconvnext.zoo.entries import imagenet_classifiers, read_model_index, zoo
from tests.conftest import REPO

PAGE = (REPO / 'model_zoo.md').read_text(encoding='utf-8')
ENTRIES = list(zoo().values())
# Rows of the tables start with a name.
ROW = re.compile(r'^\| (?:↳\s)?\[`(.+?)`\]\((\S+)\)(?: ✓)? \|', re.MULTILINE)
SECTIONS = {part.split('\n')[0]: part for part in PAGE.split('\n## ')}


def tool(*arguments, monkeypatch):
    """Run tools/zoo_page/write.py in this process and return its exit code."""
    monkeypatch.setattr(sys, 'argv', ['write.py', *map(str, arguments)])
    try:
        runpy.run_path(str(REPO / 'tools/zoo_page/write.py'), run_name='__main__')
    except SystemExit as exit:
        return exit.code
    return None


def cells(row):
    return [cell.strip() for cell in re.split(r'(?<!\\)\|', row)[1:-1]]


def test_committed_page_is_current(monkeypatch):
    assert tool('--check', monkeypatch=monkeypatch) is None


def test_page_says_what_made_it():
    assert 'tools/zoo_page/write.py' in PAGE.split('\n')[0]
    assert (REPO / 'tools/zoo_page/write.py').exists()


def test_page_is_written_where_asked(monkeypatch, tmp_path):
    assert tool('--out', tmp_path / 'page.md', monkeypatch=monkeypatch) is None
    assert (tmp_path / 'page.md').read_text(encoding='utf-8') == PAGE


def test_changed_metafile_fails_the_check_in_one_line(monkeypatch, tmp_path):
    index = tmp_path / 'model-index.yml'
    for file in (index.name, *(m.relative_to(REPO) for m in REPO.glob('configs/*/metafile.yml'))):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPO / file, tmp_path / file)
    monkeypatch.setattr(markdown, 'zoo', lambda: read_model_index(index))
    assert tool('--check', monkeypatch=monkeypatch) is None
    metafile = tmp_path / 'configs/convnext/metafile.yml'
    text = metafile.read_text()
    metafile.write_text(text.replace('Top 1 Accuracy: 84.192', 'Top 1 Accuracy: 84.392'))
    message = tool('--check', monkeypatch=monkeypatch)
    # sys.exit with a text means exit code 1.
    assert re.fullmatch(
        'Error: .*model_zoo.md does not match .* update it with tools/zoo_page/write.py', message
    )


def test_missing_page_fails_the_check(monkeypatch, tmp_path):
    assert 'update it' in tool('--check', '--out', tmp_path / 'none.md', monkeypatch=monkeypatch)


def test_every_entry_has_one_row_and_leads_to_its_file():
    assert sorted(ROW.findall(PAGE)) == sorted((entry.name, entry.weights) for entry in ENTRIES)


def test_rows_of_files_without_a_hash_carry_no_mark():
    rows = [line for line in PAGE.split('\n') if ROW.match(line)]
    marked = {ROW.match(line)[1] for line in rows if ') ✓ |' in line}
    # OpenMMLab and torchvision put a hash into file names; Hugging Face does not.
    assert 'convnext-base_3rdparty_in21k' in marked
    assert 'convnext_tiny.in12k_ft_in1k' not in marked
    without = len(ENTRIES) - len(marked)
    assert f'{without} of the {len(ENTRIES)} files have no hash' in PAGE


def test_rows_have_as_many_cells_as_their_header():
    lines = PAGE.split('\n')
    tables = re.findall(r'(?:^\|.*\n)+', PAGE, re.MULTILINE)
    assert sum(len(table.strip().split('\n')) for table in tables) == sum(line[:1] == '|' for line in lines)
    for table in tables:
        header, rule, *rows = table.strip().split('\n')
        assert all(re.fullmatch(':--|--:', cell) for cell in cells(rule))
        assert {len(cells(row)) for row in (rule, *rows)} == {len(cells(header))}, header


def test_links_within_the_repository_and_the_page_exist():
    headings = {
        line.lstrip('#').strip().lower().replace(' ', '-') for line in PAGE.split('\n') if line[:1] == '#'
    }
    links = re.findall(r'\]\(([^)]+)\)', PAGE)
    local = [link for link in links if not link.startswith('http')]
    assert {entry.config for entry in ENTRIES if entry.config} <= set(local)
    for link in local:
        assert link[1:] in headings if link.startswith('#') else (REPO / link).exists(), link


def test_picks_are_the_most_accurate():
    for budget in BUDGETS:
        affordable = [
            entry
            for entry in imagenet_classifiers(ENTRIES)
            if entry.top1 is not None and entry.macs <= budget * 1e9
        ]
        best, *usable = (entry for limit, entry in picks(ENTRIES) if limit == budget)
        assert best.top1 == max(entry.top1 for entry in affordable)
        for_sale = [entry for entry in affordable if entry.license in ('MIT', 'Apache-2.0')]
        assert (usable or [best])[0].top1 == max(entry.top1 for entry in for_sale)
        assert (usable or [best])[0].license in ('MIT', 'Apache-2.0')


def test_picks_are_shown_first():
    shown = re.findall(r'^\|[^|]*\| \[`(.+?)`\]', SECTIONS['Which one?'], re.MULTILINE)
    assert shown == [entry.name for _, entry in picks(imagenet_classifiers(ENTRIES))]


def test_best_stand_first_and_copies_below_their_original():
    rows = ROW.findall(SECTIONS['ImageNet-1k classifiers'].split('### Base')[1].split('###')[0])
    names = [name for name, _ in rows]
    best = max((e for e in ENTRIES if e.name in names), key=lambda e: e.top1 or 0)
    assert names[0] == best.name
    place = names.index('convnext_base.1k_224_ema')
    assert set(names[place + 1 : place + 3]) == {'convnext_base.fb_in1k', 'convnext-base_3rdparty_in1k'}


@pytest.mark.parametrize(
    ('name', 'texts'),
    [
        ('convnext_tiny.in12k_ft_in1k', ['84.19<br><sub>84.45@288</sub>']),  # another resolution
        (
            'convnext_base.22k_1k_224',
            ['85.8<br><sub>85.82@224</sub>', '97.87<br><sub>97.87</sub>'],
        ),  # another page of the source
        ('convnext_base.22k_1k_384', ['45.1<br><sub>(47.0)</sub>']),  # another count
        ('convnext-base_3rdparty_in21k', ['<sub>(88.6)</sub>']),
        ('convnextv2_atto.1k_224_ema', ['CC BY-NC', '76.7', '3.71', '0.55']),
    ],
)
def test_row_shows_what_the_source_states_besides(name, texts):
    row = next(cells(line) for line in PAGE.split('\n') if f'[`{name}`]' in line and ROW.match(line))
    assert set(texts) <= set(row)


def test_figures_that_are_only_rounded_are_not_repeated():
    """For V1-Tiny with 28.6 M parameters, the source prints 28M."""
    row = next(line for line in PAGE.split('\n') if ROW.match(line) and '`convnext_tiny.1k_224_ema`' in line)
    assert '<sub>' not in row
    assert figure('28M') == (28e6, 1e6)
    assert figure('47.0G') == (47e9, 0.1e9)
    assert figure('4457472768') == (4457472768, 1)


def test_pipes_are_escaped():
    assert grid(['a'], [['x|y']], []).split('\n')[-1] == '| x\\|y |'


def test_licenses_are_counted():
    rows = [cells(line) for line in SECTIONS['Licenses'].split('\n') if line[:1] == '|'][2:]
    assert sum(int(row[2]) for row in rows) == len(ENTRIES)
    assert next(row for row in rows if row[0] == 'CC-BY-NC-4.0')[1] == 'no'


def test_page_without_measurements_has_no_column_for_them():
    assert 'img/s' not in render(ENTRIES, {}, {}).split('## ImageNet-1k')[1]
    conditions, measured = read_results()
    assert measured and conditions['device'] in PAGE


def test_every_size_has_a_heading():
    assert set(HEADINGS) == set(ARCHS)
