"""What to subscribe to, split and named as the gateway wants it, and what the gateway answered. Pure.

PredictStreet's contract, sections 2.3, 2.4, 3 and 6: a subscription names a channel and at most 100 ids, a connection holds at
most 256 subscriptions, channels were renamed from generation 1 to 2, and a subscribe command may be accepted in part.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

Generation = Literal[1, 2]
GENERATIONS: Final[tuple[Generation, ...]] = (1, 2)

IDS_PER_SUBSCRIPTION: Final = 100
SUBSCRIPTIONS_PER_CONNECTION: Final = 256
#: Ids in one command: how long a command may be is not documented, so it stays below 100 KB.
IDS_PER_COMMAND: Final = 1000

BOOK: Final = "token_book"
#: Channels of generation 1 and what they became (contract 3.1, 3.2).
_RENAMED: Final = {
    "token_trades": ("token_trade_matches", "token_trade_settlements"),
    "condition_status": ("condition_lifecycle",),
    "user_activity": ("user_orders", "user_fills"),
    "vault_activity": ("vault_positions",),
}
_BACK: Final = {new: old for old, news in _RENAMED.items() for new in news}
#: Refusals that another try with the same key can't mend (contract 2.4). What is not listed may pass.
_LASTING: Final = frozenset(
    {
        "invalid_params", "invalid", "unknown_channel", "forbidden", "api_key_scope_missing",
        "subscription_too_many_ids",
    }
)  # fmt: skip
#: What a channel that does not exist is refused with; malformed ids are too.
_NO_CHANNEL: Final = frozenset({"invalid_params", "invalid", "unknown_channel"})


class Subscription(msgspec.Struct, frozen=True, omit_defaults=True):
    """A channel, and the ids it is for; none for a channel that takes none."""

    channel: str
    ids: tuple[str, ...] = ()


class Refusal(msgspec.Struct, frozen=True):
    """A subscription that was not accepted, or that part of its ids which was not. code, message: the gateway's."""

    subscription: Subscription
    code: str
    message: str

    @property
    def lasting(self) -> bool:
        """Whether the same key will get the same answer again."""
        return self.code in _LASTING


class Accepted(msgspec.Struct, frozen=True):
    """One entry of `accepted` in an answer."""

    channel: str
    sid: int | None = None
    ids: list[str] | None = None


class Rejected(msgspec.Struct, frozen=True):
    """One entry of `rejected` in an answer; only code and message are documented."""

    code: str = "rejected"
    message: str = ""
    channel: str | None = None
    ids: list[str] | None = None


def plan(wanted: Iterable[Subscription], *, generation: Generation | None) -> list[list[Subscription]]:
    """Return what each connection subscribes to: ids once per channel, split, and as few connections as hold it.

    generation: None where it is known only when a connection is open; the result fits either, in the user's own channel
    names, see `translate`.
    """
    pieces = split(_merged(wanted if generation is None else translate(wanted, generation)))
    connections: list[list[Subscription]] = []
    room = 0
    for piece in pieces:
        cost = max(len(translate([piece], each)) for each in GENERATIONS) if generation is None else 1
        if cost > room:
            connections.append([])
            room = SUBSCRIPTIONS_PER_CONNECTION
        connections[-1].append(piece)
        room -= cost
    return connections


def replan(
    connections: Sequence[Sequence[Subscription]], wanted: Iterable[Subscription], *, generation: Generation | None
) -> list[list[Subscription]]:
    """Return what each connection subscribes to from now on; what stays wanted stays where it is.

    connections: as they are, from `plan` or from here. Those of which nothing is wanted any more are empty; what is new goes
    where there is room, then onto new connections at the end. Arguments else as in `plan`.
    """
    wish = _merged(wanted if generation is None else translate(wanted, generation))
    missing = dict.fromkeys(pair for each in wish for pair in pairs(each))
    found: list[list[Subscription]] = []
    for connection in connections:
        stays = [pair for each in connection for pair in pairs(each) if pair in missing]
        for pair in stays:
            del missing[pair]
        found.append(joined(stays))
    for connection in found:
        if missing:
            _fill(connection, missing, generation)
    return [split(connection) for connection in found] + plan(joined(missing), generation=generation)


def translate(wanted: Iterable[Subscription], generation: Generation) -> list[Subscription]:
    """Return subscriptions with the channel names of a generation; names that did not change stay, each id once."""
    translated = []
    for subscription in wanted:
        channel = subscription.channel
        names = _RENAMED.get(channel, (channel,)) if generation == _LATEST else (_BACK.get(channel, channel),)
        translated += [Subscription(name, subscription.ids) for name in names]
    return split(_merged(translated))


def groups(subscriptions: Sequence[Subscription]) -> list[list[Subscription]]:
    """Return the subscriptions of each command."""
    found: list[list[Subscription]] = []
    room = 0
    for subscription in subscriptions:
        size = max(1, len(subscription.ids))
        if size > room:
            found.append([])
            room = IDS_PER_COMMAND
        found[-1].append(subscription)
        room -= size
    return found


class Settled(msgspec.Struct, frozen=True):
    """What became of a command. held: sid → what it brings; negative where the gateway told no sid."""

    held: dict[int, Subscription]
    refused: list[Refusal]


def settle(asked: Sequence[Subscription], accepted: Sequence[Accepted], rejected: Sequence[Rejected]) -> Settled:
    """Return what of a command was accepted, and what was not.

    The gateway may normalise ids, and need not say which subscription a rejection is about. What it accepted is taken off
    what was asked, by channel and ids; the rest goes with the rejections, those that name a channel first.
    """
    open_ids: list[tuple[Subscription, set[str]]] = [(each, set(each.ids)) for each in asked]
    held: dict[int, Subscription] = {}
    for answer in accepted:
        named = {normal(answer.channel, each) for each in answer.ids or ()}
        match = _best(open_ids, answer.channel, named)
        if match is not None:
            subscription, ids = open_ids.pop(match)
            left = ids - (named or ids)
            if left:
                open_ids.append((subscription, left))
            sid = answer.sid if answer.sid is not None else -1 - len(held)
            held[sid] = Subscription(
                subscription.channel, tuple(each for each in subscription.ids if each in ids - left)
            )
    reasons = sorted(rejected, key=lambda each: each.channel is None)
    found = []
    for reason in reasons:
        match = _best(open_ids, reason.channel, {normal(reason.channel or "", each) for each in reason.ids or ()})
        if match is not None:
            found.append(_refusal(*open_ids.pop(match), reason.code, reason.message))
    last = reasons[-1] if reasons else Rejected("unconfirmed", "neither accepted nor rejected")
    found += [_refusal(subscription, left, last.code, last.message) for subscription, left in open_ids]
    return Settled(held, found)


def renamed(channel: str) -> bool:
    """Whether a channel has another name in the other generation."""
    return channel in _RENAMED or channel in _BACK


def misnamed(refusal: Refusal) -> bool:
    """Whether a channel may have been refused because it has another name in this generation (contract 2.4)."""
    return refusal.code in _NO_CHANNEL and renamed(refusal.subscription.channel)


def split(subscriptions: Iterable[Subscription]) -> list[Subscription]:
    """Return the same in subscriptions of at most 100 ids."""
    return [
        Subscription(each.channel, each.ids[start : start + IDS_PER_SUBSCRIPTION])
        for each in subscriptions
        for start in range(0, max(1, len(each.ids)), IDS_PER_SUBSCRIPTION)
    ]


def pairs(subscription: Subscription) -> list[tuple[str, str]]:
    """Return channel and id of all that a subscription brings; an empty id for a channel that takes none."""
    return [(subscription.channel, entity) for entity in subscription.ids or ("",)]


def joined(wanted: Iterable[tuple[str, str]]) -> list[Subscription]:
    """Return the subscriptions that bring these pairs, one for each channel, however many ids it has."""
    channels: dict[str, list[str]] = {}
    for channel, entity in wanted:
        channels.setdefault(channel, []).append(entity)
    return [Subscription(channel, tuple(filter(None, ids))) for channel, ids in channels.items()]


def without(subscriptions: Iterable[Subscription], gone: Iterable[Subscription]) -> list[Subscription]:
    """Return the subscriptions without what is in others."""
    taken = {pair for each in gone for pair in pairs(each)}
    left = []
    for each in subscriptions:
        ids = tuple(entity for entity in each.ids if (each.channel, entity) not in taken)
        if ids or (not each.ids and (each.channel, "") not in taken):
            left.append(Subscription(each.channel, ids))
    return left


def normal(channel: str, entity: str) -> str:
    """Return an id as the gateway writes it (contract 2.3): hex in lower case, token ids without leading zeros."""
    if entity.startswith(("0x", "0X")):
        return entity.lower()
    if entity.startswith("0") and channel.startswith("token_") and entity.isascii() and entity.isdigit():
        return entity.lstrip("0") or "0"
    return entity


_LATEST: Final = 2


def _merged(wanted: Iterable[Subscription]) -> list[Subscription]:
    """Return one subscription for each channel, each id once: two for one id might bring every frame twice."""
    channels: dict[str, dict[str, None]] = {}
    for subscription in wanted:
        ids = channels.setdefault(subscription.channel, {})
        ids.update(dict.fromkeys(normal(subscription.channel, each) for each in subscription.ids))
    return [Subscription(channel, tuple(ids)) for channel, ids in channels.items()]


def _cost(connection: Iterable[Subscription], generation: Generation | None) -> int:
    """How many subscriptions a connection needs, in the worst case where the generation is not known."""
    pieces = list(connection)
    return max(len(translate(pieces, each)) for each in (GENERATIONS if generation is None else (generation,)))


def _fill(connection: list[Subscription], missing: dict[tuple[str, str], None], generation: Generation | None) -> None:
    """Move onto a connection, as joined subscriptions, what there is room for."""
    for each in joined(missing):
        here = next((index for index, one in enumerate(connection) if one.channel == each.channel), None)
        had = connection[here].ids if here is not None else ()
        others = [one for one in connection if one.channel != each.channel]
        # What fits is what is there already plus whole subscriptions: found by halving, since a channel may be two.
        least, most = 0, max(1, len(each.ids))
        while least < most:
            count = (least + most + 1) // 2
            if (
                _cost([*others, Subscription(each.channel, had + each.ids[:count])], generation)
                <= SUBSCRIPTIONS_PER_CONNECTION
            ):
                least = count
            else:
                most = count - 1
        if least:
            taken = Subscription(each.channel, had + each.ids[:least])
            if here is None:
                connection.append(taken)
            else:
                connection[here] = taken
            for entity in each.ids[:least] or ("",):
                del missing[each.channel, entity]


def _best(asked: Sequence[tuple[Subscription, set[str]]], channel: str | None, ids: set[str]) -> int | None:
    """Return which of `asked` an answer is about: of its channel, with the most ids in common; the first where none is named."""
    best, most = None, -1
    for index, (subscription, left) in enumerate(asked):
        if channel in {None, subscription.channel}:
            common = len(left & ids)
            if common > most and (common or not ids or not left):
                best, most = index, common
    return best


def _refusal(subscription: Subscription, left: set[str], code: str, message: str) -> Refusal:
    ids = tuple(each for each in subscription.ids if each in left)
    return Refusal(Subscription(subscription.channel, ids), code, message)
