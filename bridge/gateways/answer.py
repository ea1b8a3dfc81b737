"""What PredictStreet says of the protocol itself: greeting, answers to commands, errors. Pure.

Contract 1.4, 2.3, 2.4. Greeting and `subscribed` are documented and read strictly. How the other answers look is not: of
them as much is read as can be found, and an answer is known by the id of its command, whatever its type.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from bridge.gateways.subscriptions import Accepted, Rejected, Subscription, normal

#: Types of frames that belong to the protocol. Answers of other types are known by their ids.
CONTROL: Final = frozenset(
    {
        "connected", "subscribed", "unsubscribed", "subscription_updated", "subscriptions", "book_snapshot_requested",
        "pong", "error",
    }
)  # fmt: skip


class Greeting(msgspec.Struct):
    """The first frame's data, as far as we read it."""

    protocolVersion: int | float | None = None  # noqa: N815 - the gateway's name
    walletAddress: Any = None  # noqa: N815 - the gateway's name


class _Connected(msgspec.Struct):
    data: Greeting | None = None


class Subscribed(msgspec.Struct):
    """The answer to `subscribe`."""

    id: int | str | None = None
    accepted: list[Accepted] = []
    rejected: list[Rejected] = []


class Answer(msgspec.Struct):
    """Any other answer. error: what it says, where it is a refusal of all. listed: sid → what it brings, where it lists."""

    error: Rejected | None = None
    sids: list[int] | None = None
    listed: dict[int, Subscription] | None = None


class _Named(msgspec.Struct):
    type: Any = ""
    id: Any = None


def greeting(raw: bytes) -> Greeting:
    """Read ``connected``. Raises msgspec.MsgspecError."""
    return msgspec.json.decode(raw, type=_Connected).data or Greeting()


def subscribed(raw: bytes) -> Subscribed:
    """Read ``subscribed``. Raises msgspec.MsgspecError."""
    return msgspec.json.decode(raw, type=Subscribed)


def kind(raw: bytes) -> str:
    """Return the type of a message; nothing where it has none, or is no JSON: that is for the pipeline to judge."""
    found = _named(raw).type
    return found if isinstance(found, str) else ""


def ident(raw: bytes) -> int | None:
    """Return the number that a message names as its command's; a push names a text, if anything."""
    found = _named(raw).id
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def answer(raw: bytes) -> Answer:
    """Read an answer of a shape that nobody has documented, as far as it can be read."""
    try:
        message = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Answer()
    if not isinstance(message, dict):
        return Answer()
    found = Answer(sids=_numbers(message.get("sids")), listed=_listed(message))
    rejected = message.get("rejected")
    if message.get("type") == "error" or (isinstance(rejected, list) and rejected):
        first = rejected[0] if isinstance(rejected, list) and rejected and isinstance(rejected[0], dict) else message
        inner = first.get("error")
        said = {**inner, **first} if isinstance(inner, dict) else first
        code, text = said.get("code"), said.get("message")
        found.error = Rejected(
            code=str(code) if isinstance(code, str | int) and code else "error",
            message=text if isinstance(text, str) else "",
        )
    return found


def _named(raw: bytes) -> _Named:
    try:
        return msgspec.json.decode(raw, type=_Named)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _Named()


def _numbers(value: Any) -> list[int] | None:
    if not isinstance(value, list):
        return None
    return [each for each in value if isinstance(each, int) and not isinstance(each, bool)]


def _listed(message: dict[str, Any]) -> dict[int, Subscription] | None:
    """Return the list of subscriptions in an answer, wherever it lies; None: there is none that can be read."""
    data = message.get("data")
    places = [message, data] if isinstance(data, dict) else [message]
    lists = [place.get(name) for place in places for name in ("subscriptions", "accepted")]
    rows = next((each for each in [*lists, data] if isinstance(each, list)), None)
    if rows is None:
        return None
    found = {}
    for row in rows:
        if not isinstance(row, dict):
            return None
        sid, channel, ids = row.get("sid"), row.get("channel"), row.get("ids", [])
        if not isinstance(sid, int) or not isinstance(channel, str) or not isinstance(ids, list):
            return None
        found[sid] = Subscription(channel, tuple(normal(channel, each) for each in ids if isinstance(each, str)))
    return found
