"""Two runs in one process have separate visualizers."""

from mmengine.config import Config
from mmengine.visualization import Visualizer

from mmconvnext.engine.runner import Runner


class OtherVisualizer(Visualizer):
    """Represents the visualizer of another library."""


def test_a_name_that_an_earlier_run_used_gives_a_new_current_visualizer(tiny_config, tmp_path):
    cfg = Config.fromfile(tiny_config)
    earlier = OtherVisualizer.get_instance('visualizer')
    OtherVisualizer.get_instance('newer')
    cfg.visualizer = dict(type='Visualizer', name='visualizer', vis_backends=[dict(type='LocalVisBackend')])
    cfg.work_dir = str(tmp_path / 'second')
    runner = Runner.from_cfg(cfg)
    assert runner.visualizer is not earlier
    with runner.isolated():
        assert Visualizer.get_current_instance() is runner.visualizer
    assert OtherVisualizer.get_instance('visualizer') is earlier
    (backend,) = runner.visualizer._vis_backends.values()
    assert str(backend._save_dir).startswith(cfg.work_dir)
