import json
import warnings

import numpy as np
import pytest
from PIL import Image

from mmconvnext.apis import train
from mmconvnext.errors import UserError
from mmconvnext.reports import runs
from mmconvnext.reports.run_logs import read_run
from mmconvnext.reports.runs import moving_mean, plot_runs


def write_log(folder, rows, cut=''):
    (folder / 'vis_data').mkdir(parents=True)
    (folder / 'vis_data/scalars.json').write_text('\n'.join(map(json.dumps, rows)) + cut)


def row(iteration, loss=1.0, **more):
    return dict(iter=iteration, step=iteration, loss=loss, lr=0.1, **more)


def top1(step, value):
    return {'accuracy/top1': value, 'step': step, 'time': 0.1}


def test_real_run_and_its_continuation_are_one_picture(tiny_config, tmp_path):
    work_dir = tmp_path / 'work'
    options = {'default_hooks.logger.interval': 2}
    train(tiny_config, work_dir=str(work_dir), cfg_options={**options, 'train_cfg.max_epochs': 1})
    train(tiny_config, work_dir=str(work_dir), resume='auto', cfg_options=options)
    run = read_run(work_dir)
    assert sorted(run.training) == [2, 4, 6, 8]
    assert sorted(run.validation) == [1, 2]
    assert run.epoch_length == 4
    assert all({'loss', 'lr', 'images_per_s'} <= scalars.keys() for scalars in run.training.values())
    plot_runs([work_dir], tmp_path / 'curves.png')
    assert np.asarray(Image.open(tmp_path / 'curves.png').convert('L')).std() > 0


def test_what_a_killed_run_logged_beyond_its_checkpoint_is_dropped(tmp_path):
    first = [row(10, 3.0), row(20, 2.0), top1(1, 50.0), row(30, 1.8), row(40, 1.7), top1(2, 55.0)]
    write_log(tmp_path / '20260101_000000', first)
    # Resumed from iteration 20 with another log interval.
    write_log(tmp_path / '20260102_000000', [row(25, 1.5), row(35, 1.4)])
    run = read_run(tmp_path)
    assert {i: scalars['loss'] for i, scalars in run.training.items()} == {10: 3.0, 20: 2.0, 25: 1.5, 35: 1.4}
    assert list(run.validation) == [1]


def test_dated_folder_of_a_run_can_be_named_too(tmp_path):
    write_log(tmp_path / '20260101_000000', [row(10)])
    assert list(read_run(tmp_path / '20260101_000000').training) == [10]


@pytest.mark.parametrize('logged', [0, 200])
def test_iteration_based_run_is_validated_at_its_iterations(tmp_path, logged):
    """mmengine logs either the iteration, or the epoch, which is always 0."""
    write_log(tmp_path / 'a', [row(100), row(200), {'mIoU': 30.0, 'step': logged}, row(300)])
    run = read_run(tmp_path)
    assert run.epoch_length is None
    assert list(run.validation) == [200]
    plot_runs([tmp_path], tmp_path / 'out.png')


def test_run_without_validation_and_throughput_is_drawn(tmp_path):
    write_log(tmp_path / 'a', [row(1), row(2)])
    plot_runs([tmp_path], tmp_path / 'out.png')
    assert Image.open(tmp_path / 'out.png').size[0] > 100


def test_log_cut_off_in_the_middle_of_a_line_is_still_read(tmp_path):
    write_log(tmp_path / 'run', [row(1)], cut='\n{"loss": 2.0, "l')
    assert list(read_run(tmp_path).training) == [1]


def test_folder_without_a_log_is_an_error_and_nothing_is_written(tmp_path):
    write_log(tmp_path / 'good/a', [row(1)])
    (tmp_path / 'bad').mkdir()
    with pytest.raises(UserError, match='bad has no training log'):
        plot_runs([tmp_path / 'good', tmp_path / 'bad'], tmp_path / 'out.png')
    assert not (tmp_path / 'out.png').exists()


@pytest.mark.parametrize(
    ('out', 'message'),
    [
        ('a/vis_data/scalars.json/out.png', 'is a file and no folder'),
        ('out.xyz', 'should end in one of .*.png'),
    ],
)
def test_picture_that_cannot_be_written_is_an_error(tmp_path, out, message):
    write_log(tmp_path / 'a', [row(1)])
    with pytest.raises(UserError, match=message):
        plot_runs([tmp_path], tmp_path / out)
    assert not (tmp_path / out).exists()


def test_smoothing_keeps_a_constant_to_its_ends_and_leaves_out_nan():
    values = np.full(300, 2.0)
    values[100] = np.nan
    np.testing.assert_allclose(moving_mean(values, 6), 2.0)


def test_smoothing_follows_a_slope_without_lag():
    values = np.arange(300.0)
    np.testing.assert_allclose(moving_mean(values, 7)[10:-10], values[10:-10])


def test_epoch_of_a_long_run_is_found_to_a_thousandth(tmp_path):
    rows = [row(epoch * 1251 + i, epoch=epoch + 1) for epoch in range(30) for i in range(100, 1251, 100)]
    write_log(tmp_path / 'a', rows)
    assert read_run(tmp_path).epoch_length == pytest.approx(1251, rel=2e-3)


@pytest.mark.parametrize('name', [r'$\frac{$', '_run', '$$', 'a\nb', 'x' * 200, '\udcff', r'\left('])
def test_folder_of_any_name_is_drawn(tmp_path, name):
    for folder in (tmp_path / name, tmp_path / f'{name}2'):
        write_log(folder / 'a', [row(1), top1(1, 50.0), {**top1(2, 60.0), name: 1.0}])
    plot_runs([tmp_path / name], tmp_path / 'one.png')
    plot_runs([tmp_path / name, tmp_path / f'{name}2'], tmp_path / 'two.png')
    assert Image.open(tmp_path / 'two.png').size[0] > 100


def test_run_whose_name_begins_with_an_underscore_is_in_the_legend(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(runs, 'save_figure', lambda figure, *_, **__: figures.append(figure))
    for name in ('_a', 'b'):
        write_log(tmp_path / name / 'x', [row(1), row(2)])
    plot_runs([tmp_path / '_a', tmp_path / 'b'], tmp_path / 'out.png')
    assert [text.get_text().strip() for text in figures[0].legends[0].texts] == ['_a', 'b']


def test_values_that_no_axis_can_hold_are_left_out(tmp_path):
    write_log(
        tmp_path / 'a',
        [
            *(row(1, 1e308), row(2, -1e308), row(3, float('inf')), row(4, float('nan')), row(5)),
            *(
                top1(1, float('nan')),
                {'m': 1e308, 'step': 2},
                {f'metric {i}': 1.0 for i in range(900)} | {'step': 3},
            ),
        ],
    )
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        plot_runs([tmp_path], tmp_path / 'out.png')
