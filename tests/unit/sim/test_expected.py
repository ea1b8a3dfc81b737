"""The oracle says what an exactly-once bridge must publish: hand-made cases, and the whole against the injector's own count."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import Any

import msgspec
import pytest

from bridge.sim import Sent, expected, play
from bridge.sim.replay import Kind

ALL = {
    "duplicate": 0.1, "collision": 0.03, "malformed": 0.03, "wrong_type": 0.03, "unknown_type": 0.03, "unknown_field": 0.03,
    "missing_field": 0.03, "number_form": 0.03,
}  # fmt: skip


def tt(kind: str, seq: int, fault: str | None = None, /, **data: Any) -> Sent:
    """A TickTock frame as sent."""
    raw = msgspec.json.encode({"type": kind, "data": data, "meta": {"ts": "2026-05-10T13:42:11.123Z", "seq": seq}})
    return Sent(1, "list", 0, 0, raw, fault)


def ps(kind: str, fault: str | None = None, *, data: dict[str, Any], **envelope: Any) -> Sent:
    """A PredictStreet push as sent."""
    return Sent(1, "market", 0, 0, msgspec.json.encode({"type": kind, "sid": 1, **envelope, "data": data}), fault)


def published(kind: Kind, *sent: Sent) -> list[int]:
    """Which of the frames stand for a record."""
    records = [record.sent for record in expected(kind, sent)]
    return [place for place, one in enumerate(sent) if any(one is record for record in records)]


def test_same_seq_and_content_once_other_content_twice() -> None:
    """A repetition is dropped however late; a collision is a record, and marked."""
    kill = tt("event.kill", 1, match_id="m", actor="a")
    other = tt("event.kill", 1, match_id="m", actor="b")
    assert published("ticktock", kill, other, tt("event.kill", 1, match_id="m", actor="a")) == [0, 1]
    assert [record.collision for record in expected("ticktock", [kill, other])] == [False, True]


def test_an_event_with_a_new_seq_is_new() -> None:
    """Equal content under another seq is another event."""
    assert published("ticktock", tt("event.kill", 1, match_id="m"), tt("event.kill", 2, match_id="m")) == [0, 1]


def test_an_unchanged_state_is_dropped_but_not_a_return() -> None:
    """A A is one record, A B A three; the family decides: suspended in between makes updated new again."""
    up: dict[str, Any]
    down: dict[str, Any]
    up, down = {"id": "o", "status": 1}, {"id": "o", "status": -1}
    assert published("ticktock", tt("market.updated", 1, **up), tt("market.updated", 2, **up)) == [0]
    assert published(
        "ticktock", tt("market.updated", 1, **up), tt("market.updated", 2, **down), tt("market.updated", 3, **up)
    ) == [0, 1, 2]
    assert published(
        "ticktock", tt("market.updated", 1, **up), tt("market.suspended", 2, **up), tt("market.updated", 3, **up)
    ) == [0, 1, 2]
    assert published("ticktock", tt("market.updated", 1, id="o"), tt("market.updated", 2, id="p")) == [0, 1]


def test_a_settlement_is_its_log_id() -> None:
    """The same id is the same entry whatever the seq; a correction has an id of its own."""
    one = tt("bet_settlement", 1, id=7, outcome="won")
    assert published(
        "ticktock", one, tt("bet_settlement", 2, id=7, outcome="won"), tt("bet_settlement", 3, id=8, outcome="lost")
    ) == [0, 2]


def test_dead_letters_once_per_bytes() -> None:
    """Malformed and mistyped frames are dead letters; equal bytes make one."""
    bad = Sent(1, "list", 0, 0, b"nonsense", "malformed:text")
    wrong = tt("match.updated", 1, "wrong_type", id=[1])
    found = expected("ticktock", [bad, bad, wrong])
    assert [record.outcome for record in found] == ["dead_letter", "dead_letter"]


def test_control_frames_are_no_records() -> None:
    """Alive, greetings and acknowledgements come to nothing."""
    assert expected("ticktock", [tt("alive", 1, "control", status="ok")]) == []


def test_unknown_types_are_kept_apart() -> None:
    """They are records of the type unknown."""
    (record,) = expected("ticktock", [tt("odds.suggestion", 1, match_id="m")])
    assert (record.outcome, record.type, record.entity) == ("unknown", "odds.suggestion", "m")


def test_predictstreet_rules() -> None:
    """Books by token and seq, trades by id and token, statuses as states; serverTs is no content."""

    def book(seq: int, **more: Any) -> Sent:
        return ps("book_delta", data={"tokenId": "1", "bids": []} | more, id="1", seq=seq, serverTs=seq * 7)

    assert published("predictstreet", book(1), book(1), book(1, revision=2), book(2)) == [0, 2, 3]
    one = ps("trade_matched", data={"tokenId": "1", "tradeId": "t"}, id="1", serverTs=1)
    again = ps("trade_matched", data={"tokenId": "1", "tradeId": "t"}, id="1", serverTs=2)
    mirrored = ps("trade_matched", data={"tokenId": "2", "tradeId": "t"}, id="2")
    settled = ps("trade_settled", data={"tokenId": "1", "tradeId": "t"}, id="1")
    assert published("predictstreet", one, again, mirrored, settled) == [0, 2, 3]
    paused, still = (ps("market_paused", data={"conditionId": "c", "tsMs": 1}, id="c") for _ in range(2))
    opened = ps("market_unpaused", data={"conditionId": "c", "tsMs": 2}, id="c")
    assert published("predictstreet", paused, still, opened) == [0, 2]


def test_private_rules() -> None:
    """What identifies an event tells alone, on whatever channel or socket; without it the id or the wallet must be the same."""

    def push(kind: str, wallet: str, /, vault: str | None = None, **data: Any) -> Sent:
        frame = {"type": kind, "sid": 1, "data": data} | ({"id": vault} if vault else {})
        return Sent(1, f"user:{wallet}", 0, 0, msgspec.json.encode(frame))

    placed = push("order_placed", "a", id="o", price="1")
    assert published("predictstreet", placed, push("order_placed", "b", "v", orderId="o")) == [0]
    fill = {"txHash": "t", "orderHash": "o", "side": "maker"}
    assert published(
        "predictstreet", push("trade_fill", "a", **fill), push("trade_fill", "a", "v", **fill),
        push("trade_fill", "a", "v", **fill, fee="1"),
    ) == [0, 2]  # fmt: skip
    words = {"text": "maintenance"}
    assert published(
        "predictstreet", push("notice", "a", **words), push("notice", "b", **words), push("notice", "a", **words),
        push("notice", "a", "v", **words), push("notice", "b", "v", **words), push("notice", "b", "w", **words),
    ) == [0, 1, 3, 5]  # fmt: skip
    public = ps("trade_matched", data={"tradeId": "t", "side": "buy", "orderId": "o"}, id="1")
    private = push("trade_matched", "a", tradeId="t", side="buy", orderId="o")
    assert published("predictstreet", public, private) == [0, 1]


@pytest.mark.parametrize("kind", ["ticktock", "predictstreet"])
def test_a_long_run_adds_up(kind: Kind) -> None:
    """All but the duplicates come out: a record for each healthy or changed frame, unknowns, collisions, dead letters as injected."""
    sent = list(islice(play(kind, seed=11, faults=ALL, snapshot=False), 10_000))
    injected = Counter((one.fault or "healthy").partition(":")[0] for one in sent)
    dead = {one.raw for one in sent if (one.fault or "").startswith(("malformed", "wrong_type"))}
    found = Counter(record.outcome for record in expected(kind, sent))
    sound = (
        len(sent) - injected["malformed"] - injected["wrong_type"] - injected["unknown_type"] - injected["duplicate"]
    )
    assert found == {"record": sound, "dead_letter": len(dead), "unknown": injected["unknown_type"]}
    assert sum(record.collision for record in expected(kind, sent)) == injected["collision"] > 0


def test_a_second_snapshot_of_an_unchanged_world_adds_nothing() -> None:
    """After a reconnect with new numbers only what changed is published."""
    first = list(islice(play("ticktock", seed=1), 40))
    size = sum(1 for one in first if b'"market.updated"' in one.raw or b'"match.updated"' in one.raw)
    renumbered: list[Sent] = []
    for one in first[:20]:
        frame = msgspec.json.decode(one.raw, type=dict[str, msgspec.Raw])
        meta = msgspec.Raw(b'{"ts":"2026-05-10T14:00:00.000Z","seq":%d}' % (900_000 + len(renumbered)))
        renumbered.append(Sent(2, "list", 0, 0, msgspec.json.encode({**frame, "meta": meta})))
    assert size >= 20
    assert len(expected("ticktock", [*first[:20], *renumbered])) == 20
