"""Whether two connections see the same sequence number for the same change (design section 7).

Neither contract says so, and ``dedupe.seq_scope`` depends on it. Two connections of the same gateway are held for a while,
and the frames that came over both are compared: equal type, entity and content, equal or different numbers.

What a connection begins with may be a snapshot, whose frames may have numbers of their own: neither contract says, and the
bridge relies on neither, since the content of a state tells that it is not new. So the first frame of each entity and type
proves nothing, and is left out; so is what comes first after a connection was cut. Compared is what came while both were up: one
content may come again, and what one connection alone was told has no match in the other.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from bridge.errors import BadFrame
from bridge.finding import Finding
from bridge.frame import STREAM
from bridge.route import Route, Ways

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.catalog import Kind
    from bridge.frame import Frame
    from bridge.gateways.gateway import Gateway

#: Fewer frames seen by both than this prove nothing.
ENOUGH: Final = 20
#: So small a part that differs is no finding: one of the two hears a little later, and a content came again meanwhile.
FEW: Final = 0.01
#: The part of the time for which the first connection is alone.
HEAD_START: Final = 0.25
#: (type, entity, content) → the numbers it came with.
Numbers = dict[tuple[bytes, int, int], set[int]]


async def overlap(name: str, kind: Kind, make: Callable[..., Gateway], *, scope: str, seconds: float) -> Finding:
    """Hold two connections of one gateway for `seconds` and say what their sequence numbers mean.

    make: makes a gateway that feeds the `intake` it is given. scope: `dedupe.seq_scope`. The finding is not ok where that is
    ``global`` and numbers differ; it is ok where nothing can be told.
    """
    pair = _Pair()
    listeners = [
        _Listener(
            Ways(Route(name, kind, frozenset(), {}, ""), seq_scope="global", max_value=1 << 62, limits={}), pair, number
        )
        for number in range(2)
    ]
    tasks = []
    for listener, pause in zip(listeners, (HEAD_START * seconds, (1 - HEAD_START) * seconds), strict=True):
        # One after the other: counters that begin with the connection would agree if both began at once.
        tasks.append(asyncio.create_task(make(intake=listener).run()))
        await asyncio.sleep(pause)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    pair.turn()
    return _judge(name, pair.both, pair.same, scope, seconds)


def _judge(name: str, both: int, same: int, scope: str, seconds: float) -> Finding:
    if both < ENOUGH:
        few = f"seq: only {both} frames came over both connections in {seconds:g} s; ask for longer"
        return Finding(name, ok=True, text=few)
    if both - same <= FEW * both:
        advice = "" if scope == "global" else "; dedupe.seq_scope may be global"
        return Finding(name, ok=True, text=f"seq: the same on both connections, for all of {same} frames{advice}")
    found = f"seq: different on the two connections for {both - same} of {both} frames"
    if scope == "connection":
        return Finding(name, ok=True, text=f"{found}, as dedupe.seq_scope: connection says")
    advice = "set dedupe.seq_scope: connection" if same * 2 < both else "ask the gateway's operator"
    return Finding(name, ok=False, text=f"{found}; {advice}")


class _Pair:
    """What two listeners have heard since the last of them came up or went down, and what came of it before."""

    def __init__(self) -> None:
        self.numbers: tuple[Numbers, Numbers] = (defaultdict(set), defaultdict(set))
        #: Contents that both have heard; those among them with a number in common.
        self.both = self.same = 0

    def turn(self) -> None:
        """Compare, and begin anew."""
        first, second = self.numbers
        both = first.keys() & second.keys()
        self.both += len(both)
        self.same += sum(1 for content in both if first[content] & second[content])
        first.clear()
        second.clear()


class _Listener:
    """An intake that notes numbers and keeps nothing."""

    full = stalled = False

    def __init__(self, ways: Ways, pair: _Pair, number: int) -> None:
        self._pair = pair
        self._numbers = pair.numbers[number]
        self._ways = ways
        #: Connection → the (type, entity) that it has told of.
        self._told: dict[str, set[tuple[bytes, int]]] = defaultdict(set)

    async def room(self) -> None:
        """There always is."""

    def put(self, frame: Frame) -> None:
        with contextlib.suppress(BadFrame):
            sighting = self._ways.sight(frame) if frame.source == STREAM else None
            if sighting is None or sighting.meta.seq is None:
                return
            told, of = self._told[frame.connection], (sighting.way.type, sighting.entity)
            if of in told:
                self._numbers[*of, sighting.content].add(sighting.meta.seq)
            told.add(of)

    def mark(self) -> int:
        """Nothing is kept."""
        return 0

    def committed(self, mark: int) -> bool:  # noqa: ARG002 - as the protocol has it
        """Nothing is committed."""
        return False

    def event(self, gateway: str, connection: str, event: str, **facts: Any) -> None:  # noqa: ARG002 - as the protocol has it
        """A connection that comes up again begins with a snapshot again; its outages are nobody's."""
        self._told.pop(connection, None)
        self._pair.turn()

    def learn(self, gateway: str, pairs: dict[str, str]) -> None:
        """Nothing is keyed here."""

    def known(self, gateway: str, key: str) -> str | None:  # noqa: ARG002 - as the protocol has it
        return None
