"""docs/gateways.md: everything the gateways speak stands there, each with a test that exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from bridge.catalog import Catalog
from bridge.gateways import command, market_list, retry, settlements, subscriber, subscriptions, tape
from bridge.gateways.answer import CONTROL
from bridge.sim import PredictStreetSim, TickTockSim
from bridge.sim.session import CHANNELS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "gateways.md"
#: Rows that are about what the code never asks for.
UNUSED = "tests/unit/test_gateways_doc.py::test_what_is_not_used_is_nowhere_in_the_code"
_PATH = re.compile(r"/(?:api|cs2|v1)/")


class Row(NamedTuple):
    """A row of a table: the section it stands in, what it is about, the tests named."""

    section: str
    what: str
    tests: list[str]

    @property
    def codes(self) -> list[str]:
        """What is set in code in the first cell."""
        return re.findall(r"`([^`]+)`", self.what)


def rows() -> Iterator[Row]:
    """Every row of every table."""
    sections: dict[int, str] = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            level = len(line) - len(line.lstrip("#"))
            sections = {each: title for each, title in sections.items() if each < level} | {level: line.lstrip("# ")}
        elif line.startswith("|") and not line.startswith("|---") and not line.endswith("| test |"):
            cells = line.strip("| ").split(" | ")
            assert len(cells) == 3, line
            yield Row(
                " ".join(sections[each] for each in sorted(sections) if each > 1),
                cells[0],
                re.findall(r"`([^`]+)`", cells[2]),
            )


ROWS = list(rows())


def named(section: str) -> set[str]:
    """What is set in code in the first cells of a section."""
    return {code for row in ROWS if section in row.section for code in row.codes}


@cache
def functions_of(path: str) -> frozenset[str]:
    """The tests of a file, those of a class as ``Class::test``."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = {each.name for each in tree.body if isinstance(each, functions)}
    for group in tree.body:
        if isinstance(group, ast.ClassDef):
            found |= {f"{group.name}::{each.name}" for each in group.body if isinstance(each, functions)}
    return frozenset(name for name in found if name.rpartition("::")[2].startswith("test_"))


@cache
def paths_in_code() -> frozenset[str]:
    """The REST paths in the texts of bridge/gateways, what is filled in as ``{}``."""
    found = set()
    for file in (ROOT / "bridge" / "gateways").glob("*.py"):
        nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
        pieces = {id(each) for node in nodes if isinstance(node, ast.JoinedStr) for each in node.values}
        for node in nodes:
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in pieces:
                found.add(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts = (each.value if isinstance(each, ast.Constant) else "{}" for each in node.values)
                found.add("".join(map(str, parts)))
    return frozenset(each for each in found if _PATH.match(each))


def paths_in_page(chosen: list[Row]) -> set[str]:
    """The REST paths that rows are about."""
    return {code.rpartition(" ")[2] for row in chosen for code in row.codes if _PATH.match(code.rpartition(" ")[2])}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what[:60])
def test_every_row_names_tests_that_exist(row: Row) -> None:
    """At least one; and a row says what is done."""
    assert row.tests
    for test in row.tests:
        path, _, name = test.partition("::")
        assert (ROOT / path).is_file(), test
        assert name in functions_of(path), test


@pytest.mark.parametrize(
    ("kind", "section"),
    [
        ("ticktock", "TickTock"),
        ("predictstreet-market", "Frame types of the market gateway"),
        ("predictstreet-user", "Frame types of the user gateway"),
    ],
)
def test_every_frame_type_of_the_schemas_is_there(kind: str, section: str) -> None:
    """And none that has no schema."""
    shipped = {*Catalog.load().kind(kind).types, "unknown"}
    assert shipped <= named(section)
    if kind != "ticktock":
        assert named(section) == shipped


def test_every_channel_command_and_answer_is_there() -> None:
    """Those the bridge knows, and those the simulator serves."""
    channels = {name for generation in CHANNELS.values() for name in generation}
    assert channels | set(subscriptions._RENAMED) | set(subscriptions._BACK) <= named("PredictStreet Channels")
    verbs = {each.verb for each in command.Command.__subclasses__()}
    assert verbs | CONTROL == named("PredictStreet Commands and answers")


def test_every_rejection_and_close_code_is_there() -> None:
    """Those that the code treats on purpose."""
    assert named("Rejections of subscriptions") >= subscriptions._LASTING | subscriptions._NO_CHANNEL
    codes = " ".join(row.what for row in ROWS if row.section.endswith("Close codes"))
    assert {str(code) for code in retry._MEANINGS} <= set(re.findall(r"\b\d{4}\b", codes))
    assert named("Close codes") >= retry._PASSING


def test_every_path_is_there() -> None:
    """Those the bridge asks, and those the simulators serve."""
    page = paths_in_page(ROWS)
    assert paths_in_code() <= page
    simulators = (TickTockSim(), PredictStreetSim())
    served = {re.sub(r"{[^}]*}", "{}", route.path) for sim in simulators for route in sim.routes()}
    streams = {path for path in served if path.startswith(("/ws/", "/cs2/v1/stream"))}
    assert served - streams <= page
    assert {"/ws/market", "/ws/user"} <= named("PredictStreet WebSocket")
    assert len(streams) == 4


def test_what_is_not_used_is_nowhere_in_the_code() -> None:
    """A path that the page calls unused is asked for by nobody."""
    unused = paths_in_page([row for row in ROWS if UNUSED in row.tests])
    assert unused
    assert not unused & paths_in_code()


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (subscriptions.SUBSCRIPTIONS_PER_CONNECTION, "{} subscriptions on a connection"),
        (subscriptions.IDS_PER_SUBSCRIPTION, "{} ids in a subscription"),
        (market_list.ROWS, "{} rows of markets"),
        (tape.PAGE, "{} rows of trades"),
        (settlements.PAGE, "{} settlements a page"),
        (round(subscriber.PING_INTERVAL), "`ping` every {} s"),
        (round(subscriber.PONG_TIMEOUT), "no `pong` within {} s"),
        (subscriptions.IDS_PER_COMMAND, "at most {:,} ids"),
    ],
)
def test_every_limit_is_there_with_its_number(limit: int, words: str) -> None:
    """As the code has it."""
    assert words.format(limit) in PAGE.read_text(encoding="utf-8")
