"""What an exactly-once bridge must publish of what a simulator sent: the oracle that tests compare with.

The rules are those of the design's section 7, in their simplest form and over the whole run (no window): written a second
time on purpose, and without a look at the bridge's own code.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Raw

from bridge.sim.connection import CONTROL
from bridge.sim.sent import Sent


class Expected(NamedTuple):
    """One record: of a known type, of the type `unknown`, or a dead letter; in the order first sent.

    entity: the frame's own (match, market, token, condition), "" where it has none. collision: the same
    identity came before with other content. `sent` is the frame that stands for it.
    """

    outcome: Literal["record", "unknown", "dead_letter"]
    type: str
    entity: str
    collision: bool
    sent: Sent


class Rule(NamedTuple):
    """entity: members of `data` (or of the frame, for ``^id``), first present wins. identity: those that identify, all must be there.

    durable: identity alone decides, whatever the content. family: states of the same family follow one another.
    """

    entity: tuple[str, ...]
    identity: tuple[str, ...]
    durable: bool = False
    family: str | None = None


_TICKTOCK: Final = {
    **dict.fromkeys(("match.created", "match.updated", "match.finished"), Rule(("id",), ("^seq",), family="match")),
    **dict.fromkeys(
        ("market.created", "market.updated", "market.suspended", "market.unsuspended"), Rule(("id",), ("^seq",), family="market")
    ),
    **dict.fromkeys(
        ("round.started", "round.finished", "event.kill", "event.bomb_planted", "event.bomb_defused", "event.bomb_exploded"),
        Rule(("match_id",), ("^seq",)),
    ),
    "scoreboard.frame": Rule(("match_id",), ("^seq",), family="scoreboard"),
    "bet_settlement": Rule(("id",), ("id",), durable=True),
}  # fmt: skip
_PREDICTSTREET: Final = {
    **dict.fromkeys(("book_snapshot", "book_update", "book_delta"), Rule(("tokenId", "^id"), ("^seq",))),
    **dict.fromkeys(("trade", "trade_matched", "trade_settled"), Rule(("tokenId", "^id"), ("tradeId",), durable=True)),
    **dict.fromkeys(
        ("market_paused", "market_unpaused", "market_resolved", "market_status"), Rule(("conditionId", "^id"), (), family="market")
    ),
    "ohlc_update": Rule(("tokenId", "^id"), ()),
    "book_snapshot_failed": Rule(("tokenId", "^id"), ()),
    "platform_status": Rule(("^id",), (), family="platform"),
}  # fmt: skip
_RULES: Final = {"ticktock": _TICKTOCK, "predictstreet": _PREDICTSTREET}
_UNKNOWN: Final = Rule(("match_id", "id", "tokenId", "conditionId", "^id"), ("^seq",))


def expected(kind: str, sent: Iterable[Sent]) -> list[Expected]:
    """The records, in order of first sending; `kind` is ``ticktock`` or ``predictstreet``.

    Duplicates and unchanged states are left out, collisions stay, malformed and mistyped frames are dead letters (equal bytes once).
    """
    judge = _Judge(_RULES[kind])
    return [record for one in sent if one.fault != CONTROL for record in judge.judge(one)]


class _Judge:
    def __init__(self, rules: dict[str, Rule]) -> None:
        self._rules = rules
        self._seen: set[Hashable] = set()
        self._last: dict[Hashable, Hashable] = {}

    def judge(self, sent: Sent) -> list[Expected]:
        if sent.fault is not None and sent.fault.startswith(("malformed", "wrong_type")):
            return self._first(("dead", sent.raw), Expected("dead_letter", "", "", collision=False, sent=sent))
        frame = _decode(sent.raw)
        kind, data = frame["type"], frame["data"]
        rule = self._rules.get(kind, _UNKNOWN)
        envelope = frame.get("meta") if "meta" in frame else frame
        entity = next((str(found) for name in rule.entity if (found := _member(name, data, envelope)) is not None), "")
        content = _canonical(data)
        values = tuple(_member(name, data, envelope) for name in rule.identity)
        complete = bool(values) and None not in values
        identity = (kind, entity, values) if complete else (kind, entity, content)
        state = rule.family and (rule.family, entity)
        outcome: Literal["record", "unknown"] = "record" if kind in self._rules else "unknown"
        collision = complete and not rule.durable and ("id", identity) in self._seen
        if complete or not state:
            key = identity if rule.durable else (identity, content)
            if ("key", key) in self._seen:
                return []
            self._seen.add(("key", key))
        if state:
            if self._last.get(state) == (kind, content):
                return []
            self._last[state] = (kind, content)
        self._seen.add(("id", identity))
        return [Expected(outcome, kind, entity, collision, sent)]

    def _first(self, key: Hashable, record: Expected) -> list[Expected]:
        if key in self._seen:
            return []
        self._seen.add(key)
        return [record]


def _member(name: str, data: dict[str, Any], envelope: dict[str, Any]) -> Any:
    found = envelope.get(name[1:]) if name.startswith("^") else data.get(name)
    return _canonical(found) if isinstance(found, Raw | dict | list) else found


_decode: Final = msgspec.json.Decoder(float_hook=lambda text: Raw(text.encode())).decode
_canonical: Final = msgspec.json.Encoder(order="sorted").encode
