"""What the design demands of the record of one frame: topic, key, timestamp, headers, the place of each value.

Written from the design (sections 6.3 and 7) and the wire contracts. A name is a member of ``data``, or of the envelope
where it begins with ``^``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from tests.audit.exact import Number, Schema, parse

#: An event time further from now is no timestamp (ms).
OLDEST: Final = 7 * 24 * 3600 * 1000
NEWEST: Final = 5 * 60 * 1000


class Rule(NamedTuple):
    """Of one frame type: where key, entity and event time stand; the first that is there, or usable, wins."""

    key: tuple[str, ...]
    entity: tuple[str, ...]
    times: tuple[str, ...]


class Contract(NamedTuple):
    """Of one gateway. nested: seq and the like stand in ``meta``, not beside it. learns: id → key, from (types, id, key)."""

    kind: str
    namespace: str
    nested: bool
    rules: Mapping[str, Rule]
    unknown: Rule
    learns: tuple[tuple[str, str, str], ...]

    def record_name(self, frame_type: str) -> str:
        """Full name of the schema of a type; of a type that no contract names, `Unknown`."""
        words = re.split(r"[._]", frame_type if frame_type in self.rules else "unknown")
        return f"{self.namespace}.{''.join(word.capitalize() for word in words)}"

    def topic(self, prefix: str, gateway: str, frame_type: str, *, layout: str) -> str:
        """Where a record of the type goes."""
        if layout == "gateway":
            return f"{prefix}{gateway}"
        name = frame_type if frame_type in self.rules else "unknown"
        return f"{prefix}{gateway}.{name.replace('_', '-')}"


class Frame:
    """A frame that can be read: ``{type, data, …}``. Raises ValueError where it can't."""

    def __init__(self, contract: Contract, raw: bytes) -> None:
        """Parse it with exact numbers."""
        self.contract = contract
        self.raw = raw
        self.tree: dict[str, Any] = parse(raw)
        if not isinstance(self.tree, dict) or not isinstance(self.tree.get("type"), str):
            raise ValueError("no frame")  # noqa: TRY004 - a frame that can't be read, like any other
        self.type: str = self.tree["type"]
        self.rule = contract.rules.get(self.type, contract.unknown)

    @property
    def known(self) -> bool:
        """Whether the type has a schema of its own."""
        return self.type in self.contract.rules

    @property
    def seq(self) -> str | None:
        """The sequence number as decimal text."""
        found = self._member("^seq")
        return found.text if isinstance(found, Number) else None

    def key(self, learned: Mapping[str, str], *, gateway: str) -> bytes:
        """The Kafka key: the frame's own, the one learned for its entity, the entity, the gateway."""
        own = self._first(self.rule.key)
        entity = self._first(self.rule.entity)
        return (own or learned.get(entity or "") or entity or gateway).encode()

    def dead_key(self, learned: Mapping[str, str], *, gateway: str) -> bytes:
        """The key of the frame's dead letter: of what can be made out, what is known of it first."""
        own = self._first((*self.rule.key, *self.rule.entity))
        return (learned.get(own or "") or own or gateway).encode()

    def learn(self, learned: dict[str, str]) -> None:
        """Take note of what the frame says of ids and keys."""
        for types, ident, key in self.contract.learns:
            if re.fullmatch(types, self.type):
                found, meaning = self._text(ident), self._text(key)
                if found is not None and meaning is not None:
                    learned[found] = meaning

    def timestamp(self, received: int, now: int) -> int:
        """The record's timestamp (ms): the event time where it is sane."""
        for name in self.rule.times:
            at = _moment(self._member(name))
            if at is not None:
                return at if now - OLDEST <= at <= now + NEWEST else received
        return received

    def meta(self) -> dict[str, Any]:
        """What the record's ``meta`` must hold: the envelope without type and data."""
        beside = {name: value for name, value in self.tree.items() if name not in {"type", "data", "meta"}}
        if not self.contract.nested:
            return {name: value for name, value in self.tree.items() if name not in {"type", "data"}}
        inside = {
            f"meta.{name}" if name.startswith(("envelope.", "meta.")) else name: value
            for name, value in (self.tree.get("meta") or {}).items()
        }
        return inside | {f"envelope.{name}": value for name, value in beside.items()}

    def normal(self, schema: Schema) -> dict[str, Any]:
        """The whole frame as a record of `schema` gives it back."""
        kinds = schema.fields()
        meta = schema.normal(self.meta(), kinds["meta"])
        if not self.known:
            return {"type": self.type, "meta": meta, "json": self.raw.decode()}
        return {"type": self.type, "meta": meta, "data": schema.normal(self.tree["data"], kinds["data"])}

    def wrong_member(self) -> str | None:
        """The member of ``data`` that has a value as only the simulators' fault `wrong_type` makes it."""
        data = self.tree["data"]
        return next((f"data.{name}" for name in sorted(data) if name in _SCALARS and _is_wrong(name, data[name])), None)

    def _first(self, names: tuple[str, ...]) -> str | None:
        return next((found for name in names if (found := self._text(name)) is not None), None)

    def _text(self, name: str) -> str | None:
        found = self._member(name)
        if isinstance(found, Number):
            return found.text
        return found if isinstance(found, str) and found else None

    def _member(self, name: str) -> Any:
        if name.startswith("^"):
            place = self.tree.get("meta") if self.contract.nested else self.tree
            name = name[1:]
        else:
            place = self.tree.get("data")
        return place.get(name) if isinstance(place, dict) else None


def why_dead(fault: str, frame: Frame | None) -> tuple[str, str | None]:
    """(reason, path) of the dead letter that a simulator's fault must become. frame: where it can be read."""
    if fault == "wrong_type":
        return "wrong_type", frame.wrong_member() if frame is not None else None
    return _MALFORMED[fault.removeprefix("malformed:")]


def _moment(value: Any) -> int | None:
    """Milliseconds of an event time: ISO 8601 with an offset, or an integer."""
    if isinstance(value, Number):
        return int(value.text) if value.text.isdecimal() else None
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000


def _is_wrong(name: str, value: Any) -> bool:
    if name in {"bids", "asks"}:
        return isinstance(value, str)
    return isinstance(value, dict | list)


#: Members whose JSON type every contract gives, and it is neither an array nor an object (bids and asks: an array).
_SCALARS: Final = frozenset({
    "id", "match_id", "team_a", "team_b", "bo_type", "score_a", "score_b", "round_number", "winner_side", "suspended",
    "market_offer_id", "is_resettlement", "created_at", "tokenId", "conditionId", "outcomeIndex", "tsMs", "price",
    "quantity", "interval", "bids", "asks", "orderId", "vaultAddress", "user",
})  # fmt: skip
_MALFORMED: Final[Mapping[str, tuple[str, str | None]]] = {
    "truncated": ("not_json", None),
    "not_utf8": ("not_json", None),
    "nan": ("not_json", None),
    "array": ("not_object", None),
    "text": ("not_json", None),
    "no_data": ("no_data", "data"),
    "type_no_string": ("no_type", "type"),
    "duplicate_key": ("duplicate_key", None),
}

_TICKTOCK: Final = Contract(
    kind="ticktock",
    namespace="feedbridge.ticktock",
    nested=True,
    rules={
        **dict.fromkeys(("match.created", "match.updated", "match.finished"), Rule(("id",), ("id",), ("^ts",))),
        **dict.fromkeys(
            ("market.created", "market.updated", "market.suspended", "market.unsuspended"),
            Rule(("match_id",), ("id",), ("^ts",)),
        ),
        **dict.fromkeys(("round.started", "round.finished"), Rule(("match_id",), (), ("^ts",))),
        **dict.fromkeys(
            ("event.kill", "event.bomb_planted", "event.bomb_defused", "event.bomb_exploded"),
            Rule(("match_id",), (), ("time", "^ts")),
        ),
        "scoreboard.frame": Rule(("match_id", "id"), (), ("^ts",)),
        "bet_settlement": Rule(("match_id",), ("market_offer_id", "id"), ("created_at", "^ts")),
    },
    unknown=Rule(("match_id",), ("id",), ("^ts",)),
    learns=((r"market\..*", "id", "match_id"), ("bet_settlement", "market_offer_id", "match_id")),
)
_TOKEN: Final = Rule(("conditionId",), ("tokenId", "^id"), ("tsMs",))
_PREDICTSTREET: Final = Contract(
    kind="predictstreet",
    namespace="feedbridge.predictstreet_market",
    nested=False,
    rules={
        **dict.fromkeys(("book_update", "book_delta", "ohlc_update", "book_snapshot_failed"), _TOKEN),
        "book_snapshot": _TOKEN._replace(times=("tsMs", "ts")),
        **dict.fromkeys(("trade", "trade_matched"), _TOKEN._replace(times=("tsMs", "createdAt"))),
        "trade_settled": _TOKEN._replace(times=("tsMs", "settledAt", "createdAt")),
        **dict.fromkeys(
            ("market_paused", "market_unpaused", "market_resolved", "market_status"),
            Rule(("conditionId", "^id"), (), ("tsMs", "at")),
        ),
        "platform_status": Rule((), ("^id",), ("tsMs",)),
    },
    unknown=Rule(("conditionId",), ("tokenId", "^id"), ("tsMs",)),
    learns=(
        (r"trade.*|book_.*|ohlc_update", "tokenId", "conditionId"),
        (r"trade.*|book_.*|ohlc_update", "^id", "conditionId"),
    ),
)
_VAULT: Final = Rule((), ("vaultAddress", "^id"), ())
_PAUSE: Final = Rule((), ("user", "^id"), ())
_ORDER: Final = Rule(("conditionId",), ("tokenId", "orderId", "id", "userWallet", "^id"), ("tsMs", "createdAt"))
_PRIVATE: Final = Contract(
    kind="predictstreet-user",
    namespace="feedbridge.predictstreet_user",
    nested=False,
    rules={
        "order_placed": _ORDER,
        "order_cancelled": _ORDER._replace(times=("tsMs", "updatedAt")),
        "user_fill": Rule(("conditionId",), ("tokenId", "walletAddress", "^id"), ("tsMs",)),
        "trade_matched": Rule(
            ("conditionId",), ("tokenId", "orderId", "vaultAddress", "userWallet", "^id"), ("tsMs", "createdAt")
        ),
        "trade_fill": Rule((), ("orderHash", "txHash", "^id"), ()),
        "trade_failed": Rule((), ("orderId", "txHash", "^id"), ()),
        "vault.deploy_confirmed": _VAULT,
        "vault.deposit_confirmed": _VAULT,
        "user_paused": _PAUSE,
        "user_unpaused": _PAUSE,
        "vault_position_balance_changed": Rule(("conditionId",), ("tokenId", "vaultAddress", "^id"), ("tsMs",)),
    },
    unknown=Rule(
        ("conditionId",), ("tokenId", "orderId", "vaultAddress", "^id", "walletAddress", "conditionId"), ("tsMs",)
    ),
    learns=((r"order_.*|user_fill|trade_matched|vault_position.*", "tokenId", "conditionId"),),
)
#: By the name that the simulators have for the gateway.
CONTRACTS: Final[Mapping[str, Contract]] = {
    "ticktock": _TICKTOCK,
    "predictstreet": _PREDICTSTREET,
    "predictstreet-user": _PRIVATE,
}
