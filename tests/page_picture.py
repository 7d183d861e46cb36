"""Write docs/page.png: a screenshot of the page with a digit that was not in the training data.

tools/train.py configs/digits/convnext-atto_1xb48_digits.py
python -m tests.page_picture work_dirs/convnext-atto_1xb48_digits/epoch_12.pth
"""

import shutil
import sys
import threading
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from mmconvnext.datasets.digits import Digits
from mmconvnext.page.app import application, listening, server
from mmconvnext.page.models import Models, Source
from tests.conftest import REPO

CONFIG = str(REPO / 'configs/digits/convnext-atto_1xb48_digits.py')
NUMBER = 3  # index in the test split


def digit() -> bytes:
    """Return a digit, enlarged for display."""
    pixels = Digits(split='test', pipeline=[])[NUMBER]['img']
    large = Image.fromarray(pixels).resize((256, 256), Image.Resampling.BICUBIC)
    file = BytesIO()
    large.save(file, 'PNG')
    return file.getvalue()


def draw(checkpoint: Path, out: Path) -> None:
    given = [Source('digits.pth', CONFIG, str(checkpoint))]
    with listening('127.0.0.1', 0) as listener, application(Models('cpu'), given, 20, True) as app:
        serving = server(app)
        thread = threading.Thread(target=serving.run, kwargs=dict(sockets=[listener]))
        thread.start()
        with sync_playwright() as playwright:
            chromium = playwright.chromium.launch(
                executable_path=shutil.which('chromium'), args=['--no-sandbox']
            )
            page = chromium.new_page(viewport=dict(width=1160, height=965))
            page.goto('http://{}:{}'.format(*listener.getsockname()))
            image = dict(name='digit.png', mimeType='image/png', buffer=digit())
            page.locator('#image input[type=file]').set_input_files(image)
            page.locator('#heat img').wait_for()
            page.wait_for_timeout(2000)  # the bars are animated
            page.screenshot(path=out)
            chromium.close()
        serving.should_exit = True
        thread.join()


if __name__ == '__main__':
    draw(Path(sys.argv[1]), REPO / 'docs/page.png')
