"""Changes that prevent a run from being resumed."""

import pytest

from mmconvnext.engine.record import FIXED, check_unchanged
from mmconvnext.errors import UserError

RECORD = {**dict.fromkeys(FIXED), 'files': '25318fc41ad7b458'}


@pytest.mark.parametrize('images', [48, 49])
def test_changed_files_are_told_in_words_and_only_if_their_number_is_the_same(images):
    with pytest.raises(UserError) as caught:
        check_unchanged(
            {**RECORD, 'images': 48}, {**RECORD, 'images': images, 'files': '9c92f3d5'}, 'last.pth'
        )
    assert '25318' not in str(caught.value) and '9c92' not in str(caught.value)
    assert ('other paths or labels of the training images' in str(caught.value)) == (images == 48)
