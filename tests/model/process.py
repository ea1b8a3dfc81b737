"""One bridge process in simulated time: the product's parts, put together as `bridge.service` does."""

from __future__ import annotations

import functools
import os
import shutil
import traceback
import uuid
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bridge import kafka, lane
from bridge.codec import SINGLE_OBJECT, fingerprint
from bridge.dedupe import Window
from bridge.frame import EVENT, Frame
from bridge.intake import Intake
from bridge.journal import Journal
from bridge.journals import Journals
from bridge.lane import Lane, Parts
from bridge.ledger import EntryCodec, Memory
from bridge.ledger_reader import LedgerReader
from bridge.link import Linker
from bridge.pipeline import Pipeline
from bridge.publisher import Publisher
from bridge.recovery import GapWriter, Outages
from bridge.route import Route
from tests.model import clients, schemas
from tests.model.broker import Line
from tests.model.outside import Current, Disk, Task
from tests.model.world import Killed, Strand

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

    from bridge.pipeline import Batch
    from tests.model.broker import Broker
    from tests.model.gateway import Link
    from tests.model.world import World

LEDGER: Final = "ledger"
GAPS: Final = "gaps"
DEAD_LETTERS: Final = "dead"
ID: Final = "lane-0"
#: SIGTERM leaves a process so long (s).
SHUTDOWN: Final = 5.0


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

    process: Process

    def append(self, frames: Sequence[Frame]) -> int:
        """Append, then tell."""
        first = super().append(frames)
        self.process.host.record.took(first, frames)
        self.process.notify()
        return first

    def wait(self, position: int, timeout: float) -> bool:
        """As the journal's own, in simulated time."""
        self.process.step("wait")
        self.process.wait(timeout, lambda: self._end > position or self._hurried or self._closed)
        return self._end > position

    def wake(self) -> None:
        """Wake the reader."""
        super().wake()
        self.process.notify()


class One(Journals):
    """The journals of a process with one lane."""

    def __init__(self, journal: Journal) -> None:
        """Hold that one, open."""
        super().__init__(journal.directory, -1, count=1, max_bytes=journal.max_bytes, share=0, fsync=False)
        self._journals[0] = journal


class Tallied:
    """Stands for `bridge.ops.tally.Tally`: takes the counts away, so that they do not grow."""

    def role(self, _lane: int, *, active: bool) -> None:
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


class Record:
    """What the oracle knows of one journal: every frame it took, by position."""

    def __init__(self, name: str) -> None:
        """name: of the host, for messages."""
        self.name = name
        self.frames: dict[int, Frame] = {}
        #: Its id, once it is open; whether it was lost with its disk.
        self.id = ""
        self.lost = False
        self.damage: list[str] = []

    def took(self, first: int, frames: Sequence[Frame]) -> None:
        """An append returned."""
        for position, frame in enumerate(frames, first):
            self.frames[position] = frame

    def opened(self, journal: Journal, *, careless: bool) -> None:
        """Compare with what a new process finds. careless: the machine crashed, so frames not synced may be missing."""
        self.id = journal.id
        found: dict[int, Frame] = {}
        position = journal.first
        while position < journal.end:
            first, frames = journal.read(position, max_frames=10_000, max_bytes=1 << 30)
            found.update(enumerate(frames, first))
            position = first + len(frames)
        for position, frame in list(self.frames.items()):
            if position >= journal.first and found.get(position) != frame:
                if not careless:
                    self.damage.append(f"the journal of {self.name} lost the frame at {position}")
                del self.frames[position]
        self.frames.update(found)


class Host:
    """Where a process runs: its disk, its line to Kafka, the version it has. Outlives its processes."""

    def __init__(self, name: str, world: World, broker: Broker, folder: Path, settings: Settings) -> None:
        """Nothing runs yet."""
        self.name = name
        self.world = world
        self.broker = broker
        self.settings = settings
        self.folder = folder
        self.disk = Disk()
        self.line = Line(world, broker)
        self.version = 1
        #: Errors that the client raises, by the call: ``abortable``, ``fatal``, ``retriable``, ``doubt``.
        self.prepared: dict[str, list[str]] = {}
        self.queue_full = 0.0
        self.records: list[Record] = []
        self.record = self._fresh()
        self.process: Process | None = None
        #: The machine crashed: what was not synced may be gone.
        self.careless = False

    def lose_journal(self) -> None:
        """Its disk is replaced."""
        shutil.rmtree(self.folder)
        self.record.lost = True
        self.record = self._fresh()

    def tear(self, cut: int) -> None:
        """The machine crashed: the last bytes of the journal never reached the disk."""
        self.careless = True
        files = sorted(self.folder.glob("*.log"))
        if files:
            os.truncate(files[-1], max(files[-1].stat().st_size - cut, 0))

    def start(self) -> Process:
        """Start a process."""
        assert self.process is None
        self.process = Process(self)
        return self.process

    def _fresh(self) -> Record:
        self.folder.mkdir(parents=True)
        self.records.append(Record(self.name))
        return self.records[-1]


class Settings(msgspec.Struct, frozen=True):
    """What the processes of a run are configured with. window: ms. takeover_after: s. journal: bytes."""

    window: int = 6 * 3600 * 1000
    takeover_after: float = 1.0
    journal: int = 1 << 20
    transaction_timeout: float = 3.0


class Process:
    """One process, from its start to its end."""

    def __init__(self, host: Host) -> None:
        """Open the journal; the lane begins, the gateway's connections follow."""
        self.host = host
        self.world = world = host.world
        self.name = host.name
        self.alive = True
        #: It is killed after so many steps.
        self.fuse: int | None = None
        self.links: list[Link] = []
        self.failed: str | None = None
        self.tasks: list[Task] = []
        self._deferred: list[Callable[[], None]] = []
        Current.process = self
        self.chance = Random(world.chance.random())
        self.instance = uuid.UUID(int=self.chance.getrandbits(128), version=4).hex
        self.strand = Strand(world, self._run)
        self.journal = Kept.open(host.folder, max_bytes=host.settings.journal)
        assert isinstance(self.journal, Kept)
        self.journal.process = self
        host.record.opened(self.journal, careless=host.careless)
        host.careless = False
        self.intake = Intake(One(self.journal), now=world.wall)
        self.intake.put(Frame("", "", world.wall(), EVENT, msgspec.json.encode({"event": "start"})))
        self.pipeline: Pipeline
        self.lane = self._lane()
        self.tell(f"starts, instance {self.instance[:6]}, version {host.version}")

    def begin(self) -> None:
        """Start the lane."""
        self.soon(0.01, self.strand.start)

    # Time

    @property
    def frozen(self) -> bool:
        """Whether it is stopped as by SIGSTOP."""
        return self.strand.frozen

    def soon(self, seconds: float, do: Callable[[], None]) -> None:
        """Do something in this process's own time, unless it has died by then."""
        self.world.later(seconds, lambda: self._do(do))

    def sleep(self, seconds: float) -> None:
        """Let others run."""
        self.wait(seconds)

    def wait(self, seconds: float, ready: Callable[[], object] | None = None) -> bool:
        """Wait; only from the lane's own strand, else nothing passes."""
        if not self.alive:
            return False
        found = self.strand.wait(seconds, ready)
        Current.process = self
        return found

    def notify(self) -> None:
        """Something changed that the lane may wait for."""
        self.strand.notify()

    def step(self, what: str) -> None:
        """Between two steps a process may be killed."""
        if not self.alive:
            if self.strand.current:
                return  # the last of its clean-up
            raise Killed
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse <= 0:
                self.tell(f"killed at {what}")
                self.kill()
                raise Killed

    def tell(self, what: str) -> None:
        """Note it in the trace."""
        self.world.tell(self.name, what)

    def _do(self, do: Callable[[], None]) -> None:
        if not self.alive:
            return
        if self.frozen:
            self._deferred.append(do)
            return
        Current.process = self
        try:
            do()
        except Killed:
            return

    # Its end

    def freeze(self) -> None:
        """SIGSTOP."""
        self.strand.frozen = True

    def thaw(self) -> None:
        """SIGCONT: what came meanwhile is taken up now."""
        deferred, self._deferred = self._deferred, []
        self.strand.thaw()
        for each in deferred:
            self.soon(0, each)
        for link in self.links:
            link.thaw()

    def kill(self) -> None:
        """SIGKILL: nothing more is done, files and sockets are closed by the system."""
        if not self.alive:
            return
        self.alive = False
        self.host.process = None
        for link in self.links:
            link.drop()
        self.strand.kill()
        self._close()

    def terminate(self) -> None:
        """SIGTERM: receive no more, drain, resign."""
        Current.process = self
        self.tell("is asked to stop")
        for link in self.links:
            link.stop()
        self.soon(0, self._stop)

    def _stop(self) -> None:
        self.intake.flush()
        self.lane.stop(max(SHUTDOWN - 3.0, SHUTDOWN / 2))

    def _run(self) -> None:
        """The lane's thread."""
        Current.process = self
        try:
            self.lane.run()
        except Killed:
            return
        except Exception:  # noqa: BLE001 - the oracle names it
            self.failed = traceback.format_exc()
            return
        self.tell("has ended")
        if self.alive:
            self.alive = False
            self.host.process = None
            for link in self.links:
                link.drop()
            self._close()

    def _close(self) -> None:
        """The system closes what it had open."""
        for task in self.tasks:
            task.close()
        if not self.journal._closed:
            os.close(self.journal._file)
            if self.journal._lock_file is not None:
                os.close(self.journal._lock_file)
            self.journal._closed = True

    # Its parts, as bridge.service has them

    def _lane(self) -> Lane:
        """The seam for several lanes: one `Parts` for each."""
        host, world = self.host, self.world
        codec = entry_codec()

        def memory() -> Memory:
            return Memory(Window(span=host.settings.window, max_identities=100_000))

        def outages(known: Memory) -> Outages:
            return Outages(
                gap_writer(),
                lane=0,
                instance=self.instance,
                connections=known.connections,
                gaps=known.gaps,
                span=known.window.span,
            )

        def publisher(waiting: Callable[[str | None], None], give_up: Callable[[], bool]) -> Publisher:
            reports = kafka.Reports()
            producer: Any = clients.Producer(self, host.broker, host.line, name=ID, reports=reports)
            return Publisher(
                producer,
                transactional_id=ID,
                reports=reports,
                waiting=waiting,
                give_up=give_up,
                clock=self._clock,
            )

        def reader() -> LedgerReader:
            consumer: Any = clients.Consumer(self, host.broker, host.line)
            return LedgerReader(
                consumer,
                codec,
                topic=LEDGER,
                partition=0,
                reports=kafka.Reports(),
                clock=self._clock,
                pause=self.sleep,
            )

        def pause(event: threading.Event, seconds: float) -> object:
            self.step("pause")
            return self.wait(max(seconds, 0.001), event.is_set)

        first = memory()
        self.pipeline = Pipeline([route(host.version)], memory=first, outages=outages(first))
        tally: Any = Tallied()
        return Lane(
            Parts(
                lane=0,
                lanes=1,
                instance=self.instance,
                ledger_topic=LEDGER,
                journal=self.journal,
                pipeline=self.pipeline,
                codec=codec,
                links=Linker("").links,
                memory=memory,
                outages=outages,
                publisher=publisher,
                reader=reader,
                now=world.wall,
                takeover_after=host.settings.takeover_after,
                connected=lambda: {schemas.GATEWAY: all(link.up for link in self.links)},
                chance=self.chance.random,
                oversize=host.folder / "oversize",
                tally=tally,
                clock=self._clock,
                pause=pause,
            )
        )

    def _clock(self) -> float:
        return self.world.now + 1000.0

    @property
    def role(self) -> str:
        """What its lane is at this moment."""
        return self.lane.role


assert lane.HEARTBEAT_EVERY
