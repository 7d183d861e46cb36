"""The text of a config, formatted once for each content."""

import copy

from mmengine.config import Config

from mmconvnext.apis import load_config, train
from mmconvnext.config.printing import PrintedConfig


def test_text_is_that_of_mmengine_and_follows_changes():
    cfg = load_config('convnext-tiny_32xb128_in1k')
    printed = PrintedConfig.of(cfg)
    assert printed.pretty_text == cfg.pretty_text
    printed.model.backbone.arch = 'small'
    assert "arch='small'" in printed.pretty_text
    assert cfg.filename == printed.filename
    copied = copy.deepcopy(printed)
    copied.train_cfg.max_epochs = 7
    assert 'max_epochs=7' in copied.pretty_text
    assert 'max_epochs=7' not in printed.pretty_text


def test_a_run_formats_it_once_for_itself_and_once_for_its_rehearsal(tiny_config, tmp_path, monkeypatch):
    formatted = []
    pretty_text = Config.pretty_text.fget
    monkeypatch.setattr(
        Config, 'pretty_text', property(lambda cfg: formatted.append(cfg.work_dir) or pretty_text(cfg))
    )
    train(tiny_config, work_dir=str(tmp_path / 'w'))
    assert len(formatted) == len(set(formatted)) == 2
    assert str(tmp_path / 'w') in formatted
