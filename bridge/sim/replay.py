"""Frames without a server: the same seed gives the same bytes, for unit tests, acceptance tests and benchmarks.

What comes is what one client would receive that listens to everything: TickTock's list channel with a key of all
scopes, or every PredictStreet channel, each subscribed to once for all ids (`sid` counts channels from 1).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Final, Literal, NamedTuple

from bridge.sim.change import Outgoing
from bridge.sim.faults import Faults
from bridge.sim.keys import TICKTOCK_SCOPES
from bridge.sim.predictstreet_stream import PredictStreetKnobs, PredictStreetStream
from bridge.sim.sent import Sent
from bridge.sim.server import Source
from bridge.sim.session import CHANNELS
from bridge.sim.stamps import START_MS
from bridge.sim.ticktock_stream import TickTockKnobs, TickTockStream

Kind = Literal["ticktock", "predictstreet"]
Knobs = TickTockKnobs | PredictStreetKnobs
#: Frames that share one reading of the clock, as in a server's tick.
_CHUNK: Final = 64


def play(
    kind: Kind,
    *,
    seed: int = 0,
    faults: Faults | Mapping[str, float] | None = None,
    knobs: Knobs | None = None,
    start: int = START_MS,
    rate: float = 1000.0,
    snapshot: bool = True,
) -> Iterator[Sent]:
    """Endless frames with their faults, as a ledger would hold them.

    start: ms since the epoch of the first frame; the others follow at `rate` per second of simulated time. snapshot: begin
    with what a new connection is sent. Raises TypeError for knobs of the other gateway, ValueError for bad fault rates.
    """
    source, render, first = (_ticktock if kind == "ticktock" else _predictstreet)(seed, knobs, start)
    source.set_faults(Faults.of(faults))
    index = 0
    for frame in first() if snapshot else ():
        yield Sent(1, kind, index, start, render(frame))
        index += 1
    made = 0
    while True:
        at = start + int(made * 1000 / rate)
        for frame in source.take(_CHUNK, at):
            yield Sent(1, kind, index, at, render(frame), frame.fault)
            index += 1
        made += _CHUNK


def play_private(
    *,
    seed: int = 0,
    faults: Faults | Mapping[str, float] | None = None,
    knobs: PredictStreetKnobs | None = None,
    start: int = START_MS,
    rate: float = 1000.0,
    wallets: int = 2,
) -> Iterator[Sent]:
    """Endless frames of PredictStreet's user gateway: what the sockets of some wallets receive, all of it.

    Each wallet's connection (from 1) has subscribed to every private channel; see `play` for the rest.
    """
    stream = PredictStreetStream(seed, knobs=knobs, now=start)
    stream.set_faults(Faults.of(faults))
    private = [name for name, channel in CHANNELS[stream.knobs.generation].items() if channel.gateway == "user"]
    sids = {name: sid for sid, name in enumerate(private, stream.knobs.first_sid)}
    places: dict[str, tuple[int, str]] = {}
    for number, address in enumerate(stream.world.traders[:wallets], 1):
        wallet = stream.portfolio.adopt(address)
        places |= dict.fromkeys((wallet.address, wallet.vault), (number, f"user:{address}"))
    indices = Counter[int]()
    made = 0
    while True:
        at = start + int(made * 1000 / rate)
        for frame in stream.take(_CHUNK, at):
            place = places.get(frame.change.entity)
            if place is not None:
                number, channel = place
                raw = stream.render(frame, sids[frame.change.channel])
                yield Sent(number, channel, indices[number], at, raw, frame.fault)
                indices[number] += 1
        made += _CHUNK


def frames(
    kind: Kind,
    count: int,
    *,
    seed: int = 0,
    faults: Faults | Mapping[str, float] | None = None,
    knobs: Knobs | None = None,
    start: int = START_MS,
    rate: float = 1000.0,
    snapshot: bool = True,
) -> list[bytes]:
    """The first `count` frames of `play`, bytes only."""
    played = play(kind, seed=seed, faults=faults, knobs=knobs, start=start, rate=rate, snapshot=snapshot)
    return [sent.raw for sent in islice(played, count)]


class _Feed(NamedTuple):
    """What the two gateways have in common here: a source, the bytes of its frames, what a new client is sent."""

    source: Source
    render: Callable[[Outgoing], bytes]
    snapshot: Callable[[], Iterable[Outgoing]]


def _ticktock(seed: int, knobs: Knobs | None, start: int) -> _Feed:
    if knobs is not None and not isinstance(knobs, TickTockKnobs):
        raise TypeError("ticktock takes TickTockKnobs")
    stream = TickTockStream(seed, knobs=knobs, now=start)

    def render(frame: Outgoing) -> bytes:
        raw = stream.render(frame, TICKTOCK_SCOPES)
        if raw is None:
            raise AssertionError(f"a key of all scopes may see {frame.change.type}")
        return raw

    return _Feed(stream, render, lambda: stream.snapshot(None, start))


def _predictstreet(seed: int, knobs: Knobs | None, start: int) -> _Feed:
    if knobs is not None and not isinstance(knobs, PredictStreetKnobs):
        raise TypeError("predictstreet takes PredictStreetKnobs")
    stream = PredictStreetStream(seed, knobs=knobs, now=start)
    market = [name for name, channel in CHANNELS[stream.knobs.generation].items() if channel.gateway == "market"]
    sids = {name: sid for sid, name in enumerate(market, stream.knobs.first_sid)}

    def snapshot() -> Iterable[Outgoing]:
        tokens = [token for market in stream.world.markets for token in market.tokens]
        return (frame for token in tokens if (frame := stream.snapshot(token, start)) is not None)

    return _Feed(stream, lambda frame: stream.render(frame, sids[frame.change.channel]), snapshot)
