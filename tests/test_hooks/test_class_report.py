"""The report on every class after trainings and tests."""

import csv
import json

import pytest
import torch
from mmpretrain.evaluation import ConfusionMatrix
from PIL import Image

from mmconvnext.apis import evaluate, train
from mmconvnext.errors import UserError
from mmconvnext.reports.class_results import class_results, csv_of, table_of
from mmconvnext.reports.confusion import save_confusion
from mmconvnext.reports.predictions import Predictions, confusion_matrix

REPORT = {'custom_hooks': [dict(type='mmconvnext.ClassReportHook')]}


def rows_of(folder):
    with (folder / 'classes.csv').open() as file:
        return list(csv.DictReader(file))


def test_training_and_test_report_the_accuracy_that_is_logged(tiny_config, tmp_path):
    work_dir = tmp_path / 'work'
    options = {**REPORT, 'train_cfg.val_interval': 2, 'train_cfg.max_epochs': 3}
    runner = train(tiny_config, work_dir=str(work_dir), cfg_options=options)
    rows = rows_of(work_dir)
    assert [row['class'] for row in rows] == [str(digit) for digit in range(10)]
    right, images = (sum(int(row[field]) for row in rows) for field in ('correct', 'images'))
    assert images == 32
    assert 100 * right / images == pytest.approx(runner.message_hub.get_info('best_score'))
    assert min(Image.open(work_dir / 'confusion_matrix.png').size) > 300

    before = {path: path.read_bytes() for path in work_dir.iterdir() if path.is_file()}
    options = dict(work_dir=str(work_dir), report=str(tmp_path / 'page.html'), cfg_options=REPORT)
    metrics = evaluate(tiny_config, work_dir / 'epoch_3.pth', **options)
    assert {path: path.read_bytes() for path in before} == before  # written by the training
    (folder,) = (path.parent for path in work_dir.glob('*/classes.csv'))
    assert next(folder.glob('*.log')).read_text().count('Classes of epoch_3.pth') == 1
    assert 'Most confident mistakes' in (tmp_path / 'page.html').read_text()
    assert (folder / 'confusion_matrix.png').exists()
    right = sum(int(row['correct']) for row in rows_of(folder))
    assert list(metrics) == ['accuracy/top1', 'accuracy/top5']
    assert 100 * right / 32 == pytest.approx(metrics['accuracy/top1'])


def test_the_report_is_of_the_best_checkpoint_though_the_run_went_on(tiny_config, tmp_path):
    """A learning rate of 1 makes the network worse after the first epoch, here in a resumed run."""
    options = {**REPORT, 'train_cfg.max_epochs': 3, 'optim_wrapper.optimizer.lr': 0.02}
    options['param_scheduler'] = [dict(type='MultiStepLR', milestones=[1], gamma=100.0)]
    train(tiny_config, work_dir=str(tmp_path / 'whole'), cfg_options=options)
    train(tiny_config, work_dir=str(tmp_path / 'parts'), cfg_options={**options, 'train_cfg.max_epochs': 2})
    runner = train(tiny_config, work_dir=str(tmp_path / 'parts'), resume='latest', cfg_options=options)
    best = runner.message_hub.get_info('best_score')
    assert best > runner.message_hub.get_scalar('val/accuracy/top1').current()
    for rows in map(rows_of, (tmp_path / 'whole', tmp_path / 'parts')):
        assert 100 * sum(int(row['correct']) for row in rows) / 32 == pytest.approx(best)
        assert {row['checkpoint'] for row in rows} == {'best_accuracy_top1_epoch_1.pth'}


def test_without_a_best_checkpoint_the_report_is_of_the_last_validation(tiny_config, tmp_path):
    options = {**REPORT, 'train_cfg.max_epochs': 1, 'default_hooks.checkpoint.save_best': None}
    runner = train(tiny_config, work_dir=str(tmp_path), cfg_options=options)
    rows = rows_of(tmp_path)
    last = runner.message_hub.get_scalar('val/accuracy/top1').current()
    assert 100 * sum(int(row['correct']) for row in rows) / 32 == pytest.approx(last)
    assert {row['checkpoint'] for row in rows} == {'the last validation'}


def test_matrix_stays_out_of_logs_and_takes_little_room_in_checkpoints(tiny_config, tmp_path):
    train(tiny_config, work_dir=str(tmp_path), cfg_options={**REPORT, 'train_cfg.max_epochs': 1})
    scalars = next(tmp_path.glob('*/vis_data/scalars.json')).read_text().splitlines()
    assert set(json.loads(scalars[-1])) <= {'accuracy/top1', 'accuracy/top5', 'data_time', 'time', 'step'}
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert log.count('Classes of best_accuracy_top1_epoch_1.pth') == 1
    assert 'tensor(' not in log
    hub = torch.load(tmp_path / 'epoch_1.pth', weights_only=False)['message_hub']
    (matrix,) = hub['runtime_info']['confusions']
    assert matrix['counts'].sum() == 32
    assert len(matrix['places']) <= 32


def test_without_validation_there_is_nothing_to_report(tiny_config, tmp_path):
    options = {**REPORT, 'train_cfg.max_epochs': 1}
    train(tiny_config, work_dir=str(tmp_path), no_validate=True, cfg_options=options)
    assert not (tmp_path / 'classes.csv').exists()


def test_rows_say_what_a_class_is_taken_for():
    matrix = torch.tensor([[8, 0, 2], [1, 4, 5], [0, 0, 0]])
    cat, dog, eel = class_results(matrix, ('cat', 'dog', 'eel'))
    assert (cat.images, cat.correct, cat.accuracy, cat.confused_with, cat.confused_images) == (
        *(10, 8, 80.0),
        *('eel', 2),
    )
    assert (dog.accuracy, dog.confused_with) == (40.0, 'eel')
    assert (eel.accuracy, eel.confused_with) == (None, '')
    assert csv_of([cat, eel], 'a.pth').splitlines()[1:] == [
        '0,cat,10,8,80.00,eel,2,a.pth',
        '2,eel,0,0,,,,a.pth',
    ]
    assert matrix[0, 0] == 8  # the matrix is unchanged


def test_table_has_the_worst_twenty_first():
    matrix = torch.diag(torch.arange(30)) + torch.eye(30).long().roll(1, dims=1)
    lines = table_of(class_results(matrix, tuple(f'[red]kind_{i:02}' for i in range(30)))).splitlines()
    listed = [line.split()[0] for line in lines if 'kind' in line]
    assert listed == [f'[red]kind_{i:02}' for i in range(20)]
    assert lines[-1] == 'These are the 20 worst of 30 classes.'


def test_classes_without_images_are_counted():
    text = table_of(class_results(torch.diag(torch.tensor([3, 0])), ('cat', 'dog')))
    assert 'cat' in text
    assert text.endswith('1 class had no images here: dog.\n')


@pytest.mark.parametrize('size', [2, 41, 300])
def test_picture_of_any_number_of_classes(tmp_path, size):
    names = [rf'$\frac{{$ {i} 猫 {"long " * i}' for i in range(size)]
    save_confusion(torch.eye(size).long().numpy(), names, tmp_path / 'matrix.png', title='$\\sqrt{$')
    assert min(Image.open(tmp_path / 'matrix.png').size) > 400
    colours = Image.open(tmp_path / 'matrix.png').convert('RGB').getcolors(1 << 20)
    assert any(blue > red + 60 for _, (red, _, blue) in colours)  # the diagonal is drawn


def collected(samples, **meta):
    metric = Predictions()
    metric.dataset_meta = meta
    metric.process(dict(inputs=[None] * len(samples), data_samples=samples), samples)
    metric.evaluate(len(samples))
    return confusion_matrix(metric.predictions, metric.num_classes)


def sample(truth, label=None, scores=None):
    tensors = dict(gt_label=[truth], pred_label=label if label is None else [label], pred_score=scores)
    return {name: torch.tensor(value) for name, value in tensors.items() if value is not None}


PAIRS = [(0, 2), (1, 1), (0, 0), (1, 2), (0, 2)]


def test_labels_without_scores_are_counted_as_by_mmpretrain():
    samples = [sample(*pair) for pair in PAIRS]
    theirs = ConfusionMatrix(num_classes=3)
    theirs.process({}, samples)
    expected = theirs.evaluate(len(samples))['confusion_matrix/result']
    assert torch.equal(collected(samples), expected)
    assert torch.equal(collected(samples, classes=('cat', 'dog', 'eel')), expected)
    assert collected(samples, classes=('cat', 'dog', 'eel', 'fox')).shape == (4, 4)


def test_one_output_is_counted():
    """Of one class it is a certainty; of two, the label comes with it."""
    assert collected([sample(0, scores=[0.7]), sample(0, 0, [1.0])]).tolist() == [[2]]
    two = [sample(0, 0, [0.2]), sample(1, 1, [0.9]), sample(1, 0, [0.4])]
    assert collected(two, classes=('good', 'broken')).tolist() == [[1, 0], [1, 1]]


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        (sample(2, scores=[0.1, 0.9]), 'an image has the true label 2; expected 0 to 1 for 2 classes'),
        (sample(-1, scores=[0.1, 0.9]), 'true label -1; expected 0 to 1'),
        (sample(1, 5), 'predicted label 5; expected 0 to 2 for 3 classes'),
        (sample(0.5, scores=[0.3]), 'for classifiers with one label an image'),
        (sample(1), 'for classifiers with one label an image'),
    ],
)
def test_labels_out_of_range_and_values_are_messages(wrong, message):
    with pytest.raises(UserError, match=message):
        collected([wrong], classes=('cat', 'dog', 'eel'))
