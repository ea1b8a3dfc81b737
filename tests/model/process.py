"""One bridge process in simulated time: the product's parts, put together as `bridge.service` does."""

from __future__ import annotations

import os
import shutil
import traceback
import uuid
from random import Random
from typing import TYPE_CHECKING, Final

import msgspec

from bridge.frame import EVENT, Frame
from bridge.intake import Intake
from bridge.lanes import unwrap
from tests.model.broker import Line
from tests.model.outside import Current, Disk, Task
from tests.model.service import Service
from tests.model.world import Killed, Strand

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from bridge.journal import Journal
    from bridge.lane import Lane
    from tests.model.broker import Broker
    from tests.model.gateway import Link
    from tests.model.world import World

#: SIGTERM leaves a process so long (s).
SHUTDOWN: Final = 5.0


class Record:
    """What the oracle knows of one journal: every frame it took, by position."""

    def __init__(self, name: str, identity: str) -> None:
        """name: of the host, for messages. identity: the journal's id."""
        self.name = name
        self.frames: dict[int, Frame] = {}
        #: position → when it could be read (ms).
        self.when: dict[int, int] = {}
        self.id = identity
        #: Whether it was lost with its disk.
        self.lost = False
        self.damage: list[str] = []

    def took(self, first: int, frames: Sequence[Frame], at: int) -> None:
        """An append returned, at a time (ms)."""
        for position, frame in enumerate(frames, first):
            self.frames[position], self.when[position] = frame, at

    def received(self) -> dict[int, Frame]:
        """By position what gateways sent, also where it was moved here from the journal of another plan."""
        inner = {position: unwrap(frame) for position, frame in self.frames.items()}
        return {position: frame for position, frame in inner.items() if frame.source != EVENT}

    def opened(self, journal: Journal, *, careless: bool) -> None:
        """Compare with what a new process finds. careless: the machine crashed, so frames not synced may be missing."""
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
        #: Lanes of its configuration.
        self.lanes = 1
        #: What was known of journals, one for each that there ever was; by their ids.
        self.records: dict[str, Record] = {}
        folder.mkdir(parents=True)
        self.process: Process | None = None
        #: The machine crashed: what was not synced may be gone.
        self.careless = False

    def lose_journal(self) -> None:
        """Its disk is replaced."""
        shutil.rmtree(self.folder)
        for record in self.records.values():
            record.lost = True
        self.folder.mkdir(parents=True)

    def record(self, journal: Journal) -> Record:
        """What is known of a journal."""
        return self.records.setdefault(journal.id, Record(self.name, journal.id))

    def tear(self, cut: int) -> None:
        """The machine crashed: the last bytes of the journal never reached the disk."""
        self.careless = True
        files = sorted(self.folder.glob("lane-*/*.log"), key=lambda each: (each.parent.name, each.name))
        files = [each for each in files if each.stat().st_size]
        if files:
            os.truncate(files[-1], max(files[-1].stat().st_size - cut, 0))

    def start(self) -> Process:
        """Start a process."""
        assert self.process is None
        self.process = Process(self)
        return self.process


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
        self._frozen = False
        #: The threads: what seeks the plan of lanes, then a lane each.
        self.strands: list[Strand] = []
        self._dying: set[Strand] = set()
        self._running = 0
        self.stopping = False
        self.service = Service(self)
        host.careless = False
        self.intake = Intake(self.service.journals, now=world.wall, spread=self.service.spread)
        self.intake.put(Frame("", "", world.wall(), EVENT, msgspec.json.encode({"event": "start"})))
        self.tell(f"starts, instance {self.instance[:6]}, version {host.version}, lanes {host.lanes}")

    def begin(self) -> None:
        """Seek the plan of lanes, then start them."""
        self.soon(0.01, lambda: self._start(self._plan))

    @property
    def lanes(self) -> list[Lane]:
        """Those that run."""
        return self.service.lanes

    # Time

    @property
    def frozen(self) -> bool:
        """Whether it is stopped as by SIGSTOP."""
        return self._frozen

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
        found = self._strand().wait(seconds, ready)
        Current.process = self
        return found

    def notify(self) -> None:
        """Something changed that the lane may wait for."""
        for strand in self.strands:
            strand.notify()

    def _strand(self) -> Strand:
        """That which runs at this moment."""
        return next(strand for strand in self.strands if strand.current)

    def step(self, what: str) -> None:
        """Between two steps a process may be killed."""
        if not self.alive:
            strand = self._strand()
            if strand in self._dying:
                return  # the last of its clean-up
            self._dying.add(strand)
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
        self._frozen = True
        for strand in self.strands:
            strand.frozen = True

    def thaw(self) -> None:
        """SIGCONT: what came meanwhile is taken up now."""
        deferred, self._deferred = self._deferred, []
        self._frozen = False
        for strand in self.strands:
            strand.thaw()
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
        # A greenlet can't be ended by another one: that would be gone on with where the other ends.
        within = [strand for strand in self.strands if strand.current]
        self._dying.update(within)
        if within:
            self.world.later(0, lambda: self._end(within))
        else:
            self._end(within)
        self._close()

    def _end(self, but: Sequence[Strand]) -> None:
        """End its threads."""
        for strand in self.strands:
            if strand not in but:
                Current.process = self
                self._dying.add(strand)
                strand.kill()

    def terminate(self) -> None:
        """SIGTERM: receive no more, drain, resign."""
        Current.process = self
        self.tell("is asked to stop")
        self.stopping = True
        for link in self.links:
            link.stop()
        self.soon(0, self._stop)

    def _stop(self) -> None:
        self.intake.flush()
        self.service.stop(max(SHUTDOWN - 3.0, SHUTDOWN / 2))
        self._finish()

    def _start(self, body: Callable[[], None]) -> None:
        """Begin a thread."""
        strand = Strand(self.world, lambda: self._run(body))
        strand.frozen = self._frozen
        self.strands.append(strand)
        self._running += 1
        strand.start()

    def _plan(self) -> None:
        """The thread that seeks the plan of lanes."""
        plan = self.service.plan()
        if plan is not None and not self.stopping:
            lanes = self.service.begin(plan)
            self._running += 1  # until the lanes are started
            self.soon(0, lambda: self._start_lanes(lanes))

    def _start_lanes(self, lanes: Sequence[Lane]) -> None:
        self._running -= 1
        for each in lanes:
            self._start(each.run)

    def _run(self, body: Callable[[], None]) -> None:
        """A thread."""
        Current.process = self
        try:
            body()
        except Killed:
            return
        except Exception:  # noqa: BLE001 - the oracle names it
            self.failed = traceback.format_exc()
            return
        self._running -= 1
        self._finish()

    def _finish(self) -> None:
        """It has ended, if it was to and no thread is left."""
        if self.alive and self.stopping and not self._running:
            self.tell("has ended")
            self.alive = False
            self.host.process = None
            for link in self.links:
                link.drop()
            self._close()

    def _close(self) -> None:
        """The system closes what it had open."""
        for task in self.tasks:
            task.close()
        for lane in self.service.journals:
            journal = self.service.journals[lane]
            if not journal._closed:
                os.close(journal._file)
                journal._closed = True
        if self.service.journals._lock_file >= 0:
            os.close(self.service.journals._lock_file)
            self.service.journals._lock_file = -1

    def clock(self) -> float:
        """Monotonic, s."""
        return self.world.now + 1000.0

    @property
    def role(self) -> str:
        """What it does at this moment: "active" where it is in any lane."""
        roles = [lane.role for lane in self.lanes]
        return "active" if "active" in roles else roles[0] if roles else "recovering"
