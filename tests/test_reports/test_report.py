"""The report of a test: its numbers compared with scikit-learn's, its pictures, and names with HTML."""

import base64
import re
from hashlib import sha256
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS
from PIL import Image
from sklearn import metrics

from mmconvnext.apis import evaluate, load_config
from mmconvnext.errors import UserError
from mmconvnext.registry import default_scope
from mmconvnext.reports.pictures import rgb_of
from mmconvnext.reports.predictions import Prediction, Predictions
from mmconvnext.reports.report import save_report
from mmconvnext.zoo import get_model
from tests.peers import randomize
from tests.processes import call

NASTY = '<img src=x onerror=alert(1)>"\'</script><script>alert(2)</script>'


class Page(HTMLParser):
    """A parser that collects tags with attributes, table rows and all text."""

    def __init__(self, file):
        super().__init__()
        self.tags, self.rows, self.text, self.in_cell = [], [], '', False
        self.feed(file.read_text(encoding='utf-8'))

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == 'tr':
            self.rows.append([])
        elif tag == 'td':
            self.rows[-1].append('')
            self.in_cell = True

    def handle_endtag(self, tag):
        self.in_cell = self.in_cell and tag != 'td'

    def handle_data(self, data):
        self.text += data
        if self.in_cell:
            self.rows[-1][-1] += data.strip()

    def pictures(self):
        sources = [attributes['src'] for tag, attributes in self.tags if tag == 'img']
        return [source.partition(';base64,')[::2] for source in sources]


def random_predictions(names, count=200):
    generator = np.random.default_rng(0)
    scores = generator.dirichlet(np.ones(len(names)), count)
    truths = generator.integers(0, len(names) - 1, count)  # the last class has no images
    return truths, scores


def collected(truths, scores, **settings):
    metric = Predictions(page=True)
    for number, (truth, row) in enumerate(zip(truths, scores, strict=True)):
        image = torch.full((3, 8, 9), number % 256, dtype=torch.uint8)
        sample = dict(pred_score=torch.tensor(row), gt_label=torch.tensor([truth]), **settings)
        metric.process(dict(inputs=[image], data_samples=[object()]), [sample])
    metric.evaluate(len(truths))
    return metric


def test_figures_are_those_of_scikit_learn(tmp_path):
    names = [f'kind {i}' for i in range(8)]
    truths, scores = random_predictions(names)
    predictions = collected(truths, scores).predictions
    save_report(predictions, names, tmp_path / 'page.html', title='net', detail='weights')
    page, labels = Page(tmp_path / 'page.html'), scores.argmax(axis=1)
    precision, recall, _, support = metrics.precision_recall_fscore_support(
        truths, labels, labels=range(8), zero_division=0
    )
    rows = {row[0]: row for row in page.rows if len(row) == 5}
    matrix = metrics.confusion_matrix(truths, labels, labels=range(8))
    for number, name in enumerate(names):
        _, images, accuracy, precise, taken = rows[name]
        assert images == str(support[number])
        assert accuracy == (f'{recall[number]:.1%}'.replace('%', ' %') if support[number] else '–')
        assert precise == f'{precision[number]:.1%}'.replace('%', ' %')
        wrong = matrix[number] * (np.arange(8) != number)
        assert taken == (f'{names[wrong.argmax()]} ({wrong.max()})' if wrong.any() else '')
    assert f'{metrics.accuracy_score(truths, labels):.1%}'.replace('%', ' %') in page.text
    top5 = metrics.top_k_accuracy_score(truths, scores, k=5, labels=range(8))
    assert f'{top5:.1%}'.replace('%', ' %') in page.text
    assert f'{recall[:7].mean():.1%}'.replace('%', ' %') in page.text
    pairs = [row for row in page.rows if len(row) == 4]
    assert int(pairs[0][2]) == (matrix - np.diag(np.diag(matrix))).max()
    assert [int(row[2]) for row in pairs] == sorted((int(row[2]) for row in pairs), reverse=True)


def test_pictures_are_kept_of_the_most_confident_mistakes_and_the_least_certain_right_ones():
    truths, scores = random_predictions(range(4), count=300)
    metric = collected(truths, scores)
    labels, best = scores.argmax(axis=1), scores.max(axis=1)
    wrong, right = np.flatnonzero(labels != truths), np.flatnonzero(labels == truths)
    expected = {*wrong[np.argsort(-best[wrong])][:48], *right[np.argsort(best[right])][:12]}
    kept = {i for i, prediction in enumerate(metric.predictions) if prediction.image is not None}
    assert len(wrong) > 48
    assert kept == expected
    assert all((metric.predictions[i].image == i % 256).all() for i in kept)
    assert [p.score for p in metric.predictions] == pytest.approx(best.tolist())


def test_names_that_are_html_are_text(tmp_path):
    names = [NASTY, f'b{NASTY}', '\udcff']
    image = np.zeros((4, 4, 3), np.uint8)
    predictions = [Prediction(0, 1, 0.9, 1, f'/x/{NASTY}/\udcff.png', image), Prediction(1, 1, 0.8, 0, NASTY)]
    save_report(predictions, names, tmp_path / 'page.html', title=NASTY, detail=NASTY)
    page = Page(tmp_path / 'page.html')
    assert [tag for tag, _ in page.tags].count('script') == 1
    assert not any(name.startswith('on') for _, attributes in page.tags for name in attributes)
    assert all(kind.startswith('data:image/') for kind, _ in page.pictures())
    assert page.text.count(NASTY) >= 8
    policy = dict(page.tags[[tag for tag, _ in page.tags].index('meta') + 1][1])['content']
    assert "default-src 'none'" in policy
    script = re.search(r'<script>(.*?)</script>', (tmp_path / 'page.html').read_text(), re.DOTALL)[1]
    digest = sha256(script.encode()).digest()
    assert f"script-src 'sha256-{base64.b64encode(digest).decode()}'" in policy


def test_many_classes_and_no_mistakes(tmp_path):
    names = [f'kind {i}' for i in range(120)]
    predictions = [Prediction(i, i, 0.5, 0, None) for i in range(120)]
    save_report(predictions, names, tmp_path / 'page.html', title='net', detail='')
    page = Page(tmp_path / 'page.html')
    assert 'There are none.' in page.text
    (kind, data) = page.pictures()[0]
    assert kind == 'data:image/png'
    assert Image.open(BytesIO(base64.b64decode(data))).width > 400


@pytest.mark.parametrize('scores', [{}, dict(pred_score=torch.rand(1))])
def test_a_page_needs_scores(scores):
    sample = dict(gt_label=torch.tensor([0]), pred_label=torch.tensor([0]), **scores)
    batch = dict(inputs=[None], data_samples=[object()])
    Predictions().process(batch, [sample])
    with pytest.raises(UserError, match='leave out --report'):
        Predictions(page=True).process(batch, [sample])


@pytest.mark.parametrize('truth', [torch.tensor([1, 2]), None])
def test_other_labels_than_one_are_refused(truth):
    sample = dict(pred_score=torch.rand(3), gt_label=truth)
    with pytest.raises(UserError, match='for classifiers with one label an image.*leave out --report'):
        Predictions().process(dict(inputs=[None], data_samples=[object()]), [sample])


@pytest.fixture
def weights(tiny_config, tmp_path):
    file = tmp_path / 'net.pth'
    torch.save(dict(state_dict=randomize(get_model(tiny_config)).state_dict()), file)
    return file


def test_tool_writes_what_the_test_measures(tiny_config, weights, tmp_path):
    page = tmp_path / 'report.html'
    done = call('tools/test.py', tiny_config, weights, '--work-dir', tmp_path / 'w', '--report', page)
    assert done.returncode == 0, done.stderr[-2000:]
    top1 = float(done.stdout.split('accuracy/top1: ')[1].split()[0])
    assert f'{top1:.1f} %accuracy' in Page(page).text
    assert f'Report: {page}' in done.stdout + done.stderr


def test_mirror_images_count_as_one_and_the_upright_one_is_shown(tiny_config, weights, tmp_path):
    options = dict(work_dir=str(tmp_path / 'w'), tta=True, report=str(tmp_path / 'page.html'))
    measured = evaluate(tiny_config, weights, **options)['accuracy/top1']
    page = Page(tmp_path / 'page.html')
    assert f'{measured:.1f} %accuracy' in page.text
    assert not list(tmp_path.glob('w/*/classes.csv'))  # for the ClassReportHook, which the config lacks
    shown = [np.asarray(Image.open(BytesIO(base64.b64decode(data)))) for kind, data in page.pictures()[:3]]
    with default_scope('mmpretrain'):
        dataset = DATASETS.build(load_config(tiny_config).test_dataloader.dataset)
    upright = [rgb_of(dataset[i]['inputs']) for i in range(32)]
    assert all(any(np.array_equal(image, one) for one in upright) for image in shown)


def test_wishes_are_checked_before_the_test(tiny_config, tmp_path):
    (tmp_path / 'there.html').touch()
    for report, message in (('page.pdf', 'ends in .html'), ('there.html', 'exists already')):
        with pytest.raises(UserError, match=message):
            evaluate(tiny_config, 'none.pth', report=str(tmp_path / report))
