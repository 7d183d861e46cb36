"""Configuration of the documentation site, which `make docs` builds into docs/_build/html.

The pages can also be read on GitHub. There, a line that is only a link to a section of README.md or to
model_zoo.md stays a link; here, it is replaced by the text, so that every fact has one source.
"""

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from mmconvnext import __version__  # noqa: E402, found beside this folder

project = 'mmconvnext'
release = __version__
html_title = f'mmconvnext {release}'
extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon', 'sphinx.ext.viewcode']
exclude_patterns = ['_build']
html_theme = 'furo'
html_static_path = ['_static']
html_css_files = ['site.css']
html_copy_source = False
html_show_copyright = False
html_theme_options = dict(
    light_css_variables={'color-brand-primary': '#0b6e4f', 'color-brand-content': '#0b6e4f'},
    dark_css_variables={'color-brand-primary': '#5fd3a8', 'color-brand-content': '#5fd3a8'},
)

myst_heading_anchors = 3  # GitHub's
suppress_warnings = ['myst.header']  # a page that begins with a part of another
autodoc_member_order = 'bysource'
autodoc_typehints = 'description'
autodoc_typehints_description_target = 'documented'
napoleon_numpy_docstring = False
napoleon_use_ivar = True

INCLUDE = re.compile(r'^\[[^\]]*\]\(\.\./(README|model_zoo)\.md(?:#([\w-]+))?\)$', re.MULTILINE)
LINK = re.compile(r'(!?\[[^\]]*\])\((?!https?:|#)([^)#]+)(#[^)]*)?\)')


def include(found: re.Match) -> str:
    """Return the text that a line links to, without its heading and with links relative to docs/."""
    text = (ROOT / f'{found[1]}.md').read_text(encoding='utf-8')
    if found[2]:
        text = section(text, found[2])
    return LINK.sub(from_docs, re.split(r'^#+ .*\n', text, maxsplit=1, flags=re.MULTILINE)[1])


def section(text: str, anchor: str) -> str:
    """Return the section of a page whose heading has this anchor on GitHub.

    Raises:
        KeyError: there is no such section.
    """
    for part in re.split(r'^(?=## )', text, flags=re.MULTILINE):
        heading = part.partition('\n')[0].lstrip('# ')
        if re.sub(r'[^\w -]', '', heading.lower()).replace(' ', '-') == anchor:
            return part
    raise KeyError(f'README.md has no section #{anchor}')


def from_docs(link: re.Match) -> str:
    """Rewrite a link in a top-level file for a page in docs/."""
    text, target, anchor = link[1], link[2], link[3] or ''
    inside = target.startswith('docs/')
    return f'{text}({target.removeprefix("docs/") if inside else f"../{target}"}{anchor})'


def on_the_site(link: re.Match) -> str:
    """Rewrite a link in docs/ to the page of the site; folders have no page."""
    text, target, anchor = link[1], link[2], link[3] or ''
    if target == '../model_zoo.md':
        return f'{text}(zoo.md{anchor})'
    if (ROOT / 'docs' / target).is_dir():
        return text[1:-1]
    return link[0]


def read(app: Sphinx, name: str, source: list[str]) -> None:
    source[0] = LINK.sub(on_the_site, INCLUDE.sub(include, source[0]))


def setup(app: Sphinx) -> None:
    app.connect('source-read', read)
