"""MkDocs hook: links that leave docs/ work on the site as they do in the repository.

Pages link to files of the repository by relative paths. On the site, a Markdown file outside docs/
becomes a page, a module of ours leads to the reference of its package, and any other file, such as
a table of results, is copied. A link to what is not there stops the build.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
COPIED = "files"
"""Folder of the site that holds copied files under their paths in the repository."""

PAGES = {
    "ARCHITECTURE.md": "project/architecture.md",
    "CHANGELOG.md": "project/changelog.md",
    "CODE_OF_CONDUCT.md": "project/code-of-conduct.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "LOG.md": "project/log.md",
    "SECURITY.md": "project/security.md",
    "README.md": "index.md",
    "experiments/recipes/README.md": "results/recipes.md",
    "experiments/recipes/recall/README.md": "results/recall.md",
    "backbone/weights/README.md": "results/bundled.md",
    "experiments/recipes/results": "results/files.md",
}
"""Pages of the site by the Markdown files, or the folder, that they are made of."""

TABLES = "experiments/recipes/results"
"""Folder of results: its Markdown files, tables written by commands, become pages, and one page
lists all its files."""

LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")
EXTERNAL = re.compile(r"[a-z]+:|//")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the repository's Markdown files as pages."""
    for source, uri in {**PAGES, **tables()}.items():
        if files.get_file_from_path(uri) is None:
            text = listing() if source == TABLES else (ROOT / source).read_text()
            files.append(File.generated(config, uri, content=text))
    return files


def listing() -> str:
    """Return the page that lists the files of results: a line each, a link for every form of it."""
    lines = ["# Tables and figures", "", "| folder | file | formats |", "|---|---|---|"]
    for folder in sorted(path for path in (ROOT / TABLES).iterdir() if path.is_dir()):
        forms: dict[str, list[str]] = {}
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            link = f"[{path.suffix[1:]}]({path.relative_to((ROOT / TABLES).parent)})"
            forms.setdefault(path.stem, []).append(link)
        rows = [f"| `{folder.name}` | {name} | {', '.join(ls)} |" for name, ls in forms.items()]
        lines += rows[:1] + [row.replace(f"`{folder.name}`", "", 1) for row in rows[1:]]
    return "\n".join(lines)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links at what the site has in place of the repository's files."""
    uri = page.file.src_uri
    source = source_of(uri)
    if source is None:
        return markdown

    def replaced(match: re.Match[str]) -> str:
        before, target, anchor, after = match.groups()
        if EXTERNAL.match(target):
            return match.group()
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        found = place(path, files, config)
        if found is None:
            raise PluginError(f"{source}: {target} is neither a file nor a page")
        made_anchor = found.partition("#")[2]
        inner = posixpath.relpath(found.partition("#")[0], posixpath.dirname(uri) or ".")
        return f"{before}{inner}{f'#{made_anchor}' if made_anchor else anchor or ''}{after}"

    return LINK.sub(replaced, markdown)


def source_of(uri: str) -> str | None:
    """Return the file of the repository that a page is made of; None for a page made here."""
    if (ROOT / "docs" / uri).is_file():
        return f"docs/{uri}"
    return next((source for source, one in {**PAGES, **tables()}.items() if one == uri), None)


def tables() -> dict[str, str]:
    """Return the pages made of tables that commands write as Markdown."""
    found = sorted((ROOT / TABLES).rglob("*.md"))
    return {
        str(PurePosixPath(path.relative_to(ROOT))): f"results/tables/{path.name}" for path in found
    }


def place(path: str, files: Files, config: MkDocsConfig) -> str | None:
    """Return where the site has a file of the repository, added if need be; None if there is none.

    Args:
        path: From the root of the repository.
        files: Files of the site.
        config: Its configuration.
    """
    if path.startswith("docs/"):
        inner = path.removeprefix("docs/")
        return inner if files.get_file_from_path(inner) else None
    pages = {**PAGES, **tables()}
    for known in (path, f"{path}/README.md"):
        if known in pages:
            return pages[known]
    on_disk = ROOT / path
    if on_disk.is_dir():
        found = posixpath.join("reference/modules", path.replace("/", ".") + ".md")
        return found if files.get_file_from_path(found) else None
    if not on_disk.is_file():
        return None
    if on_disk.suffix == ".py" and files.get_file_from_path(module_page(path)):
        return f"{module_page(path)}#{path.removesuffix('.py').replace('/', '.')}"
    copied = f"{COPIED}/{path}"
    if files.get_file_from_path(copied) is None:
        files.append(File.generated(config, copied, abs_src_path=str(on_disk)))
    return copied


def module_page(path: str) -> str:
    """Return the page of the reference that documents a module."""
    return f"reference/modules/{posixpath.dirname(path).replace('/', '.')}.md"
