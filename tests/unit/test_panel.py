"""The status in a terminal: the sentence first, all that matters, and never wider or longer than the window."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bridge.panel import panel, verdict, well

NOW = 1_800_000_000_000


def connection(name: str, state: str = "live", **more: Any) -> dict[str, Any]:
    """A connection as the status has it."""
    found = {"name": name, "state": state, "since": NOW - 9000, "reconnects": 2, "detail": None, "turns": 1}
    return {**found, "turning": None, **more}


def gateway(name: str, **more: Any) -> dict[str, Any]:
    """A gateway as the status has it."""
    return {
        "name": name, "kind": "ticktock", "state": "live", "connected": True, "last_frame": NOW - 30_000, "detail": None,
        "received": 1_204_551, "published": 1_100_200, "duplicates": 104_000, "unchanged": 351, "dead_letters": 12,
        "rejected": [], "connections": [connection("list")], "filling": {"waiting": 0, "gap": None},
        "rate": {"seconds": 2, "frames": [10.0] * 50 + [20.0] * 10}, **more,
    }  # fmt: skip


STATUS: dict[str, Any] = {
    "name": "main", "instance": "3f2a1b9c77", "version": "0.1.0", "started": NOW - 60_000, "now": NOW, "ready": False,
    "reason": "lane 1: reading the ledger",
    "well": [
        {"level": "bad", "text": "markets refuses the key: 4401 api_key_revoked.", "runbook": "FeedbridgeKeyRefused"},
        {"level": "warning", "text": "Frames of cs2 may be missing since 07:59:00 UTC.", "runbook": "FeedbridgeGapOpened"},
    ],
    "lanes": [
        {"lane": 0, "role": "active", "since": NOW - 10**7, "trouble": None, "last_commit_seconds_ago": 0.2,
         "active": "3f2a1b9c77", "identities": 1_120_441, "behind": 5},
        {"lane": 1, "role": "recovering", "since": NOW - 9000, "trouble": "kafka: away " * 9, "identities": 0, "behind": 0},
    ],
    "gateways": [
        gateway("cs2", connections=[connection("list"), connection("match-8", "reconnecting", detail="closed with 1006")]),
        gateway("markets", state="refused", connected=False, last_frame=None, detail="4401 api_key_revoked\x1b[2J",
                rejected=[{"channel": "token_book", "message": "too many"}], connections=[]),
    ],
    "journal": {"frames": 7, "bytes": 1_500_000, "max_bytes": 2 << 30, "full": False},
    "last_minute": {"latency": {"p50": 0.0061, "p99": 0.0143}, "transaction": {"p50": None, "p99": None}},
    "gaps": [
        {"gateway": "cs2", "connection": "list", "since": NOW - 60_000, "until": None, "cause": "journal_full",
         "state": "open", "recovered": 0},
        {"gateway": "cs2", "connection": "list", "since": NOW - 10**8, "until": NOW - 10**8 + 1500, "cause": "disconnect",
         "state": "filled", "recovered": 1212},
    ],
    "dead_letters": [{"at": NOW - 1000, "gateway": "markets", "type": "book", "reason": "wrong_type", "path": "bids[3]"}],
    "types": [{"gateway": "cs2", "type": "match.updated", "received": 10, "published": 9, "duplicates": 1, "unchanged": 0,
               "dead_letters": 0}],
    "reload": {"at": NOW - 5000, "cause": "file", "outcome": "refused", "changed": [], "error": "f:3: kafka is\x1b[2J fixed"},
}  # fmt: skip


def shown(facts: dict[str, Any], *, width: int = 100, height: int | None = None, types: bool = False) -> list[str]:
    """The lines that a terminal of that width would show."""
    file = io.StringIO()
    console = Console(file=file, width=width, height=height, color_system=None)
    console.print(panel(facts, now=NOW, width=width, height=height, types=types))
    return file.getvalue().splitlines()


def test_the_sentence_comes_first_with_what_to_do() -> None:
    """Then what else there is to say, each with a sign of its level: colours are not needed."""
    lines = shown(STATUS)
    assert lines[:3] == [
        "✖ markets refuses the key: 4401 api_key_revoked.",
        "  What to do: docs/runbooks/FeedbridgeKeyRefused.md",
        "▲ Frames of cs2 may be missing since 07:59:00 UTC.",
    ]
    assert verdict(STATUS) == "markets refuses the key: 4401 api_key_revoked."
    assert not well(STATUS)


def test_a_bridge_that_does_not_judge_itself_is_judged_by_its_readiness() -> None:
    """One of a version before."""
    assert well({"ready": True, "reason": "active"})
    assert not well({"ready": False})
    assert shown({"ready": True, "reason": "active"})[0] == "● Ready: active."
    assert shown({"ready": False, "reason": "starting"})[0] == "✖ Not ready: starting."


def test_all_that_matters_is_there() -> None:
    """Lanes, gateways with their counts and connections, times, journal, gaps, dead letters, the last reload."""
    text = "\n".join(shown(STATUS, width=200))
    for part in (
        "main · 0.1.0 · 3f2a1b9c · started 60 s ago · not ready: lane 1: reading the ledger",
        "recovering", "kafka: away", "1,120,441", "1,204,551", "1,100,200", "104,000", "351", "30 s ago", "never", "20",
        "2 connections, 4 reconnects, 2 turns", "match-8: reconnecting since 9 s: closed with 1006", "4401 api_key_revoked",
        "token_book rejected: too many", "latency 6.1 ms (99 %: 14.3 ms)", "journal 7 frames, 1.4 MiB of 2.0 GiB",
        "07:59:00  cs2/list  journal full 60.0 s so far, open", "01-14     cs2/list  disconnect 1.5 s, filled, 1,212 records had",
        "07:59:59  markets book: wrong type at bids[3]", "configuration refused 5 s ago: f:3: kafka is",
    ):  # fmt: skip
        assert part in text, part
    assert "match.updated" not in text
    assert "match.updated" in "\n".join(shown(STATUS, types=True))
    assert "\x1b" not in text


@pytest.mark.parametrize("width", [60, 80, 200])
def test_it_fits_the_window(width: int) -> None:
    """No line is longer, none is wrapped by the terminal, and no cell runs into the next."""
    expected = str(panel(STATUS, now=NOW, width=width, types=True)).splitlines()
    lines = shown(STATUS, width=width, types=True)
    assert lines == [line.rstrip() for line in expected] or lines == expected
    assert max(map(len, lines)) <= width
    heads = next(line.split() for line in lines if line.startswith("gateway "))
    assert heads[:2] == ["gateway", "state"]
    (row,) = [line.split() for line in lines if line.startswith("cs2 ")]
    assert row[:2] == ["cs2", "live"]
    assert ("1,204,551" if width == 200 else "1.2M") in row


def test_the_least_important_columns_go_first() -> None:
    """On 60 columns what came in, what went out and dead letters are still there."""
    found = {
        width: next(line for line in shown(STATUS, width=width) if line.startswith("gateway "))
        for width in (60, 80, 200)
    }
    assert "the last 2 min" in found[200]
    assert all(head in found[60] for head in ("processed", "records out", "dead"))
    assert "unchanged" not in found[60]
    assert "/s" in found[80]


def test_what_is_longer_than_the_window_says_so() -> None:
    """The worst is at the top; the last line tells how much is left out."""
    lines = shown(STATUS, width=80, height=12)
    assert len(lines) == 12
    assert lines[0].startswith("✖")
    assert lines[-1] == f"… {len(shown(STATUS, width=80)) - 11} more lines: make the window taller"


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"lanes": None, "gateways": "x", "well": 7, "gaps": {}},
        {"gateways": [1, {}], "lanes": [{"role": 3}], "x": [1], "well": [{}]},
        {"gateways": [{"connections": [{}], "rate": {"frames": ["x"]}, "filling": 3, "rejected": [{}]}]},
        {"gaps": [{}], "dead_letters": [{}], "last_minute": {"latency": 1}, "journal": {}, "reload": {}},
    ],
)
def test_status_of_another_version_is_shown(facts: dict[str, Any]) -> None:
    """What is missing or of another shape does no harm."""
    assert shown(facts, types=True)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.floats(0, 10**6) | st.text(max_size=60),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted({*STATUS, *gateway("x")})), inner, max_size=6),
    max_leaves=30,
)  # fmt: skip


@given(
    width=st.integers(40, 220),
    height=st.integers(3, 60),
    names=st.lists(st.text(min_size=1, max_size=40), max_size=4),
    sentence=st.text(max_size=300),
    more=st.dictionaries(st.sampled_from(sorted(STATUS)), _VALUES, max_size=4),
)
def test_whatever_comes_fits(width: int, height: int, names: list[str], sentence: str, more: dict[str, Any]) -> None:
    """No line is too long and none too many, and nothing steers the terminal, whatever a bridge or a gateway says."""
    facts = {
        **STATUS,
        "well": [{"level": "bad", "text": sentence}],
        "gateways": [gateway(name, detail=sentence, state=name) for name in names],
        **more,
    }
    lines = panel(facts, now=NOW, width=width, height=height, types=True).split("\n", allow_blank=True)
    assert len(lines) <= height
    assert all(line.cell_len <= width for line in lines)
    assert all(char.isprintable() or char.isspace() for line in lines for char in line.plain if ord(char) < 0xA0)
