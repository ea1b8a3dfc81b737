"""Every page is true in what a machine can tell: links, commands, configurations, snippets, queries. No block goes unlooked at.

What can run runs elsewhere: the quick start in `tests/kafka/test_quickstart.py`, the guide for Kubernetes in `tests/kafka/test_guide.py`
and `tests/helm/test_guide.py`, the examples in `tests/kafka/test_consumers.py`.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import click
import pytest
import yaml

from bridge.cli import cli
from bridge.config import known_kinds, parse
from bridge.ops.metrics import Metrics
from tests.blocks import ROOT, Block, blocks, commands, pages, prose, text
from tests.guide import merged
from tests.servers.fetch import fetch_prometheus

EXAMPLES: Final = ROOT / "examples"
#: Pages whose blocks are run whole, whatever commands are in them.
RUN_WHOLE: Final = {"docs/quickstart.md"}
#: Pages whose values and commands of helm and kubectl are judged in tests/helm.
HELM: Final = {"docs/kubernetes.md", "helm/feedbridge/README.md"}
#: What a configuration needs where a block shows a part of one.
MINIMAL: Final = {
    "name": "main",
    "gateways": {"cs2": {"kind": "ticktock", "url": "wss://gateway.invalid", "api_key": "k"}},
    "kafka": {"bootstrap.servers": "localhost:9092"},
}
_ADDRESSES: Final = {"/", "/api/status", "/metrics", "/healthz", "/readyz"}


# --- Links ------------------------------------------------------------------------------------------------------------


@cache
def anchors(page: str) -> frozenset[str]:
    """What can be linked to in a page, as code hosts name headings."""
    found: dict[str, int] = {}
    names = set()
    for heading in re.findall(r"^#{1,6} +(.*?) *#*$", prose(page), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        name = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        count = found[name] = found.get(name, -1) + 1
        names.add(f"{name}-{count}" if count else name)
    return frozenset(names)


@pytest.mark.parametrize("page", pages())
def test_links_hold(page: str) -> None:
    """A link within the repository leads to a file that is there, and to a heading of it; others are by https."""
    without_code = re.sub(r"(`+).*?\1", "", prose(page), flags=re.DOTALL)
    for target in re.findall(r"\]\(<?([^)\s>]+)>?[^)]*\)|(?:src|href)=\"([^\"]+)\"", without_code):
        link = target[0] or target[1]
        if "://" in link:
            assert re.match(r"https://|http://(localhost|127\.0\.0\.1)\b", link), link
            continue
        path, _, anchor = link.partition("#")
        file = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        assert file.exists(), f"{page}: {link} leads nowhere"
        assert file.is_relative_to(ROOT), link
        if anchor:
            assert anchor in anchors(str(file.relative_to(ROOT))), f"{page}: {link} has no such heading"


def test_every_page_of_the_documentation_is_in_the_navigation() -> None:
    """And every runbook in the list of runbooks."""
    named = set(re.findall(r"[\w./-]+\.md\b", (ROOT / "mkdocs.yml").read_text(encoding="utf-8")))
    docs = {page.removeprefix("docs/") for page in pages() if page.startswith("docs/")}
    assert {page for page in docs - named if not page.startswith("runbooks/")} == set()
    runbooks = text("docs/runbooks/README.md")
    assert all(Path(page).name in runbooks for page in docs if page.startswith("runbooks/Feedbridge"))


def test_tests_that_are_named_exist() -> None:
    """A page that says what a promise is tried by names what is there."""
    for page in pages():
        for file, names in re.findall(r"`(tests/[\w/]+\.py)(?:::([\w:]+))?`", text(page)):
            code = (ROOT / file).read_text(encoding="utf-8")
            for name in filter(None, names.split("::")):
                assert re.search(rf"^ *(?:class|def|async def) {name}\b", code, re.MULTILINE), (
                    f"{page}: {file}::{names}"
                )


@pytest.mark.parametrize("page", pages())
def test_lists_and_tables_stand_apart(page: str) -> None:
    """Behind an empty line: code hosts do not mind, the site would run them into the paragraph before."""
    for before, line in pairwise(prose(page).splitlines()):
        if re.match(r"(?:[*+-]|\d+\.) ", line):
            assert not before.strip() or re.match(r"(?:[*+-]|\d+\.) | {2}", before), f"{page}: {line}"
        if line.startswith("|"):
            assert not before.strip() or before.startswith("|"), f"{page}: {line}"


# --- Blocks -----------------------------------------------------------------------------------------------------------


def test_every_block_says_what_it_is_and_is_looked_at() -> None:
    """A block of a kind for which there is no test is a mistake."""
    assert len(blocks()) > 40
    unknown = [f"{block}: {block.kind or 'no language'}" for block in blocks() if block.kind not in CHECKS]
    assert unknown == []


@pytest.mark.parametrize("block", blocks(), ids=str)
def test_blocks_are_right(block: Block, tmp_path: Path) -> None:
    """By what there is for their kind."""
    CHECKS[block.kind](block, tmp_path)


def _shell(block: Block, _: Path) -> None:
    for words in commands(block.text):
        handled = _command(words, block.page)
        assert handled or block.page in RUN_WHOLE, f"{block}: no test looks at {words}"


def _command(words: list[str], page: str) -> bool:  # noqa: C901 - a table
    """Judge a command; whether it could be."""
    match words:
        case ["feedbridge", *rest]:
            parsed(rest)
        case ["make", *targets]:
            assert set(targets) <= set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        case [("python" | "python3" | ".venv/bin/python"), "-m", module, *_]:
            assert importlib.util.find_spec(module), module
        case [("python" | "python3" | ".venv/bin/python"), script, *_]:
            assert (ROOT / script).is_file(), script
        case [".venv/bin/pip", "install", *options]:
            files = [option for option in options if not option.startswith("-")]
            assert files
            assert all((ROOT / file).exists() for file in files)
        case ["curl", *options]:
            for url in (option for option in options if "://" in option):
                assert "/" + url.partition("://")[2].partition("/")[2] in _ADDRESSES, url
        case ["sh" | "bash", script, *_]:
            assert (ROOT / script).is_file(), script
        case [("helm" | "kubectl" | "yq" | "base64"), *_]:
            assert page in HELM
        case [script, *_] if script.startswith(("./", "examples/")):
            assert (ROOT / script).is_file(), script
        case [("git" | "cd" | "head" | "export"), *_]:
            pass
        case _:
            return False
    return True


def parsed(words: list[str]) -> None:
    """Give the words to click, as the command line does. Raises what it finds wrong; runs nothing."""
    command: click.Command = cli
    context = click.Context(cli, info_name="feedbridge")
    rest = [word if word != "…" else "x" for word in words]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        assert name in command.commands, f"there is no command {' '.join(words)!r}"
        command = command.commands[name]
        context = click.Context(command, info_name=name, parent=context)
    if not isinstance(command, click.Group):
        command.parse_args(context, rest)


@pytest.mark.parametrize("page", pages())
def test_commands_within_sentences_exist(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With their options. The file of the configuration may be left out there."""
    monkeypatch.setenv("FEEDBRIDGE_CONFIG", "feedbridge.yaml")
    for line in re.findall(r"`feedbridge ([^`]+)`", prose(page)):
        words = shlex.split(line)
        for at in range(max(word.count("|") for word in words) + 1):
            chosen = [word.split("|")[min(at, word.count("|"))] for word in words]
            try:
                parsed(chosen)
            except (click.MissingParameter, click.BadOptionUsage):
                continue  # a sentence names a command or an option, not what it is about


def _yaml(block: Block, folder: Path) -> None:
    found = yaml.safe_load(block.text)
    if block.page in HELM:
        return
    sys.path.insert(0, str(EXAMPLES / "gateway"))
    try:
        from tally_feed import Tally  # type: ignore[import-not-found]  # the example's own package
    finally:
        sys.path.remove(str(EXAMPLES / "gateway"))
    (folder / "secret").write_text("secret")
    whole = json.dumps({**MINIMAL, **found})
    whole = re.sub(r"\$\{file:[^}]+\}", "${file:secret}", whole)
    environ = dict.fromkeys(re.findall(r"\$\{([A-Z_]+)\}", whole), "s")
    kinds = {**known_kinds(), "tally": Tally.Settings}
    parse(whole, where=str(block), environ=environ, folder=folder, kinds=kinds)


def _toml(block: Block, _: Path) -> None:
    example = tomllib.loads((EXAMPLES / "gateway" / "pyproject.toml").read_text())
    assert merged(example, tomllib.loads(block.text)) == example


def _json(block: Block, _: Path) -> None:
    json.loads(block.text)


def _usage(block: Block, _: Path) -> None:
    # Made by click and compared as a whole in test_handbook.
    assert block.page == "docs/reference/cli.md"


def _snippet(suffix: str) -> Callable[[Block, Path], None]:
    """Of a language that the examples are in: the lines must stand in one of those, which are run."""

    def check(block: Block, _: Path) -> None:
        wanted = "\n".join(line.strip() for line in block.text.splitlines() if line.strip())
        for file in EXAMPLES.rglob(f"*{suffix}"):
            if wanted in "\n".join(line.strip() for line in file.read_text().splitlines() if line.strip()):
                return
        raise AssertionError(f"{block}: these lines are in none of the examples, so nothing runs them")

    return check


def _promql(block: Block, folder: Path) -> None:
    known = {each.name for each in Metrics().described}
    rules = []
    for at, line in enumerate(block.text.splitlines()):
        expr = line.partition("#")[0].strip()
        if expr:
            rules.append({"record": f"docs:{at}", "expr": expr})
            for name in re.findall(r"\bfeedbridge_\w+", expr):
                assert re.sub(r"_(bucket|sum|count)$", "", name) in known, name
    assert rules
    file = folder / "rules.json"
    file.write_text(json.dumps({"groups": [{"name": "docs", "rules": rules}]}))
    done = subprocess.run(
        [fetch_prometheus() / "promtool", "check", "rules", file], capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


CHECKS: Final[dict[str, Callable[[Block, Path], Any]]] = {
    "sh": _shell,
    "yaml": _yaml,
    "toml": _toml,
    "json": _json,
    "text": _usage,
    "python": _snippet(".py"),
    "java": _snippet(".java"),
    "promql": _promql,
}


# --- What the checks themselves are worth -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("sh", "feedbridge tail --nonsense -c x\n"),
        ("sh", "PLACE=$(feedbridge dead-letters lost -c x)\n"),
        ("sh", "make nonsense\n"),
        ("sh", "some-tool --of unknown\n"),
        ("sh", "curl -s http://127.0.0.1:8080/nonsense\n"),
        ("yaml", "journal: {paht: ./journal}\n"),
        ("yaml", "gateways: {cs2: {kind: tiktok}}\n"),
        ("toml", '[project.entry-points."feedbridge.gateways"]\ntally = "tally_feed:Tale"\n'),
        ("text", "what somebody saw\n"),
        ("python", "consumer.commit_everything()\n"),
        ("promql", "feedbridge_nonsense_total\n"),
        ("promql", "sum(feedbridge_journal_frames\n"),
    ],
)
def test_what_is_wrong_is_found(kind: str, wrong: str, tmp_path: Path) -> None:
    """In a block of each kind."""
    with pytest.raises((Exception, AssertionError)):
        CHECKS[kind](Block("docs/page.md", 1, kind, wrong), tmp_path)
