"""The README says what is there, first things first; that its links and commands hold is in test_docs."""

from __future__ import annotations

import re
from pathlib import Path

from bridge.config import known_kinds, parse

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_configuration_in_the_readme_is_valid(tmp_path: Path) -> None:
    """What is copied from the README works."""
    (text,) = re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL)
    environ = {"TICKTOCK_API_KEY": "a", "PREDICTSTREET_API_KEY": "b"}
    config = parse(text, where="README.md", environ=environ, folder=tmp_path, kinds=known_kinds())
    assert list(config.gateways) == ["cs2", "markets", "wallet"]


def test_make_targets_in_the_readme_are_those_of_the_makefile() -> None:
    """A line for each, and none for what is not there."""
    targets = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert set(re.findall(r"^\| `make ([a-z]+)`", README, flags=re.MULTILINE)) == targets - {"help"}


def test_the_readme_opens_with_what_it_is() -> None:
    """What it does and for whom, a picture, two commands, before the first heading; and it is short."""
    opening = README.partition("\n## ")[0]
    assert "exactly once" in opening
    assert re.findall(r"```sh\n(.*)\n", opening) == ["make demo", "feedbridge run -c feedbridge.yaml"]
    assert "](docs/demo.svg)" in opening
    assert len(README.splitlines()) <= 200


def test_pictures_ask_no_other_host() -> None:
    """They load no font and no script from elsewhere."""
    for drawn in (ROOT / "docs").rglob("*.svg"):
        assert not re.search(r"@font-face|url\(http|<script|href=\"http", drawn.read_text(encoding="utf-8")), drawn
    picture = (ROOT / "docs" / "demo.svg").read_text(encoding="utf-8")
    assert "Kafka is a stand-in" in picture.replace("&#160;", " ")
