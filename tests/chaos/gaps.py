"""What the gap records say, and whether they account for all that a stream lost."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from bridge.sim import Sent
from tests.audit import Schemas
from tests.chaos.stream import number
from tests.servers.reading import read_topics

#: How much later (ms) than it was sent a frame may arrive, and so its gap may begin, on a busy machine.
TRANSIT: Final = 500
#: How exactly (ms) it is known when a frame was due that was never sent, since nobody listened.
DUE: Final = 50
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Gap(NamedTuple):
    """The last record of one gap. begin, end: ms since the epoch; end is None while it is open."""

    id: str
    gateway: str
    connection: str
    begin: int
    end: int | None
    cause: str
    state: str


def read_gaps(bootstrap: str, prefix: str, *, name: str = "main") -> list[Gap]:
    """The gaps of an installation without a registry, oldest first."""
    topic = f"{prefix}feedbridge.{name}.gaps"
    found: dict[str, Gap] = {}
    for message in read_topics(bootstrap, topic):
        value = message.value()
        assert isinstance(value, bytes)
        _, gap = Schemas.shipped().decode(topic, value)
        found[gap["id"]] = Gap(
            gap["id"], gap["gateway"], gap["connection"], _millis(gap["from"]),
            None if gap["to"] is None else _millis(gap["to"]), gap["cause"], gap["state"],
        )  # fmt: skip
    return sorted(found.values(), key=lambda gap: gap.begin)


def sent_at(sent: Iterable[Sent]) -> dict[int, int]:
    """Number of each frame of the stream that was written to anybody → when first, ms since the epoch."""
    found: dict[int, int] = {}
    for each in sent:
        seq = number(each.raw)
        if seq is not None:
            found[seq] = min(each.at, found.get(seq, each.at))
    return found


def unexplained(
    sent: Mapping[int, int],
    received: Mapping[int, int],
    gaps: Sequence[Gap],
    *,
    transit: int = TRANSIT,
) -> list[int]:
    """The numbers that are missing and lie in no gap; empty: nothing is lost silently.

    sent: see `sent_at`. received: number of each record that is published → its header `received`, ms. Frames before the
    first that was ever published are not asked for: nobody listened yet. A number that was never sent, since nobody
    listened when it was due, is taken to have been due between those around it.

    The moment when a missing frame was sent must lie in a gap. transit: how much later than that (ms) the gap may begin.
    """
    written, there = sorted(sent), sorted(received)
    wrong = []
    for seq in range(there[0], written[-1] + 1) if there else []:
        if seq in received:
            continue
        moment, exact = _due(seq, sent, written)
        if not any(
            gap.begin <= moment + transit and (gap.end is None or gap.end >= moment - (1 if exact else DUE))
            for gap in gaps
        ):
            wrong.append(seq)
    return wrong


def _due(seq: int, sent: Mapping[int, int], written: Sequence[int]) -> tuple[int, bool]:
    """When a frame was sent or would have been (ms), and whether that is known exactly."""
    if seq in sent:
        return sent[seq], True
    after = bisect_left(written, seq)
    before, following = written[after - 1], written[after]
    share = (seq - before) / (following - before)
    return round(sent[before] + share * (sent[following] - sent[before])), False


def _millis(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)
