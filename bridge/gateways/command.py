"""What a client may say to PredictStreet, and which commands turn the subscriptions of a connection into others. Pure.

Contract 2.3. Only `subscribe` and `ping` are documented whole. How the other commands are spelled is inferred, so whoever
sends one must be able to do without its answer, see `bridge.gateways.subscriber`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

import msgspec

from bridge.gateways.subscriptions import IDS_PER_SUBSCRIPTION, Subscription, groups, joined, pairs, split


class Command(msgspec.Struct, frozen=True):
    """Base of the commands."""

    verb: ClassVar[str]

    def params(self) -> dict[str, object]:
        """Return the parameters; none where the command takes none."""
        return {}

    def text(self, ident: int) -> str:
        """Return the message. ident: what the answer will name."""
        command: dict[str, object] = {"id": ident, "cmd": self.verb}
        params = self.params()
        return json.dumps({**command, "params": params} if params else command, separators=(",", ":"))


class Subscribe(Command, frozen=True):
    """Subscribe to more. again: tokens whose books are had anew by it, with a subscription that is given up afterwards."""

    verb: ClassVar[str] = "subscribe"
    subscriptions: tuple[Subscription, ...]
    again: bool = False

    def params(self) -> dict[str, object]:
        """As `Command.params`."""
        return {"subscriptions": [_entry(each) for each in self.subscriptions]}


class Add(Command, frozen=True):
    """More ids for a subscription. channel: its own."""

    verb: ClassVar[str] = "update_subscription"
    sid: int
    channel: str
    ids: tuple[str, ...]

    def params(self) -> dict[str, object]:
        """As `Command.params`."""
        return {"sid": self.sid, "add_ids": list(self.ids)}


class Remove(Command, frozen=True):
    """Fewer ids for a subscription, not none."""

    verb: ClassVar[str] = "update_subscription"
    sid: int
    channel: str
    ids: tuple[str, ...]

    def params(self) -> dict[str, object]:
        """As `Command.params`."""
        return {"sid": self.sid, "remove_ids": list(self.ids)}


class Unsubscribe(Command, frozen=True):
    """Give subscriptions up."""

    verb: ClassVar[str] = "unsubscribe"
    sids: tuple[int, ...]

    def params(self) -> dict[str, object]:
        """As `Command.params`."""
        return {"sids": list(self.sids)}


class ListSubscriptions(Command, frozen=True):
    """Ask what the gateway holds for this connection."""

    verb: ClassVar[str] = "list_subscriptions"


class GetBookSnapshot(Command, frozen=True):
    """Ask for books of a subscription anew; generation 2 only."""

    verb: ClassVar[str] = "get_book_snapshot"
    sid: int
    ids: tuple[str, ...]

    def params(self) -> dict[str, object]:
        """As `Command.params`."""
        return {"sid": self.sid, "ids": list(self.ids)}


class Ping(Command, frozen=True):
    """Ask for a pong."""

    verb: ClassVar[str] = "ping"


def subscribing(subscriptions: Sequence[Subscription]) -> list[Command]:
    """Return the commands that subscribe to all of these, each of bearable length."""
    return [Subscribe(tuple(group)) for group in groups(subscriptions)]


def difference(held: Mapping[int, Subscription], wanted: Iterable[Subscription]) -> list[Command]:
    """Return what makes `held` (sid → subscription) into `wanted`, in the channel names of the connection.

    What is not wanted goes first, so that there is room; then subscriptions are filled up to 100 ids, and new ones made for
    the rest. What stays is not touched, so no frame of it is missed. A negative sid is one that the gateway never told: it
    counts as held and can't be changed.
    """
    missing = dict.fromkeys(pair for each in wanted for pair in pairs(each))
    drop: list[int] = []
    remove: list[Command] = []
    room: dict[str, list[tuple[int, int]]] = {}
    for sid, subscription in held.items():
        channel = subscription.channel
        stays = {pair: None for pair in pairs(subscription) if pair in missing}
        for pair in stays:
            del missing[pair]  # held twice, the second is given up
        gone = tuple(entity for entity in subscription.ids if (channel, entity) not in stays)
        if sid < 0:
            continue
        if not stays:
            drop.append(sid)
        elif subscription.ids:
            room.setdefault(channel, []).append((sid, IDS_PER_SUBSCRIPTION - len(stays)))
            if gone:
                remove.append(Remove(sid, channel, gone))
    given_up: list[Command] = [Unsubscribe(tuple(drop))] if drop else []
    return [*given_up, *remove, *_added(joined(missing), room)]


def _added(missing: Iterable[Subscription], room: Mapping[str, Sequence[tuple[int, int]]]) -> list[Command]:
    """Return what adds `missing`. room: channel → sids that have some, and how much."""
    add: list[Command] = []
    fresh: list[Subscription] = []
    for each in missing:
        ids = each.ids
        for sid, free in room.get(each.channel, ()):
            if ids and free:
                add.append(Add(sid, each.channel, ids[:free]))
                ids = ids[free:]
        if ids or not each.ids:
            fresh += split([Subscription(each.channel, ids)])
    return [*add, *subscribing(fresh)]


def _entry(subscription: Subscription) -> Mapping[str, object]:
    if not subscription.ids:
        return {"channel": subscription.channel}
    return {"channel": subscription.channel, "ids": list(subscription.ids)}
