"""Whether two connections see the same sequence number for the same change (design section 7).

Neither contract says so, and ``dedupe.seq_scope`` depends on it. Two connections of the same gateway are held for a while,
and the frames that came over both are compared: equal type, entity and content, equal or different numbers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from bridge.errors import BadFrame
from bridge.finding import Finding
from bridge.route import Route, Ways

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.catalog import Kind
    from bridge.frame import Frame
    from bridge.gateways.gateway import Gateway

#: Fewer frames seen by both than this prove nothing.
ENOUGH: Final = 20
#: The part of the time for which the first connection is alone.
HEAD_START: Final = 0.25
#: (type, entity, content) → the numbers it came with.
Numbers = dict[tuple[bytes, int, int], set[int]]


async def overlap(name: str, kind: Kind, make: Callable[..., Gateway], *, seconds: float) -> Finding:
    """Hold two connections of one gateway for `seconds` and say what their sequence numbers mean.

    make: makes a gateway that feeds the `intake` it is given. The finding is ok where both see the same numbers, and where
    nothing can be told; it is not where `dedupe.seq_scope` should be ``connection``.
    """
    listeners = [
        _Listener(Ways(Route(name, kind, frozenset(), {}, ""), seq_scope="global", max_value=1 << 62, limits={}))
        for _ in "ab"
    ]
    tasks = []
    for listener, pause in zip(listeners, (HEAD_START * seconds, (1 - HEAD_START) * seconds), strict=True):
        # One after the other: counters that begin with the connection would agree if both began at once.
        tasks.append(asyncio.create_task(make(intake=listener).run()))
        await asyncio.sleep(pause)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return _judge(name, listeners[0].numbers, listeners[1].numbers, seconds)


def _judge(name: str, first: Numbers, second: Numbers, seconds: float) -> Finding:
    both = first.keys() & second.keys()
    same = sum(1 for content in both if first[content] & second[content])
    if len(both) < ENOUGH:
        return Finding(name, ok=True, text=f"seq: only {len(both)} frames came over both connections in {seconds:g} s")
    if same == len(both):
        return Finding(name, ok=True, text=f"seq: the same on both connections, for all of {same} frames")
    advice = "set dedupe.seq_scope: connection" if same * 2 < len(both) else "ask the gateway's operator"
    return Finding(
        name,
        ok=False,
        text=f"seq: different on the two connections for {len(both) - same} of {len(both)} frames; {advice}",
    )


class _Listener:
    """An intake that notes numbers and keeps nothing."""

    full = stalled = False

    def __init__(self, ways: Ways) -> None:
        self.numbers: Numbers = defaultdict(set)
        self._ways = ways

    async def room(self) -> None:
        """There always is."""

    def put(self, frame: Frame) -> None:
        with contextlib.suppress(BadFrame):
            sighting = self._ways.sight(frame)
            if sighting is not None and sighting.meta.seq is not None:
                self.numbers[sighting.way.type, sighting.entity, sighting.content].add(sighting.meta.seq)

    def mark(self) -> int:
        """Nothing is kept."""
        return 0

    def committed(self, mark: int) -> bool:  # noqa: ARG002 - as the protocol has it
        """Nothing is committed."""
        return False

    def event(self, gateway: str, connection: str, event: str, **facts: Any) -> None:
        """Outages of a check are nobody's."""

    def learn(self, gateway: str, pairs: dict[str, str]) -> None:
        """Nothing is keyed here."""

    def known(self, gateway: str, key: str) -> str | None:  # noqa: ARG002 - as the protocol has it
        return None
