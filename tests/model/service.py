"""What a process puts together as `bridge.service` does: its journals, the plan of lanes, and a lane for each journal."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

from bridge import kafka
from bridge.codec import SINGLE_OBJECT, fingerprint
from bridge.dedupe import Window
from bridge.errors import BridgeError
from bridge.journal import Journal
from bridge.journals import Journals
from bridge.lane import Lane, Parts
from bridge.lanes import Router
from bridge.ledger import EntryCodec, Memory
from bridge.ledger_reader import LedgerReader
from bridge.link import Linker
from bridge.pipeline import MAX_VALUE, Pipeline
from bridge.plan import Outdated, Plan
from bridge.planner import Means, Planner
from bridge.publisher import GivenUp, Publisher
from bridge.recovery import GapWriter, Outages
from bridge.route import Route, Ways
from tests.model import clients, schemas
from tests.model.outside import Current

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping, Sequence

    from bridge.batch import Batch
    from bridge.frame import Frame
    from bridge.ledger import Connection
    from tests.model.process import Process

LEDGER: Final = "ledger"
GAPS: Final = "gaps"
DEAD_LETTERS: Final = "dead"
#: Partitions of the ledger: as many lanes as a plan may have.
LANES: Final = 3
#: Between tries of what can't be done yet (s).
RETRY: Final = 0.2


def id_of(lane: int) -> str:
    """The transactional id of a lane."""
    return f"lane-{lane}"


@functools.cache
def entry_codec() -> EntryCodec:
    """Compiled once; it keeps nothing."""
    return EntryCodec(schemas.catalog(1).own("ledger"), schemas.catalog(1).older("ledger"))


@functools.cache
def gap_writer() -> GapWriter:
    """Compiled once; it keeps nothing."""
    return GapWriter(GAPS, b"", schemas.catalog(1).own("gap"))


@functools.cache
def route(version: int) -> Route:
    """The only gateway, with the schemas of one version."""
    kind = schemas.kind(version)
    types = {**kind.types, "unknown": kind.unknown}
    topics = {name: [(f"data.{name}", SINGLE_OBJECT + fingerprint(each.schema))] for name, each in types.items()}
    return Route(schemas.GATEWAY, kind, frozenset(), topics, DEAD_LETTERS)


class Kept(Journal):
    """The product's journal, whose reader waits in simulated time, and which tells the oracle what it took."""

    @classmethod
    def open(cls, *args: Any, **options: Any) -> Journal:
        """Open it, also one of another plan, and tell what is there."""
        journal = super().open(*args, **options)
        host = Current.process.host
        host.record(journal).opened(journal, careless=host.careless)
        return journal

    def append(self, frames: Sequence[Frame]) -> int:
        """Append, then tell."""
        first = super().append(frames)
        process = Current.process
        process.host.record(self).took(first, frames, process.world.wall())
        process.notify()
        return first

    def wait(self, position: int, timeout: float) -> bool:
        """As the journal's own, in simulated time."""
        process = Current.process
        process.step("wait")
        process.wait(timeout, lambda: self._end > position or self._hurried or self._closed)
        return self._end > position

    def wake(self) -> None:
        """Wake the reader."""
        super().wake()
        Current.process.notify()


class Tallied:
    """Stands for `bridge.ops.tally.Tally`: takes the counts away, so that they do not grow."""

    def role(self, *, active: bool, standby: bool) -> None:
        """Nothing is shown."""

    def taken_over(self, _reason: str) -> None:
        """Nothing is shown."""

    def fenced(self) -> None:
        """Nothing is shown."""

    def committed(self, _now: int) -> None:
        """Nothing is shown."""

    def transaction(self, _seconds: float) -> None:
        """Nothing is shown."""

    def observed(self, pipeline: Pipeline) -> None:
        """Take the counts."""
        pipeline.drain()

    def batch(self, pipeline: Pipeline, outages: Outages, _batch: Batch, _now: int) -> None:
        """Take the counts."""
        pipeline.drain()
        pipeline.drain_dead()
        outages.drain_opened()
        outages.drain_judged()


class Service:
    """The parts of one process that stand behind its intake."""

    def __init__(self, process: Process) -> None:
        """Open the journals, move into them what those of another plan hold."""
        self.process = process
        host = process.host
        #: Lanes, as it was started with; the next process on this host may have another number.
        self.count = host.lanes
        self.codec = entry_codec()
        self.lanes: list[Lane] = []
        self._outdated = False
        self.over = False
        self.journals = Journals.open(
            host.folder,
            count=self.count,
            lanes=range(self.count),
            max_bytes=host.settings.journal,
            instance=process.instance,
        )
        try:
            self.spread = self._spread()
        except BridgeError:  # the disk is full; the process ends, and its lock with it
            self.journals.close()
            raise

    def _spread(self) -> Callable[[list[Frame]], dict[int, list[Frame]]] | None:
        """As `bridge.service` has it."""
        host = self.process.host
        if self.count == 1:
            self.journals.move(lambda frames: {0: list(frames)})
            return None
        made = route(host.version)
        ways = {made.gateway: Ways(made, seq_scope="global", max_value=MAX_VALUE)}
        span = host.settings.window
        self.journals.move(Router(count=self.count, held=range(self.count), ways=ways, span=span).spread)
        return Router(count=self.count, held=self.journals, ways=ways, span=span).spread

    def plan(self) -> Plan | None:
        """Find the plan of lanes; None: there is none for this process, or it is to stop. On a strand."""
        process = self.process

        def outages(lane: int, connections: Mapping[tuple[str, str], Connection]) -> Outages:
            return Outages(gap_writer(), lane=lane, instance=process.instance, connections=connections)

        planner = Planner(
            Means(
                count=self.count,
                partitions=LANES,
                instance=process.instance,
                ledger_topic=LEDGER,
                span=process.host.settings.window,
                codec=self.codec,
                links=Linker("").links,
                publisher=lambda lane: self._publisher(lane, lambda _: None, lambda: self.over),
                reader=self._reader,
                outages=outages,
                give_up=lambda: self.over,
                now=process.world.wall,
                chance=process.chance.random,
                clock=process.clock,
                pause=process.sleep,
            )
        )
        while not self.over:
            try:
                return planner.run()
            except Outdated:
                self._outdated = True
                return None
            except GivenUp:
                return None
            except BridgeError:
                process.sleep(RETRY)
        return None

    @property
    def is_outdated(self) -> bool:
        """Whether another process has begun a newer plan than this one's."""
        return self._outdated or any("another process made a plan" in (lane.trouble or "") for lane in self.lanes)

    def begin(self, plan: Plan) -> list[Lane]:
        """Make the lanes."""
        self.lanes = [self._lane(lane, plan) for lane in self.journals]
        return self.lanes

    def stop(self, timeout: float) -> None:
        """Drain and resign, within so many seconds."""
        self.over = True
        for lane in self.lanes:
            lane.stop(timeout)
        self.process.notify()

    def _publisher(self, lane: int, waiting: Callable[[str | None], None], give_up: Callable[[], bool]) -> Publisher:
        process, reports = self.process, kafka.Reports()
        host = process.host
        producer: Any = clients.Producer(process, host.broker, host.line, name=id_of(lane), reports=reports)
        return Publisher(
            producer,
            transactional_id=id_of(lane),
            reports=reports,
            waiting=waiting,
            give_up=give_up,
            clock=process.clock,
        )

    def _reader(self, partition: int) -> LedgerReader:
        process = self.process
        consumer: Any = clients.Consumer(process, process.host.broker, process.host.line)
        return LedgerReader(
            consumer,
            self.codec,
            topic=LEDGER,
            partition=partition,
            reports=kafka.Reports(),
            clock=process.clock,
            pause=process.sleep,
        )

    def _lane(self, number: int, plan: Plan) -> Lane:
        process = self.process
        host, world = process.host, process.world

        def memory() -> Memory:
            return Memory(Window(span=host.settings.window, max_identities=100_000))

        def outages(known: Memory) -> Outages:
            return Outages(
                gap_writer(),
                lane=number,
                instance=process.instance,
                connections=known.connections,
                gaps=known.gaps,
                span=known.window.span,
            )

        def pause(event: threading.Event, seconds: float) -> object:
            process.step("pause")
            return process.wait(max(seconds, 0.001), event.is_set)

        first = memory()
        tally: Any = Tallied()
        return Lane(
            Parts(
                lane=number,
                lanes=self.count,
                instance=process.instance,
                ledger_topic=LEDGER,
                journal=self.journals[number],
                pipeline=Pipeline([route(host.version)], memory=first, outages=outages(first)),
                codec=self.codec,
                links=Linker("").links,
                memory=memory,
                outages=outages,
                publisher=functools.partial(self._publisher, number),
                reader=lambda: self._reader(number),
                now=world.wall,
                takeover_after=host.settings.takeover_after,
                connected=lambda: {schemas.GATEWAY: all(link.up for link in process.links)},
                chance=process.chance.random,
                oversize=host.folder / "oversize",
                tally=tally,
                clock=process.clock,
                pause=pause,
                generation=plan.generation,
                others=lambda: {each: self._reader(each) for each in range(LANES) if each != number},
                former=self.journals.former,
            )
        )
