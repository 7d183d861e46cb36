"""Weights from the Hugging Face Hub are found, cached, and checked."""

import re
from pathlib import Path

import pytest

from mmconvnext.checkpoints.downloading import MissingFileError, fetch
from mmconvnext.errors import UserError
from tests.download_servers import BODY, OTHER

pytestmark = pytest.mark.usefixtures('home')


@pytest.mark.parametrize('host', ['https://huggingface.co', None])
def test_hub_file_comes_from_hf_endpoint_and_later_from_the_cache(hub, home, host):
    hub.files['sub/config.json'] = b'{}'
    url = f'{host or hub.url}/owner/net/resolve/main/sub/config.json?download=true'
    file = fetch(url)
    assert file.read_bytes() == b'{}'
    assert home / 'hub' in file.parents
    hub.stop()
    assert fetch(url) == file


def test_weights_of_another_name_are_found_on_the_hub_and_in_the_cache(hub):
    hub.files['pytorch_model.bin'] = BODY
    url = 'https://huggingface.co/owner/net/resolve/main/model.safetensors'
    file = fetch(url)
    assert file.name == 'pytorch_model.bin'
    assert file.read_bytes() == BODY
    assert fetch(url) == file
    # Files that are known to be missing are not requested again.
    assert hub.asked.count(('HEAD', '/owner/net/resolve/main/model.safetensors')) == 1
    hub.stop()
    assert fetch(url) == file


def test_weights_that_were_asked_for_come_first(hub):
    hub.files = {'model.safetensors': BODY, 'open_clip_pytorch_model.bin': OTHER}
    url = 'https://huggingface.co/owner/net/resolve/main/open_clip_pytorch_model.bin'
    assert fetch(url).read_bytes() == OTHER


def test_repository_without_weights_names_all_that_were_tried(hub, home):
    with pytest.raises(
        MissingFileError,
        match='owner/net at main has no pytorch_model.bin or model.safetensors or '
        'open_clip_model.safetensors or open_clip_pytorch_model.bin',
    ):
        fetch('https://huggingface.co/owner/net/resolve/main/pytorch_model.bin')
    assert not list(home.rglob('snapshots/*/*'))


def test_optional_file_that_the_hub_lacks_is_told_from_a_failure(hub):
    url = 'https://huggingface.co/owner/net/resolve/main/preprocessor_config.json'
    with pytest.raises(MissingFileError, match='has no preprocessor_config.json; check the URL'):
        fetch(url)
    hub.files['preprocessor_config.json'] = b'{}'  # and it is requested again
    assert fetch(url).read_bytes() == b'{}'


@pytest.mark.parametrize(
    ('trouble', 'reason'), [('refuses', 'Cannot access gated repo'), ('is_no_hub', 'check your firewall')]
)
def test_hub_that_gives_nothing_is_named_with_what_helps(hub, home, trouble, reason):
    setattr(hub, trouble, True)
    url = 'https://huggingface.co/owner/net/resolve/main/model.safetensors'
    with pytest.raises(UserError) as error:
        fetch(url)
    assert error.type is UserError
    for word in (url, hub.url, reason, str(home / 'hub'), 'HF_ENDPOINT', 'HF_TOKEN', 'MMCONVNEXT_HOME'):
        assert word.lower() in str(error.value).lower()
    assert not list(home.rglob('snapshots/*/*'))


def test_a_file_that_was_put_into_the_cache_by_hand_is_used(hub, home):
    hub.stop()
    url = f'{hub.url}/owner/net/resolve/main/model.safetensors'
    with pytest.raises(UserError) as error:
        fetch(url)
    place = Path(re.search(r'put the file at (\S+) yourself', str(error.value))[1])
    place.write_bytes(BODY)
    assert fetch(url) == place


def test_an_unreachable_hub_is_told_at_once_with_ways_to_go_on(hub, home, waits):
    hub.stop()
    with pytest.raises(UserError) as error:
        fetch('https://huggingface.co/owner/net/resolve/main/model.safetensors')
    assert sum(waits) < 5  # out of 23 attempts by huggingface_hub
    for word in ('Connection refused', str(home), 'load_from=FILE', 'load_from=None', 'HF_ENDPOINT'):
        assert word in str(error.value)


def test_a_page_from_the_hub_is_not_kept(hub, home):
    hub.files['model.safetensors'] = b'<!doctype html><p>Log in'
    with pytest.raises(UserError, match='a page of HTML .* nothing of it was kept'):
        fetch(f'{hub.url}/owner/net/resolve/main/model.safetensors')
    assert not list(home.rglob('snapshots/*/*')) and not list(home.rglob('blobs/*'))
