"""The guide for Kubernetes, taken apart: the files it shows and the commands it gives, in order."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

GUIDE: Final = Path(__file__).parents[1] / "docs" / "kubernetes.md"
_BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Step(NamedTuple):
    """A command line. words: of its first command. line: all of it, pipes and redirections included."""

    words: list[str]
    line: str


def files() -> dict[str, dict[str, Any]]:
    """Name → the values that the guide shows for that file."""
    found: dict[str, dict[str, Any]] = {}
    for kind, text in _BLOCK.findall(GUIDE.read_text(encoding="utf-8")):
        if kind == "yaml":
            name = text.splitlines()[0].removeprefix("# ")
            assert name not in found, name
            found[name] = yaml.safe_load(text)
    return found


def steps() -> list[Step]:
    """All command lines, in order."""
    lines = [
        line
        for kind, text in _BLOCK.findall(GUIDE.read_text(encoding="utf-8"))
        if kind == "sh"
        for line in text.splitlines()
    ]
    return [Step(shlex.split(re.split(r" (?:\||>) ", line)[0]), line) for line in lines]


def merged(*layers: dict[str, Any]) -> dict[str, Any]:
    """Values over values, as helm takes several files: maps are merged, all else is replaced."""
    found: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            both = isinstance(value, dict) and isinstance(found.get(key), dict)
            found[key] = merged(found[key], value) if both else value
    return found
