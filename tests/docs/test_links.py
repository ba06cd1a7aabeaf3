"""Relative links of every document lead to a file, or to a page that the site writes."""

import re

import pytest

from tests.docs.pages import ROOT, documents, hook

LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)\s]*)?\)")
CODE = re.compile(r"^```.*?^```|^    .*?$|`[^`\n]*`", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def written():
    """Pages of the site that its hooks write."""
    pytest.importorskip("mkdocs", reason="pip install 'genomic-icl[docs]'")
    return {ROOT / "docs" / uri for uri in hook("reference").pages()}


@pytest.mark.parametrize("path", documents(), ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(path, written):
    prose = CODE.sub("", path.read_text())
    links = [one for one in LINK.findall(prose) if not re.match(r"[a-z]+:", one)]
    targets = {one: (path.parent / one).resolve() for one in links}
    assert [one for one, at in targets.items() if not at.exists() and at not in written] == []
