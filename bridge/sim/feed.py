"""What TickTock publishes over AMQP, from the world's history (contract, sections 3.5 and 4). Pure; `amqp.py` sends it.

Shapes are the contract's, most of them inferred. Every message is new: its timestamp is the time it was made.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from itertools import chain, cycle
from typing import Final, NamedTuple
from xml.sax.saxutils import quoteattr

import msgspec

from bridge.sim.cs2 import Cs2World, Match
from bridge.sim.offers import Offer, Settlement
from bridge.sim.stamps import iso_seconds

_PRODUCT: Final = "2"
_SPORT: Final = "cs2"
_VOID: Final = "void"


class FeedKnobs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """What a replay is like, and what goes wrong with it.

    complete: `snapshot_complete` comes. complete_key: where it is routed. stray_complete: another request's comes first.
    persistent: messages survive a restart of the broker. extra: odds changes more. live: live odds changes in between.
    malformed, bombs, strange (unknown attributes and elements), unknown (roots), duplicates: how many such messages are
    strewn in.
    """

    complete: bool = True
    complete_key: str = "-.-.-.snapshot_complete.-.-.-.-"
    stray_complete: bool = False
    persistent: bool = True
    extra: int = 0
    live: int = 0
    malformed: int = 0
    bombs: int = 0
    strange: int = 0
    unknown: int = 0
    duplicates: int = 0


class Broker(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A RabbitMQ to publish to: its URL, the exchange, what replays are like."""

    url: str
    exchange: str = "ttfeed"
    feed: FeedKnobs = FeedKnobs()


class Message(NamedTuple):
    """One message: where it is routed, what it is, and the fault it has, if any."""

    key: str
    body: bytes
    fault: str | None = None


def replay(world: Cs2World, *, after: int, request_id: str, now: int, knobs: FeedKnobs) -> Iterator[Message]:
    """Yield the answer to a recovery request. after, now: ms since the epoch."""
    matches = list(world.live)
    healthy = [message for match in matches for message in _of_match(world, match, after, request_id, now)]
    healthy += [_fixture(match, now) for match in world.upcoming]
    faulty = list(_faulty(healthy, matches, request_id, now, knobs))
    total = len(healthy) + knobs.extra + knobs.live
    step = max(total // (len(faulty) + 1), 1)
    for number, message in enumerate(chain(healthy, _more(matches, request_id, now, knobs)), 1):
        yield message
        if faulty and number % step == 0:
            yield faulty.pop(0)
    yield from faulty
    if knobs.stray_complete:
        yield Message(knobs.complete_key, _complete("1", now))
    if knobs.complete:
        yield Message(knobs.complete_key, _complete(request_id, now))


def alive(now: int, *, subscribed: bool = True) -> Message:
    """The heartbeat."""
    body = _element("alive", {"product": _PRODUCT, "timestamp": str(now), "subscribed": str(int(subscribed))})
    return Message("-.-.-.alive.-.-.-.-", body.encode())


def _of_match(world: Cs2World, match: Match, after: int, request_id: str, now: int) -> Iterator[Message]:
    offers = match.active_offers()
    if offers:
        markets = "".join(_market(offer) for offer in offers)
        yield _message("lo", "odds_change", match, now, f"<odds>{markets}</odds>", request_id=request_id)
    latest: dict[str, Settlement] = {}
    for entry in world.log.entries:
        if entry.match_id == match.id and entry.at > after:
            latest[entry.offer_id] = entry
    settled = [entry for entry in latest.values() if entry.outcome != _VOID]
    if settled:
        markets = "".join(map(_settled, settled))
        yield _message("lo", "bet_settlement", match, now, f"<outcomes>{markets}</outcomes>", request_id=request_id)
    voided = [entry for entry in latest.values() if entry.outcome == _VOID]
    if voided:
        markets = "".join(_element("market", {"id": _number(each.offer_id), "void_reason": "1"}) for each in voided)
        yield _message("lo", "bet_cancel", match, now, markets, request_id=request_id, start_time=str(after))


def _fixture(match: Match, now: int) -> Message:
    """A change of the fixture: live, since the replay has none (contract 3.5)."""
    scheduled = iso_seconds(match.scheduled_at)
    return _message("hi", "fixture_change", match, now, "", change_type="1", scheduled=scheduled)


def _more(matches: list[Match], request_id: str, now: int, knobs: FeedKnobs) -> Iterator[Message]:
    """As many odds changes as wanted, each with a price that no other has."""
    live = knobs.live
    for number, match in zip(range(knobs.extra + knobs.live), cycle(matches), strict=False):
        price = f"{1 + number // 100}.{number % 100:02d}"
        outcome = _element("outcome", {"id": "1", "odds": price, "active": "1"})
        market = _element("market", {"id": "1", "status": "1", "specifiers": f"number={number}"}, outcome)
        if live and number % 2:
            live -= 1
            yield _message("hi", "odds_change", match, now + number, f"<odds>{market}</odds>")
        else:
            yield _message("lo", "odds_change", match, now + number, f"<odds>{market}</odds>", request_id=request_id)


def _faulty(
    healthy: list[Message], matches: list[Match], request_id: str, now: int, knobs: FeedKnobs
) -> Iterator[Message]:
    match = matches[0]
    key = healthy[0].key
    for number in range(knobs.malformed):
        body = f'<odds_change product="2" event_id="{match.data()["oddin_match_id"]}" number="{number}"><odds>'
        yield Message(key, body.encode(), "malformed")
    for number in range(knobs.bombs):
        yield Message(key, bomb(number), "bomb")
    for number in range(knobs.strange):
        content = f'<odds margin="0.05"><market id="7" status="1" new="{number}"/></odds><streams><stream id="1">ä</stream></streams>'
        more = {"request_id": request_id, "node": "n1", "number": str(number)}
        yield _message("lo", "odds_change", match, now, content, fault="strange", **more)
    for number in range(knobs.unknown):
        yield _message("lo", "bet_stop", match, now, "", fault="unknown", groups="all", number=str(number))
    for number in range(knobs.duplicates):
        yield healthy[number % len(healthy)]._replace(fault="duplicate")


def bomb(number: int) -> bytes:
    """A billion laughs."""
    entities = "".join(f'<!ENTITY l{level} "{f"&l{level - 1};" * 10}">' for level in range(1, 10))
    head = f'<?xml version="1.0"?><!DOCTYPE odds_change [<!ENTITY l0 "lol">{entities}]>'
    return f'{head}<odds_change product="2" number="{number}">&l9;</odds_change>'.encode()


def _complete(request_id: str, now: int) -> bytes:
    attributes = {"request_id": request_id, "product": _PRODUCT, "timestamp": str(now)}
    return _element("snapshot_complete", attributes).encode()


def _message(
    priority: str, root: str, match: Match, now: int, content: str, *, fault: str | None = None, **more: str
) -> Message:
    event = match.data()["oddin_match_id"]
    attributes = {"product": _PRODUCT, "event_id": event, "tt_match_id": match.id, "timestamp": str(now), **more}
    phase = "live" if match.status == "live" else "-"
    key = (
        f"{priority}.{'-' if phase == 'live' else 'pre'}.{phase}.{root}.{_SPORT}.od:match.{event.rpartition(':')[2]}.-"
    )
    return Message(key, _element(root, attributes, content).encode(), fault)


def _market(offer: Offer) -> str:
    data = offer.data()
    attributes = {
        "id": _number(offer.id),
        "status": str(offer.status),
        "type": data["type"],
        "specifiers": data["specifiers"],
        "textEN": data["textEN"],
        "textRU": data["textRU"],
    }
    outcomes = "".join(
        _element(
            "outcome",
            {"id": str(number), "odds": bytes(price["price"]).decode(), "active": str(int(price["active"]))},
        )
        for number, price in enumerate(data["odds"], 1)
    )
    return _element("market", attributes, outcomes)


def _settled(entry: Settlement) -> str:
    won = entry.outcome == "won"
    results = zip(("1", "2"), (won, not won), strict=True)
    outcomes = "".join(_element("outcome", {"id": each, "result": str(int(result))}) for each, result in results)
    return _element("market", {"id": _number(entry.offer_id)}, outcomes)


def _number(offer_id: str) -> str:
    """The number of a market, as an Oddin-style feed has it."""
    return str(zlib.crc32(offer_id.encode()) % 1_000_000)


def _element(name: str, attributes: Mapping[str, str], content: str = "") -> str:
    text = "".join(f" {key}={quoteattr(value)}" for key, value in attributes.items())
    return f"<{name}{text}>{content}</{name}>" if content else f"<{name}{text}/>"
