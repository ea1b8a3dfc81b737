"""The documentation, taken apart: pages, and the blocks of code in them."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[1]
_FENCE: Final = re.compile(r"^(?P<indent> *)```(?P<kind>[^\n`]*)\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A block of code. page: its file, from the root. line: of its first fence. kind: its language."""

    page: str
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        """Where it is, for the name of a test."""
        return f"{self.page}:{self.line}"


@cache
def pages() -> tuple[str, ...]:
    """All Markdown in the repository that is for people to read, from the root."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}
    # The contracts are the gateways' own papers, kept as they came.
    return tuple(sorted(name for name in found if not name.startswith("contracts/")))


@cache
def text(page: str) -> str:
    """What a page says."""
    return (ROOT / page).read_text(encoding="utf-8")


@cache
def blocks() -> tuple[Block, ...]:
    """All blocks of all pages, in order."""
    return tuple(
        Block(page, text(page).count("\n", 0, found.start()) + 1, found["kind"].strip(), found["text"])
        for page in pages()
        for found in _FENCE.finditer(text(page))
    )


def prose(page: str) -> str:
    """A page without its blocks."""
    return _FENCE.sub("", text(page))


def commands(script: str) -> Iterator[list[str]]:
    """The commands of a shell script, word by word: without redirections, and without variables set before them."""
    for line in script.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(re.sub(r"\s\d?>{1,2}\s*(?:&\d|\S+)", " ", line), posix=True, punctuation_chars="();<>|&")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set("();<>|&"):
                while words and (re.match(r"\w+=|\$$", words[0]) or words[0] in {"until", "do", "then"}):
                    words.pop(0)
                if words and words != ["done"]:
                    yield words
                words = []
            else:
                words.append(word)
