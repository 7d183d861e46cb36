"""What the README says of networks and files is so; tests/test_commands.py runs its commands."""

import re

import torch
from mmengine.registry import MODELS

from mmconvnext.models import ARCHS
from tests.commands import README, blocks
from tests.conftest import REPO


def test_channels_of_every_architecture_are_those_of_the_table():
    rows = re.findall(r'^\| ((?:`[a-z]+`(?:, )?)+) \| ([\d, ]+) \|$', README.read_text(), re.MULTILINE)
    assert len(rows) == 9
    for names, channels in rows:
        for name in re.findall('[a-z]+', names):
            assert list(ARCHS[name]['channels']) == [int(width) for width in channels.split(',')]


def test_backbone_of_the_detection_example_gives_the_channels_of_its_neck():
    block = next(block for block in blocks(README, 'python') if 'FPN' in block)
    config = {}
    exec(block, config)
    with torch.device('meta'):
        features = MODELS.build(config['backbone']).eval()(torch.empty(1, 3, 64, 64))
    assert [f.shape[1] for f in features] == config['neck']['in_channels']


def test_pictures_and_files_named_in_the_readme_exist():
    for link in re.findall(r'\]\(([^)#]+)\)', README.read_text()):
        assert link.startswith('http') or (REPO / link).exists(), link
