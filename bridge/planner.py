"""Finds the plan of lanes in the ledger, or begins a new one; what a process does before its lanes start.

The steps, and why they are safe, are told in `bridge.plan`; here they meet Kafka.
"""

from __future__ import annotations

import uuid
from contextlib import ExitStack, closing
from dataclasses import dataclass
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from bridge.errors import Fenced, LaneError
from bridge.frame import Record
from bridge.ledger import FIRST, PLAN, READY, Entry, EntryCodec
from bridge.plan import Heritage, Outdated, Plan, Search, Step, newest
from bridge.publisher import GivenUp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from bridge.ledger import Connection
    from bridge.ledger_reader import LedgerReader
    from bridge.publisher import Publisher
    from bridge.recovery import Outages

#: Longest wait (s) for an entry of the ledger.
POLL: Final = 0.05
#: How often (s) a plan that another process has begun is looked at.
LOOK: Final = 0.2
#: Who has begun a plan has so long (s) to get it ready, before another begins the next.
PATIENCE: Final = 10.0
#: So many offsets at the end of a partition are read first.
LAST: Final = 32

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Means:
    """What a planner works with. The callables make fresh ones.

    count: lanes of the configuration. partitions: of the ledger topic, at least as many. span: of the window (ms).
    links: of records, see `bridge.link`. publisher: of a lane's transactional id. reader: of a partition. outages: of a lane, from its connections. now: ms since
    the epoch. clock: monotonic, s. pause: sleeps so many seconds. chance: uniform in [0, 1).
    """

    count: int
    partitions: int
    instance: str
    ledger_topic: str
    span: int
    codec: EntryCodec
    links: Callable[[Sequence[Record]], bytes]
    publisher: Callable[[int], Publisher]
    reader: Callable[[int], LedgerReader]
    outages: Callable[[int, Mapping[tuple[str, str], Connection]], Outages]
    give_up: Callable[[], bool]
    now: Callable[[], int]
    chance: Callable[[], float]
    clock: Callable[[], float] = monotonic
    pause: Callable[[float], object] = sleep


class Planner:
    """See the module. Owned by one thread."""

    def __init__(self, means: Means) -> None:
        """Nothing is read before `run`."""
        self._means = means
        self._search = Search(count=means.count, instance=means.instance, patience=PATIENCE)

    def run(self) -> Plan:
        """Return the plan that this process takes part in; all its lanes may be taken.

        Raises `Outdated` where another process has begun a plan with another number since, `GivenUp`, or the error that
        says why Kafka does not answer.
        """
        means = self._means
        while True:
            found = self._newest()
            step = self._search.look(found, means.clock())
            if found is not None and step is Step.JOIN:
                log.info("plan_joined", generation=found.generation, lanes=found.lanes)
                return found
            if found is not None and step is Step.REFUSE:
                raise Outdated(found, means.count)
            if step is Step.BEGIN:
                try:
                    self._begin(found)
                except GivenUp:
                    raise
                except (Fenced, LaneError) as error:
                    # Another process is about to begin a plan too; they must not keep each other from it.
                    log.info("plan_interrupted", reason=str(error))
                    means.pause(LOOK + means.chance())
            else:
                means.pause(LOOK)
            self._check()

    def _newest(self) -> Plan | None:
        """The newest plan, by the last entries of every partition."""
        means = self._means
        found: Plan | None = None
        for partition in range(means.partitions):
            with closing(means.reader(partition)) as reader:
                many, first, told = LAST, False, None
                while told is None and not first:
                    # Nearly always the last entries tell; where none of them does, those before may.
                    first = reader.seek_back(many)
                    while not reader.at_end():
                        told = newest((entry for entry, _ in reader.poll(POLL)), told)
                        self._check()
                    many *= LAST
                found = max((plan for plan in (found, told) if plan is not None), default=None, key=_order)
        return found

    def _begin(self, before: Plan | None) -> None:
        """Begin the plan after `before`, unless another process was quicker."""
        means = self._means
        with ExitStack() as open_:
            ledger = _Ledger(
                {each: open_.enter_context(closing(means.reader(each))) for each in range(means.partitions)},
                self._check,
            )
            ledger.seek(means.now() - means.span)
            ledger.read()  # the most of it, while the plan before still publishes
            first = open_.enter_context(closing(means.publisher(0)))
            first.fence()
            self._mark(ledger, first, (0,))
            found = ledger.newest
            if found is not None and (before is None or _order(found) > _order(before)):
                return
            generation = before.generation + 1 if before is not None else 1
            log.info("plan_begun", generation=generation, lanes=means.count, before=before and before.lanes)
            everywhere = range(means.partitions)
            first.announce(self._entries(everywhere, kind=PLAN, generation=generation))
            for lane in everywhere:
                if lane:
                    with closing(means.publisher(lane)) as other:
                        other.fence()
            self._mark(ledger, first, everywhere)
            closings = self._closings(ledger.heritage)
            ready = self._entries(everywhere, kind=READY, generation=generation)
            # One entry of the transaction tells of its records.
            ready |= self._entries((0,), kind=READY, generation=generation, links=means.links(closings))
            first.announce(ready, closings)
            log.info("plan_ready", generation=generation, lanes=means.count)

    def _mark(self, ledger: _Ledger, first: Publisher, partitions: Iterable[int]) -> None:
        """Write an entry into partitions and read them up to it: then all that was committed before is read."""
        nonce = uuid.uuid4().hex
        first.announce(self._entries(partitions, kind=FIRST, nonce=nonce))
        ledger.read(partitions, nonce)

    def _closings(self, heritage: Heritage) -> Sequence[Record]:
        """The records that close the gaps which older lanes left open: the new ones record what they miss themselves."""
        now = self._means.now()
        records: list[Record] = []
        for lane, gaps in sorted(heritage.open_gaps().items()):
            outages = self._means.outages(lane, {(each.gateway, each.connection): each for each in gaps})
            for each in gaps:
                records += outages.event(each.gateway, each.connection, "up", {}, now)
        return records

    def _entries(self, partitions: Iterable[int], *, kind: str, **fields: Any) -> dict[int, Record]:
        means = self._means
        now = means.now()
        entry = Entry(kind=kind, instance=means.instance, at=now, lanes=means.count, **fields)
        value = means.codec.encode(entry)
        return {
            each: Record(means.ledger_topic, str(each).encode(), value, means.codec.headers, now) for each in partitions
        }

    def _check(self) -> None:
        if self._means.give_up():
            raise GivenUp("stopped while the plan of lanes was sought", where="kafka")


def _order(plan: Plan) -> tuple[int, bool]:
    """By which the newer of two plans is told."""
    return plan.generation, plan.ready


class _Ledger:
    """All partitions, read once from the start of the window on. check: asked between two reads; raises to end them."""

    def __init__(self, readers: Mapping[int, LedgerReader], check: Callable[[], None]) -> None:
        self._readers = readers
        self._check = check
        self.heritage = Heritage()
        self.newest: Plan | None = None

    def seek(self, since: int) -> None:
        for reader in self._readers.values():
            reader.seek(since)

    def read(self, partitions: Iterable[int] | None = None, nonce: str | None = None) -> None:
        """Read partitions to their end, or up to the entry with `nonce`; None: all of them."""
        for partition in self._readers if partitions is None else partitions:
            reader = self._readers[partition]
            there = False
            while not there:
                for entry, at in reader.poll(POLL):
                    self.newest = newest((entry,), self.newest)
                    there = there or (nonce is not None and entry.nonce == nonce)
                    # Gaps are all that is of use here, so hashes need not be kept.
                    self.heritage.take(partition, msgspec.structs.replace(entry, codes=b"", hashes=b""), at)
                there = there or (nonce is None and reader.at_end())
                self._check()
