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

    durable: identity alone decides, whatever the content. family: states of the same family follow one another. private:
    `identity` tells alone; without it frames are the same only if they are for the same id or, where they name none, came
    over sockets of the same wallet. others: what identifies where `identity` is not complete, the first that is.
    """

    entity: tuple[str, ...]
    identity: tuple[str, ...]
    durable: bool = False
    family: str | None = None
    private: bool = False
    others: tuple[tuple[str, ...], ...] = ()


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
_ORDER: Final = Rule(
    ("tokenId", "orderId", "id", "userWallet", "^id"), ("orderId",), durable=True, private=True, others=(("id",),)
)
_PRIVATE: Final = {
    **dict.fromkeys(("order_placed", "order_cancelled"), _ORDER),
    "user_fill": Rule(
        ("tokenId", "walletAddress", "^id"), ("walletAddress", "tradeId", "orderId", "side"), durable=True, private=True,
        others=(("tradeId", "orderId", "side"), ("tradeId", "orderId")),
    ),
    "trade_matched": Rule(
        ("tokenId", "orderId", "vaultAddress", "userWallet", "^id"), ("tradeId", "orderId", "side"), durable=True, private=True,
        others=(("id", "orderId", "side"), ("tradeId", "userWallet", "side"), ("id", "userWallet", "side")),
    ),
    "trade_fill": Rule(
        ("orderHash", "txHash", "^id"), ("txHash", "orderHash", "side", "makerAmount", "takerAmount"), private=True,
        others=(("txHash", "orderHash", "side"),),
    ),
    "trade_failed": Rule(
        ("orderId", "txHash", "^id"), ("orderId", "txHash", "reason"), private=True, others=(("orderId", "txHash"),)
    ),
    "vault.deploy_confirmed": Rule(
        ("vaultAddress", "^id"), ("vaultAddress", "txHash"), durable=True, private=True, others=(("vaultAddress",),)
    ),
    "vault.deposit_confirmed": Rule(
        ("vaultAddress", "^id"), ("txHash", "vaultAddress", "token", "ledgerAfter"), private=True,
        others=(("txHash", "vaultAddress", "token"),),
    ),
    **dict.fromkeys(("user_paused", "user_unpaused"), Rule(("user", "^id"), ("txHash", "user"), durable=True, private=True)),
    "vault_position_balance_changed": Rule(
        ("tokenId", "vaultAddress", "^id"), ("txHash", "vaultAddress", "tokenId", "balanceAfter"), private=True,
        others=(("vaultAddress", "tokenId", "blockNumber", "balanceAfter"), ("vaultAddress", "tokenId", "tsMs", "balanceAfter")),
    ),
}  # fmt: skip
_UNKNOWN: Final = Rule(("match_id", "id", "tokenId", "conditionId", "^id"), ("^seq",))
_UNKNOWN_PRIVATE: Final = Rule(
    ("tokenId", "orderId", "vaultAddress", "^id", "walletAddress", "conditionId"), (), private=True
)
_RULES: Final = {
    "ticktock": (_TICKTOCK, _UNKNOWN),
    "predictstreet": (_PREDICTSTREET, _UNKNOWN),
    "predictstreet-user": (_PRIVATE, _UNKNOWN_PRIVATE),
}
#: How the channel (`Sent.channel`) of a wallet's socket begins; the wallet follows.
_USER: Final = "user:"


def expected(kind: str, sent: Iterable[Sent]) -> list[Expected]:
    """The records, in order of first sending; `kind` is ``ticktock``, ``predictstreet`` or ``predictstreet-user``.

    A simulated PredictStreet has sockets of both its gateways; each gateway's frames are judged by themselves. Duplicates and unchanged states are left out, collisions stay, malformed and mistyped frames are dead letters (equal bytes once).
    """
    judge, private = _Judge(*_RULES[kind]), _Judge(*_RULES["predictstreet-user"])
    return [
        record
        for one in sent
        if one.fault != CONTROL
        for record in (private if one.channel.startswith(_USER) else judge).judge(one)
    ]


class _Judge:
    def __init__(self, rules: dict[str, Rule], unknown: Rule) -> None:
        self._rules = rules
        self._unknown = unknown
        self._seen: set[Hashable] = set()
        self._last: dict[Hashable, Hashable] = {}

    def judge(self, sent: Sent) -> list[Expected]:
        if sent.fault is not None and sent.fault.startswith(("malformed", "wrong_type")):
            return self._first(("dead", sent.raw), Expected("dead_letter", "", "", collision=False, sent=sent))
        frame = _decode(sent.raw)
        kind, data = frame["type"], frame["data"]
        rule = self._rules.get(kind, self._unknown)
        envelope = frame.get("meta") if "meta" in frame else frame
        entity = next((str(found) for name in rule.entity if (found := _member(name, data, envelope)) is not None), "")
        content = _canonical(data)
        choices = [tuple(_member(name, data, envelope) for name in names) for names in (rule.identity, *rule.others)]
        values = next((each for each in choices if each and None not in each), ())
        complete = bool(values)
        identity: Hashable = (kind, entity, values) if complete else (kind, entity, content)
        if rule.private:
            owner = envelope.get("id") or sent.channel
            identity = (kind, values) if complete else (kind, entity, content, owner)
        state = rule.family and (rule.family, entity)
        outcome: Literal["record", "unknown"] = "record" if kind in self._rules else "unknown"
        # A collision is one of sequence numbers, and no private channel has them.
        collision = complete and not rule.durable and not rule.private and ("id", identity) in self._seen
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
