"""What makes the site of the repository's pages: those outside `docs/`, and links to them (a hook of mkdocs, see ``mkdocs.yml``)."""  # noqa: INP001 - no package

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).parents[1]
#: Where the site has what lies outside `docs/`.
_ELSEWHERE: Final = "repository"
_LINK: Final = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the README as the first page, and every file outside that some page leads to."""
    sources = {"README.md"}
    for file in files.documentation_pages():
        sources.add(f"docs/{file.src_uri}")
    looked_at: set[str] = set()
    while waiting := sources - looked_at:
        for source in waiting:
            looked_at.add(source)
            if source.endswith(".md"):
                sources |= set(_linked(source))
    for source in sorted(sources):
        if _uri(source) not in files.src_uris:
            files.append(File.generated(config, _uri(source), abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - called by name
    """Have links lead to where the site has what they mean."""
    source = _source(page.file.src_uri)
    here = posixpath.dirname(page.file.src_uri)

    def link(found: re.Match[str]) -> str:
        target = _target(source, found[2])
        if target is None:
            return found[0]
        return f"{found[1]}{posixpath.relpath(_uri(target), here or '.')}{found[3]}"

    return _LINK.sub(link, markdown)


def _linked(source: str) -> list[str]:
    """The files of the repository that a page leads to, from its root."""
    text = (ROOT / source).read_text(encoding="utf-8")
    return [target for found in _LINK.finditer(text) if (target := _target(source, found[2])) is not None]


def _target(source: str, link: str) -> str | None:
    """What a link means, from the root of the repository; None if it leads away or to no file."""
    if "://" in link or link.startswith("mailto:"):
        return None
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    return target if (ROOT / target).is_file() else None


def _uri(source: str) -> str:
    """Where the site has a file of the repository."""
    if source == "README.md":
        return "index.md"
    return source.removeprefix("docs/") if source.startswith("docs/") else f"{_ELSEWHERE}/{source}"


def _source(uri: str) -> str:
    """The reverse."""
    if uri == "index.md":
        return "README.md"
    return uri.removeprefix(f"{_ELSEWHERE}/") if uri.startswith(f"{_ELSEWHERE}/") else posixpath.join("docs", uri)
