"""Servers of weights, and an empty cache for their downloads."""

import time

import pytest

from tests.download_servers import Hub, Site, served


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Return the folder of an empty cache, with short pauses between attempts."""
    for name in ('MMCONVNEXT_MIRROR', 'HF_ENDPOINT'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('NO_PROXY', '*')
    monkeypatch.setattr('mmconvnext.checkpoints.receiving.PAUSES', (0, 0.01, 0.01, 0.01, 0.01))
    monkeypatch.setenv('MMCONVNEXT_HOME', str(tmp_path / 'home'))
    return tmp_path / 'home'


@pytest.fixture
def site():
    with served(Site) as site:
        yield site


@pytest.fixture
def hub(monkeypatch):
    with served(Hub) as hub:
        monkeypatch.setenv('HF_ENDPOINT', hub.url)
        yield hub


@pytest.fixture
def waits(monkeypatch):
    """Record the seconds of each ``time.sleep`` instead of sleeping."""
    asked = []
    monkeypatch.setattr(time, 'sleep', asked.append)
    return asked
