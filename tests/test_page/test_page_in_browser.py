"""The page in a browser: what users do, and their mistakes."""

import csv
import re
from io import BytesIO
from urllib.parse import urlsplit

import numpy as np
import pytest
import timm
from PIL import Image
from safetensors.torch import save_file

from mmconvnext import ImageClassificationInferencer
from tests.pages import CLASSES, noise, save_checkpoint
from tests.servers import serve

PUBLISHED = 'test_convnext.r160_in1k'
# Milliseconds, enough for a busy machine.
PATIENCE = 60_000


@pytest.fixture(scope='module')
def expected(checkpoint):
    """Return the most likely class of an image (bytes) and its percentage, computed by the network."""
    inferencer = ImageClassificationInferencer(checkpoint, device='cpu')

    def best(content):
        (result,) = inferencer(Image.open(BytesIO(content)).convert('RGB'))
        return result['pred_class'], f'{100 * result["pred_score"]:.0f}%'

    return best


@pytest.fixture(scope='module')
def context(browser):
    context = browser.new_context(viewport=dict(width=1180, height=980))
    context.set_default_timeout(PATIENCE)
    yield context
    context.close()


@pytest.fixture
def page(context, opened):
    """Open the page; requests to other servers and errors in its console fail the test."""
    page = context.new_page()
    asked, failures = set(), []
    page.on('request', lambda request: asked.add(urlsplit(request.url).netloc))
    page.on('pageerror', lambda error: failures.append(error))
    visit(page, opened)
    yield page
    page.close()
    assert asked - {''} == {urlsplit(opened.url).netloc}  # embedded pictures have no URL
    assert not failures


def visit(page, opened):
    page.goto(opened.url)
    page.locator('#said .facts, #said .problem').or_(page.locator('#image input')).first.wait_for(
        state='attached'
    )


def drop(page, content, name='image.png', into='#image'):
    file = dict(name=name, mimeType='image/png', buffer=content)
    page.locator(f'{into} input[type=file]').set_input_files(file)


def best_of(page):
    """Wait for the first bar and return its class and percentage."""
    bar = page.locator('#scores button').first
    return bar.locator('dt').inner_text(), bar.locator('dd').inner_text()


def problem_of(page):
    return page.locator('#said .problem').inner_text()


def test_an_image_gets_its_classes_heat_and_latency(page, expected):
    drop(page, noise(1), '../../<b>evil.png')
    assert best_of(page) == expected(noise(1))
    assert page.locator('#scores button').count() == 5
    assert page.locator('#scores i').count() == 0  # as in the names of the classes
    said = page.locator('#said')
    assert re.search(r'\d+\.\d ms\nin the network|\d+\.\d ms in the network', said.inner_text())
    assert 'small.pth' in said.inner_text()
    assert 'Grad-CAM: what speaks for =<i>kind' in page.locator('#heat').inner_text()
    heat = page.request.get(page.locator('#heat img').get_attribute('src')).body()
    with Image.open(BytesIO(heat)) as picture:
        assert picture.size == (448, 448)
        assert np.asarray(picture).std() > 10

    other = page.locator('#scores button').nth(1)
    name = other.locator('dt').inner_text()
    other.click()
    page.locator('#heat').get_by_text(f'what speaks for {name}').wait_for()
    assert page.request.get(page.locator('#heat img').get_attribute('src')).body() != heat


def test_broken_and_large_files_are_told_of_and_leave_the_page_usable(page, expected):
    drop(page, noise(2)[:60], '<i>half.png')
    page.locator('#said .problem').wait_for()
    assert problem_of(page).startswith('<i>half.png: ')
    assert page.locator('#said i').count() == 0
    assert page.locator('#scores button').count() == 0
    page.get_by_label('Remove Image').click()
    page.locator('#said .problem').wait_for(state='detached')

    drop(page, b'\0' * 1_500_000, 'large.png')
    page.get_by_text('large.png has 1.5 MB; at most 1 MB are taken').wait_for()

    drop(page, noise(2))
    assert best_of(page) == expected(noise(2))


def test_another_model_classifies_anew_and_shows_its_license(page, tmp_path, monkeypatch):
    folder = tmp_path / 'hub/timm' / PUBLISHED
    folder.mkdir(parents=True)
    save_file(timm.create_model(PUBLISHED.partition('.')[0]).state_dict(), folder / 'model.safetensors')
    drop(page, noise(3))
    assert best_of(page)[0] in CLASSES
    with serve(tmp_path / 'hub') as url:
        monkeypatch.setenv('HF_ENDPOINT', url)
        monkeypatch.setenv('MMCONVNEXT_HOME', str(tmp_path / 'cache'))
        page.locator('#model input').click()
        page.wait_for_function("getSelection().toString() == 'small.pth'")  # so that typing replaces the text
        page.keyboard.type(PUBLISHED)
        page.keyboard.press('Enter')
        page.locator('#said .facts').get_by_text(PUBLISHED).wait_for()
    assert re.search(r'License\s+Apache-2.0', page.locator('#said').inner_text())
    assert best_of(page)[0] not in CLASSES


def test_a_checkpoint_of_ones_own_takes_the_place_of_the_model(page, expected, tmp_path):
    drop(page, noise(4))
    first = best_of(page)
    assert first == expected(noise(4))
    own = save_checkpoint(tmp_path / 'own.pth', seed=5)
    (result,) = ImageClassificationInferencer(own, device='cpu')(Image.open(BytesIO(noise(4))).convert('RGB'))
    drop(page, own.read_bytes(), '<u>own.pth', into='#checkpoint')
    page.locator('#said .facts').get_by_text('<u>own.pth').wait_for()
    assert best_of(page) == (result['pred_class'], f'{100 * result["pred_score"]:.0f}%') != first


def test_what_is_no_checkpoint_is_told_of(page):
    drop(page, noise(5), 'image.pth', into='#checkpoint')
    page.locator('#refused .problem').wait_for()  # without an image
    drop(page, noise(5))
    page.locator('#said .problem').wait_for()
    assert page.locator('#refused').inner_text() == problem_of(page)
    assert 'image.pth is not a checkpoint; expected .safetensors' in problem_of(page)
    assert '/' not in problem_of(page).replace('image.pth', '')


def test_many_images_give_a_table_and_a_csv(page, expected, opened, tmp_path):
    page.get_by_role('tab', name='Many images').click()
    names = ['=1+1.png', '<b>bold.png', '../../up.png', 'broken.png']
    contents = [noise(10), noise(11), noise(12), noise(13)[:50]]
    page.locator('#images input[type=file]').set_input_files(
        [dict(name=n, mimeType='image/png', buffer=c) for n, c in zip(names, contents, strict=True)]
    )
    page.locator('#images').get_by_text('broken').first.wait_for()
    page.get_by_role('button', name='Classify all').click()
    page.get_by_text('3 of 4 images classified').wait_for()
    page.locator('#table').get_by_text('<b>bold.png').locator('visible=true').first.wait_for()
    assert page.locator('#table b').count() == 0
    with page.expect_download() as download:
        page.locator('#csv').click()
    assert download.value.suggested_filename == 'results.csv'
    download.value.save_as(tmp_path / 'results.csv')
    with (tmp_path / 'results.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['path'] for row in rows] == ["'=1+1.png", '<b>bold.png', 'up.png', 'broken.png']
    for row, content in zip(rows[:3], contents, strict=False):
        name, percent = expected(content)
        assert row['class_1'] == f"'{name}"
        assert f'{100 * float(row["score_1"]):.0f}%' == percent
        assert not row['error']
    assert rows[3]['error'] and not rows[3]['class_1']
    assert not any('up' in name or 'bold' in name for name in opened.files)


@pytest.mark.slow
def test_ten_users_at_once_get_their_own_results(context, opened, expected):
    pages = [context.new_page() for _ in range(10)]
    contents = [noise(100 + number) for number in range(10)]
    results = [expected(content) for content in contents]
    assert len(set(results)) > 5  # a result of another user would be noticed
    for page in pages:
        visit(page, opened)
    for page, content in zip(pages, contents, strict=True):
        drop(page, content)
    assert [best_of(page) for page in pages] == results
    for page in pages:
        page.close()
