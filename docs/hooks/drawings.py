"""MkDocs hook: drawings stand in the page itself, so that they follow its light or dark colours.

Drawings are the SVG files of docs/drawings. As files, where the repository is browsed, they follow
the reader's system; in the page they take the colours of its palette.
"""

from __future__ import annotations

import html
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

FOLDER = Path(__file__).resolve().parents[1] / "drawings"
DRAWING = re.compile(r'<img alt="([^"]*)" src="[^"]*drawings/(\w+)\.svg"\s*/?>')


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Replace the images that show drawings by the drawings."""

    def drawn(match: re.Match[str]) -> str:
        alt, name = match.groups()
        svg = (FOLDER / f"{name}.svg").read_text()
        label = html.escape(html.unescape(alt), quote=True)
        return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)

    return DRAWING.sub(drawn, content)
