"""What our Runner does otherwise than mmengine's."""

import pytest
from mmengine.visualization import Visualizer

from mmconvnext.apis import build_runner, load_config
from mmconvnext.errors import UserError


@pytest.fixture
def runner_of(tiny_config, tmp_path):
    def build(**options):
        cfg = load_config(tiny_config, options)
        cfg.work_dir, cfg.launcher = str(tmp_path / 'work'), 'none'
        return build_runner(cfg, ('train_dataloader', 'val_dataloader'))

    return build


def save(runner, out_dir, name='net.pth'):
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.save_checkpoint(str(out_dir), name, save_param_scheduler=False)


def test_a_folder_where_a_checkpoint_belongs_is_kept(runner_of, tmp_path):
    (tmp_path / 'out/net.pth/photos').mkdir(parents=True)
    with pytest.raises(UserError, match='net.pth is a folder of something else; move it'):
        save(runner_of(), tmp_path / 'out')
    assert [path.name for path in (tmp_path / 'out').rglob('*')] == ['net.pth', 'photos']


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(runner_of, tmp_path, monkeypatch):
    runner = runner_of()
    save(runner, tmp_path)
    before = (tmp_path / 'net.pth').read_bytes()

    def full(*args, **kwargs):
        raise OSError('No space left on device')

    monkeypatch.setattr('mmengine.runner.runner.save_checkpoint', full)
    with pytest.raises(OSError, match='No space left'):
        runner.save_checkpoint(str(tmp_path), 'net.pth', save_param_scheduler=False)
    assert (tmp_path / 'net.pth').read_bytes() == before
    assert not (tmp_path / '.unfinished').exists()


def test_files_of_others_are_kept_under_names_that_are_free(runner_of, tmp_path):
    runner = runner_of()
    for content in ('first', 'second'):
        (tmp_path / 'net.pth').write_text(content)
        save(runner, tmp_path) if content == 'first' else runner.set_aside(tmp_path / 'net.pth')
    assert (tmp_path / 'net.pth.old').read_text() == 'first'
    assert (tmp_path / 'net.pth.old1').read_text() == 'second'


def test_a_plain_dict_builds_a_runner_as_in_mmengine(tmp_path):
    from mmconvnext.engine.runner import Runner

    cfg = dict(model=dict(type='mmconvnext.ConvNeXt', arch='atto'), work_dir=str(tmp_path / 'w'))
    assert Runner.from_cfg(cfg).work_dir == str(tmp_path / 'w')


def test_each_run_has_a_visualizer_of_its_own(runner_of, tmp_path):
    first, second = (runner_of(**{'visualizer.name': 'visualizer', 'experiment_name': name}) for name in 'ab')
    assert first.visualizer is not second.visualizer
    for runner in (first, second, first):
        with runner.isolated():
            assert Visualizer.get_current_instance() is runner.visualizer


def test_the_logged_rate_is_scaled_with_the_batch(runner_of):
    """The tiny config's base batch is its own, 16; with twice that the rate halves, and is logged so."""
    runner = runner_of(**{'auto_scale_lr': dict(enable=True, base_batch_size=32)})
    optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    rates = [group['lr'] for group in optim_wrapper.param_groups]
    logged = optim_wrapper.base_param_settings['lr']
    runner.scale_lr(optim_wrapper, runner.cfg.auto_scale_lr)
    assert optim_wrapper.base_param_settings['lr'] == logged / 2
    assert [group['lr'] for group in optim_wrapper.param_groups] == [rate / 2 for rate in rates]
