"""Is all well? The sentence for each state of a bridge."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from bridge.sentence import BAD, GOOD, WAIT, WARNING, judge

NOW: Final = 1_800_000_000_000  # 2027-01-15 08:00:00 UTC
MINUTE: Final = 60_000
ME, OTHER = "a" * 32, "b" * 32


def refusal(**differs: Any) -> dict[str, Any]:
    """A topic that refuses records."""
    found = {"topic": "cs2.event.kill", "why": "Broker: Message size too large", "limit": 2000, "size": True}
    return {**found, "frames": 1, "at": NOW - 1000, **differs}


def gateway(name: str = "cs2", **changes: Any) -> dict[str, Any]:
    """One that is well."""
    return {
        "name": name, "connected": True, "refused": False, "last_frame": NOW - 100, "detail": None, "connections": [],
        "rejected": [], "received": 10, "published": 8, **changes,
    }  # fmt: skip


def lane(number: int = 0, role: str = "active", **changes: Any) -> dict[str, Any]:
    """One that is well."""
    return {
        "lane": number, "role": role, "since": NOW - MINUTE, "trouble": None, "active": ME,
        "last_commit": NOW - 100 if role == "active" else None, **changes,
    }  # fmt: skip


def status(**changes: Any) -> dict[str, Any]:
    """A bridge that is well, but for the changes."""
    return {
        "now": NOW, "started": NOW - 60 * MINUTE, "lanes": [lane()], "gateways": [gateway()], "waiting": None,
        "journal": {"frames": 0, "bytes": 10, "max_bytes": 1000, "full": False}, "gaps": [], "dead_letters": [],
        "last_minute": {"latency": {"p99": 0.01}}, "reload": None, **changes,
    }  # fmt: skip


def gap(**changes: Any) -> dict[str, Any]:
    """One that is over and lost."""
    return {
        "gateway": "cs2", "since": NOW - 90_000, "until": NOW - 60_000, "state": "lost", "cause": "journal_full", **changes,
    }  # fmt: skip


def letter(**changes: Any) -> dict[str, Any]:
    """One of a minute ago."""
    return {"at": NOW - MINUTE, "gateway": "cs2", "type": "a", "reason": "wrong_type", "path": "data.x", **changes}


def reasons(**counts: int) -> list[dict[str, Any]]:
    """How many there were for each reason; and of another gateway."""
    mine = [{"gateway": "cs2", "reason": reason, "count": count} for reason, count in counts.items()]
    return [*mine, {"gateway": "other", "reason": "not_json", "count": 9}]


DOWN: Final = gateway(connected=False, detail="HTTP 503", last_frame=NOW - 10_000)
SAFE: Final = "What comes waits in the journal."

CASES: Final[list[tuple[str, dict[str, Any], str, str, str | None]]] = [
    ("active", {}, GOOD, "All is well: frames of cs2 flow to Kafka.", None),
    (
        "several gateways",
        {"gateways": [gateway(), gateway("a"), gateway("b")]},
        GOOD,
        "All is well: frames of cs2, a and b flow to Kafka.",
        None,
    ),
    (
        "standby",
        {"lanes": [lane(role="standby", active=OTHER)]},
        GOOD,
        "All is well: this process stands by for bbbbbbbb, which publishes.",
        None,
    ),
    (
        "standby of nobody",
        {"lanes": [lane(role="standby", active=None)]},
        GOOD,
        "All is well: this process stands by.",
        None,
    ),
    (
        "both",
        {"lanes": [lane(), lane(1, "standby"), lane(2, "standby")]},
        GOOD,
        "All is well: frames of cs2 flow to Kafka, and this process stands by in lanes 1 and 2.",
        None,
    ),
    (
        "nothing yet",
        {"gateways": [gateway(published=0)]},
        WAIT,
        "Connected to cs2, but nothing has come yet.",
        None,
    ),
    (
        "connecting",
        {"started": NOW - 1000, "gateways": [gateway(connected=False, last_frame=None)]},
        WAIT,
        "Connecting to cs2.",
        None,
    ),
    (
        "starting",
        {"started": NOW - 1000, "lanes": [{"lane": 0, "role": "recovering", "trouble": "starting"}]},
        WAIT,
        "Starting: starting.",
        None,
    ),
    (
        "still starting",
        {"lanes": [{"lane": 0, "role": "recovering", "trouble": "looking for the plan of lanes"}]},
        BAD,
        "Starting: looking for the plan of lanes.",
        "NoCommits",
    ),
    (
        "no kafka at the start",
        {"waiting": "kafka", "lanes": [{"lane": 0, "role": "recovering", "trouble": "kafka: away"}]},
        BAD,
        f"Nothing is published yet: Kafka does not answer: away. {SAFE}",
        "NoCommits",
    ),
    (
        "no registry at the start",
        {"waiting": "registry", "lanes": [{"lane": 0, "role": "recovering", "trouble": "registry: away"}]},
        BAD,
        f"Nothing is published yet: the schema registry does not answer: away. {SAFE}",
        "RegistryDown",
    ),
    (
        "kafka gone",
        {"lanes": [lane(trouble="kafka: no broker answers", last_commit=NOW - 30_000)]},
        BAD,
        f"Nothing is committed to Kafka since 07:59:30 UTC: no broker answers. {SAFE}",
        "NoCommits",
    ),
    (
        "no commit, no word why",
        {"lanes": [lane(last_commit=NOW - 86_400_000)]},
        BAD,
        f"Nothing is committed to Kafka since 2027-01-14 08:00:00 UTC: it does not answer. {SAFE}",
        "NoCommits",
    ),
    (
        "a lane in trouble",
        {"lanes": [lane(), lane(1, "recovering", trouble="another plan has begun")]},
        BAD,
        f"Nothing is published in lane 1: another plan has begun. {SAFE}",
        "NoCommits",
    ),
    (
        "a topic that takes too little",
        {
            "lanes": [
                lane(refusals=[refusal(frames=1200)]),
                lane(1, refusals=[refusal(frames=1200), refusal(topic="old", at=NOW - 20 * MINUTE)]),
            ],
            "dead_letters": [
                {"at": NOW - 1000, "gateway": "cs2", "type": "event.kill", "reason": "too_large", "path": None}
            ],
        },
        WARNING,
        (
            "Topic cs2.event.kill refuses records of more than 2,000 bytes: 2,000+ frames became dead letters. "
            "Raise max.message.bytes of that topic."
        ),
        "DeadLetters",
    ),
    (
        "a topic whose limit can't be seen",
        {"lanes": [lane(refusals=[refusal(limit=None)])]},
        WARNING,
        (
            "Topic cs2.event.kill refuses records that are too large: 1 frame became a dead letter. "
            "Raise max.message.bytes of that topic."
        ),
        "DeadLetters",
    ),
    (
        "a topic that is particular",
        {"lanes": [lane(refusals=[refusal(limit=None, size=False, why="Broker: Invalid timestamp", frames=20)])]},
        WARNING,
        (
            "Topic cs2.event.kill refuses records (Invalid timestamp): 20 frames became dead letters. "
            "See what the topic's settings ask of records."
        ),
        "DeadLetters",
    ),
    (
        "recovering",
        {"lanes": [lane(role="recovering")]},
        WAIT,
        "Reading the ledger before anything is published.",
        None,
    ),
    (
        "gateway down",
        {"gateways": [DOWN]},
        BAD,
        "cs2 is down and was last heard at 07:59:50 UTC: HTTP 503.",
        "GatewayDown",
    ),
    (
        "gateway never up",
        {"gateways": [gateway(connected=False, last_frame=None)]},
        BAD,
        "cs2 is down and has not connected yet.",
        "GatewayDown",
    ),
    (
        "key refused",
        {"gateways": [gateway(connected=False, refused=True, detail="HTTP 401")]},
        BAD,
        "cs2 refuses the key: HTTP 401.",
        "KeyRefused",
    ),
    (
        "wallet refused",
        {"gateways": [gateway(connections=[{"state": "refused"}], detail="1 of 2 connections refused")]},
        BAD,
        "cs2 refuses a connection: 1 of 2 connections refused.",
        "KeyRefused",
    ),
    (
        "rejected",
        {"gateways": [gateway(rejected=[{"channel": "b"}, {"channel": "a"}, {"channel": "b"}])]},
        WARNING,
        "cs2 rejects subscriptions to a, b.",
        None,
    ),
    (
        "journal full",
        {"journal": {"frames": 9, "bytes": 1000, "max_bytes": 1000, "full": True}},
        BAD,
        "The journal is full: sockets are not read, and frames may be missed.",
        "JournalFilling",
    ),
    (
        "journal filling",
        {"journal": {"frames": 9, "bytes": 501, "max_bytes": 1000, "full": False}},
        WARNING,
        "The journal is more than 50% full.",
        "JournalFilling",
    ),
    (
        "gap open",
        {"gaps": [gap(state="open", until=None)]},
        WARNING,
        "Frames of cs2 may be missing since 07:58:30 UTC (journal full).",
        "GapOpened",
    ),
    (
        "gap being filled",
        {"gaps": [gap(state="open")]},
        WARNING,
        "Frames of cs2 between 07:58:30 and 07:59:00 UTC may be missing, and are being asked for.",
        "GapOpened",
    ),
    (
        "gap lost",
        {"gaps": [gap()]},
        WARNING,
        "Frames of cs2 between 07:58:30 and 07:59:00 UTC are lost.",
        "GapLost",
    ),
    (
        "gap partly filled",
        {"gaps": [gap(state="partly")]},
        WARNING,
        "Frames of cs2 between 07:58:30 and 07:59:00 UTC were recovered only in part.",
        "GapLost",
    ),
    ("gap filled", {"gaps": [gap(state="filled")]}, GOOD, "All is well: frames of cs2 flow to Kafka.", None),
    (
        "gap lost long ago",
        {"gaps": [gap(until=NOW - 61 * MINUTE)]},
        GOOD,
        "All is well: frames of cs2 flow to Kafka.",
        None,
    ),
    (
        "dead letter",
        {"dead_letters": [letter(), letter(reason="not_json", path=None)]},
        WARNING,
        "Frames of cs2 could not become records: wrong type at data.x. All others flow.",
        "DeadLetters",
    ),
    (
        "dead letters for two reasons",
        {"dead_letters": [letter()], "dead_letter_reasons": reasons(wrong_type=12, not_json=3)},
        WARNING,
        "Dead letters of cs2: 12 wrong type, 3 not json. All others flow.",
        "DeadLetters",
    ),
    (
        "dead letters for many reasons",
        {"dead_letters": [letter()], "dead_letter_reasons": reasons(wrong_type=7200, no_type=21, no_data=3, not_xml=1)},
        WARNING,
        "Dead letters of cs2: 5,000+ wrong type, 20+ no type, 4 other. All others flow.",
        "DeadLetters",
    ),
    (
        "dead letter long ago",
        {"dead_letters": [letter(at=NOW - 16 * MINUTE)]},
        GOOD,
        "All is well: frames of cs2 flow to Kafka.",
        None,
    ),
    (
        "late",
        {"last_minute": {"latency": {"p99": 0.51}}},
        WARNING,
        "Records are late: one in a hundred by more than 0.5 s.",
        "LatencyHigh",
    ),
    (
        "late at first",
        {"last_minute": {"latency": {"p99": 9.0}}, "started": NOW - 4 * MINUTE},
        GOOD,
        "All is well: frames of cs2 flow to Kafka.",
        None,
    ),
    (
        "reload refused",
        {"reload": {"outcome": "refused", "error": "f.yaml:3: no such key"}},
        WARNING,
        "The changed configuration is refused: f.yaml:3: no such key.",
        None,
    ),
]


@pytest.mark.parametrize(
    ("changes", "level", "text", "runbook"), [each[1:] for each in CASES], ids=[each[0] for each in CASES]
)
def test_sentence(changes: dict[str, Any], level: str, text: str, runbook: str | None) -> None:
    """It says what is wrong, since when, and which page says what to do."""
    first = judge(status(**changes))[0]
    assert (first.level, first.text) == (level, text)
    if text.startswith("Dead letters of"):
        assert len(text) <= 78  # a line of the panel, in 80 columns
    assert first.runbook == (runbook and f"Feedbridge{runbook}")


def test_the_worst_is_said_first_and_nothing_is_left_out() -> None:
    """What stands in the way of everything, then single gateways, then what has happened."""
    found = judge(
        status(
            gateways=[gateway(), {**DOWN, "name": "markets"}],
            gaps=[gap()],
            dead_letters=[letter(), letter(gateway="markets")],
            lanes=[lane(trouble="kafka: away")],
        )
    )
    assert [each.level for each in found] == [BAD, BAD, WARNING, WARNING, WARNING]
    assert [(each.runbook or "").removeprefix("Feedbridge") for each in found] == [
        *("NoCommits", "GatewayDown", "GapLost", "DeadLetters", "DeadLetters")
    ]


def test_the_words_stand_still_while_the_state_does() -> None:
    """They are read aloud when they change: a second later they are the same."""
    for _, changes, *_ in CASES:
        facts = status(**changes)
        assert judge(facts)[0].text == judge({**facts, "now": facts["now"] + 999})[0].text


def test_each_runbook_is_there() -> None:
    """No sentence leads to a page that nobody wrote."""
    folder = Path(__file__).parents[2] / "docs/runbooks"
    assert all((folder / f"Feedbridge{runbook}.md").exists() for *_, runbook in CASES if runbook)
