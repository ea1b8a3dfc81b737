"""The README says what is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click

from bridge.cli import cli
from bridge.config import known_kinds, parse

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_configuration_in_the_readme_is_valid(tmp_path: Path) -> None:
    """What is copied from the README works."""
    (text,) = re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL)
    environ = {"TICKTOCK_API_KEY": "a", "PREDICTSTREET_API_KEY": "b"}
    config = parse(text, where="README.md", environ=environ, folder=tmp_path, kinds=known_kinds())
    assert list(config.gateways) == ["cs2", "markets", "wallet"]


def test_commands_in_the_readme_exist() -> None:
    """Each command line in it can be typed."""
    lines = [
        found.group(0).strip("`")
        for found in re.finditer(r"^feedbridge [^\n#]+|`feedbridge [^`]+`", README, re.MULTILINE)
    ]
    assert len(lines) > 8
    for line in lines:
        words = shlex.split(line)[1:]
        command: click.Command = cli
        context = click.Context(cli)
        while isinstance(command, click.Group):
            command = command.commands[words.pop(0)]
            context = click.Context(command, parent=context)
        command.parse_args(context, words)


def test_make_targets_in_the_readme_are_those_of_the_makefile() -> None:
    """A line for each, and none for what is not there."""
    targets = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert set(re.findall(r"^\| `make ([a-z]+)`", README, flags=re.MULTILINE)) == targets - {"help"}


def test_files_named_in_the_readme_exist() -> None:
    """Pictures and links lead somewhere."""
    names = re.findall(r"\]\((?!https?:)([^)]+)\)", README)
    assert "docs/demo.svg" in names
    assert not [name for name in names if not (ROOT / name).exists()]


def test_picture_asks_no_other_host() -> None:
    """The picture loads no font and no script from elsewhere."""
    picture = (ROOT / "docs" / "demo.svg").read_text(encoding="utf-8")
    assert not re.search(r"@font-face|url\(http|<script|href=\"http", picture)
    assert "Kafka is a stand-in" in picture.replace("&#160;", " ")
