"""The documentation as a site: it builds without a warning, and loads nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.blocks import ROOT, pages

pytestmark = pytest.mark.timeout(240)


def built(folder: Path, *, of: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Build it into a folder, as `make docs` does. `--quiet` would silence the warnings that strict counts."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=of, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that it was built into."""
    folder = tmp_path_factory.mktemp("site")
    done = built(folder)
    assert done.returncode == 0, done.stderr
    assert not [line for line in done.stderr.splitlines() if "contains a link" in line], done.stderr
    return folder


def test_a_link_that_leads_nowhere_fails_the_build(tmp_path: Path) -> None:
    """A warning is an error."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "mkdocs.yml").write_text("site_name: x\nplugins: []\ntheme: {name: material, font: false}\n")
    (tmp_path / "docs" / "index.md").write_text("[x](nowhere.md)\n")
    done = built(tmp_path / "site", of=tmp_path)
    assert done.returncode != 0
    assert "nowhere.md" in done.stderr


class Loaded(HTMLParser):
    """What a browser fetches to show a page; what it leads to is no such thing."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.classes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the addresses of a tag that loads."""
        named = dict(attrs)
        self.classes |= set((named.get("class") or "").split())
        if tag != "a":
            self.addresses += [value for name in ("src", "href", "data", "poster") if (value := named.get(name))]


def test_no_page_loads_from_elsewhere(site: Path) -> None:
    """No script, style, font or picture of another host: the site is readable where nothing else can be reached."""
    shown = list(site.rglob("*.html"))
    assert len(shown) > 40
    for page in shown:
        loaded = Loaded()
        loaded.feed(page.read_text(encoding="utf-8"))
        assert loaded.addresses
        assert not [each for each in loaded.addresses if re.match(r"(?:\w+:)?//", each)], page
        # The theme's script would fetch a renderer for these.
        assert "mermaid" not in loaded.classes, page
    for style in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", style.read_text(encoding="utf-8")), style


def test_every_page_of_the_repository_is_there(site: Path) -> None:
    """Those of `docs/`, and those outside to which one leads."""
    for page in pages():
        if page.startswith("docs/"):
            file = site / page.removeprefix("docs/")
            file = file.with_name("index.html") if file.name == "README.md" else file.with_suffix(".html")
            assert file.exists(), page
    assert "feedbridge" in (site / "index.html").read_text(encoding="utf-8")
    assert (site / "repository" / "schemas" / "index.html").exists()
    assert (site / "repository" / "ops" / "alerts.yaml").exists()
    assert (site / "repository" / "examples" / "python" / "with_records.py").exists()
    assert not list(site.glob("*.py"))
