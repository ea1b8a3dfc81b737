"""How a lane begins: it reads its partition up to where its plan begins, and with it what older plans have left.

What is older than the plan may stand in any partition, since its key was another lane's then. So where the READY of the
plan lies within the window, all partitions are read up to theirs (`bridge.plan.Heritage`). Where it does not, all that
counts stands in the lane's own partition.
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Final

from bridge.lanes import lane_of
from bridge.plan import SKEW, Course, Heritage
from bridge.publisher import GivenUp

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.ledger import Entry, Memory
    from bridge.ledger_reader import LedgerReader
    from bridge.parts import Parts

#: Longest wait (s) for an entry of the ledger.
POLL: Final = 0.05


def begin(
    parts: Parts, course: Course, reader: LedgerReader, memory: Memory, *, since: int, alive: Callable[[], bool]
) -> None:
    """Read on until the plan has begun, or to the end where the partition does not tell.

    reader: of the lane's partition, at its first entry since `since` (ms). memory: empty; knows afterwards all that was
    read and left. alive: called often; False: stop. Raises `Outdated` where a newer plan has begun, `GivenUp`.
    """
    early: list[tuple[Entry, int]] = []
    while alive():
        for entry, at in reader.poll(POLL):
            if course.begun():
                if course.hear(entry):
                    memory.take(entry, at)
            elif course.begins(entry):
                _inherit(parts, memory, early, since=since if at >= since else None, alive=alive)
                course.hear(entry)
                memory.take(entry, at)
            else:
                course.hear(entry)
                early.append((entry, at))
                if course.begun():
                    _recall(parts, memory, early)
        if course.begun():
            return
        if reader.at_end():
            break
    _recall(parts, memory, early)


def _recall(parts: Parts, memory: Memory, early: Sequence[tuple[Entry, int]]) -> None:
    """Take what was read of this plan, which began longer ago than what is read goes back."""
    for entry, at in early:
        if entry.generation == parts.generation:
            memory.take(entry, at)


def _inherit(
    parts: Parts,
    memory: Memory,
    early: Sequence[tuple[Entry, int]],
    *,
    since: int | None,
    alive: Callable[[], bool],
) -> None:
    """Have `memory` know what stands before the plan. early: of the own partition. since: None: no other is needed."""
    heritage = Heritage()
    for entry, at in early:
        heritage.take(parts.lane, entry, at)
    if since is not None:
        with ExitStack() as reading:
            others = {each: reading.enter_context(closing(reader)) for each, reader in parts.others().items()}
            for partition, reader in others.items():
                reader.seek(since - SKEW)
                _until_ready(parts, reader, partition, heritage, alive)
    heritage.into(memory)
    _inherit_gaps(parts, memory)


def _inherit_gaps(parts: Parts, memory: Memory) -> None:
    """Keep the broken books of this lane alone, and its share of the gaps that the gateway is being asked for.

    The gaps of connections are closed by READY, and each lane records anew what it misses. A book stays broken until its
    snapshot comes, to the lane of the key that its frames carry: the market's, or the token's own.
    """
    for gap in list(memory.gaps.values()):
        if gap.entity is None and gap.until is not None and gap.state == "open":
            if lane_of(gap.id, parts.lanes) != parts.lane:
                del memory.gaps[gap.id]
            continue
        keys = {gap.entity, memory.learned.get(gap.gateway, gap.entity or "")}
        if (
            gap.entity is None
            or gap.until is not None
            or not any(lane_of(key, parts.lanes) == parts.lane for key in keys if key)
        ):
            del memory.gaps[gap.id]


def _until_ready(
    parts: Parts, reader: LedgerReader, partition: int, heritage: Heritage, alive: Callable[[], bool]
) -> None:
    """Read another partition up to the READY of this plan."""
    course = Course(generation=parts.generation, lanes=parts.lanes)
    empty = True
    while alive():
        for entry, at in reader.poll(POLL):
            course.hear(entry)
            if course.begun():
                return
            heritage.take(partition, entry, at)
            empty = False
        if empty and reader.at_end():
            return  # made for a plan that nobody has begun yet
    raise GivenUp("stopped while reading the ledger", where="kafka")
