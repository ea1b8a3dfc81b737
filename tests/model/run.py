"""One run: a world, processes, faults, then calm until everything is published, then the oracle."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import tempfile
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final
from unittest import mock

import msgspec
import structlog

from bridge import intake, journal, journals, route
from bridge.lane import ACTIVE, STANDBY
from tests.model import faults, oracle
from tests.model.broker import Broker
from tests.model.faults import FAULTS, Scene
from tests.model.gateway import DETAIL, LIST, Feed
from tests.model.outside import Disks, Loop
from tests.model.process import Host, Settings
from tests.model.service import Kept
from tests.model.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

#: Faults begin and end at these times (s).
BEGIN: Final = 0.5
END: Final = 5.5
#: After the last fault everything must be published within so many seconds.
CALM: Final = 90.0
#: When (s after the last fault) the gateway says how things stand; the second where there are several lanes.
LAST_WORDS: Final = (1.0, 2.5)
#: A gateway is never quiet for good; after so long (s) it says something once more, where all is not settled by then.
AFTERTHOUGHT: Final = 30.0
#: How often (s) it is looked whether it is.
LOOK: Final = 0.25


@dataclass(frozen=True)
class Profile:
    """What kind of runs. weights: of some faults instead of their own; None draws settings and processes by the seed."""

    processes: int | None = None
    weights: Mapping[Callable[[Scene], str | None], float] | None = None
    settings: Settings | None = None
    least: int = 5
    lanes: int | None = None
    most: int = 9


ANY: Final = Profile()


@dataclass
class Outcome:
    """What a run showed. wrong: broken promises."""

    seed: int
    wrong: list[str]
    faults: list[str]
    trace: list[str] = field(default_factory=list)
    published: int = 0
    takeovers: int = 0
    seconds: float = 0.0


@contextlib.contextmanager
def simulated() -> Iterator[Path]:
    """Have the product's modules take disk, loop and chance from the model; yields a folder for journals."""
    folder = Path(tempfile.mkdtemp(prefix="model-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
    config = structlog.get_config()
    told: Any = Told
    structlog.configure(wrapper_class=told)
    try:
        with (
            mock.patch.multiple(route, **_codecs()),
            mock.patch.object(intake, "asyncio", Loop),
            mock.patch.object(journal, "os", Disks()),
            mock.patch.object(uuid, "uuid4", _fresh_id),
            mock.patch.object(journals, "Journal", Kept),
        ):
            yield folder
    finally:
        structlog.configure(**config)
        shutil.rmtree(folder)


class _Chance:
    """Of the run that goes on."""

    ids = Random(0)
    world: World | None = None


def _fresh_id() -> uuid.UUID:
    return uuid.UUID(int=_Chance.ids.getrandbits(128), version=4)


class Told:
    """A logger whose lines go into the trace of the run."""

    def __init__(self, *_: Any, **__: Any) -> None:
        """Takes what structlog gives."""

    def bind(self, **_: Any) -> Told:
        """Facts of the logger are left out."""
        return self

    def info(self, event: str, **facts: Any) -> None:
        """Tell it."""
        if _Chance.world is not None and _Chance.world.traced is not None:
            _Chance.world.tell("log", f"{event} {' '.join(f'{name}={value}' for name, value in facts.items())}")

    debug = warning = error = exception = info


def run(seed: int, folder: Path, profile: Profile = ANY, *, trace: bool = False) -> Outcome:
    """Make one run within `simulated`."""
    world = World(seed, trace=trace)
    _Chance.ids, _Chance.world = Random(seed), world
    chance = world.chance
    place = folder / f"{seed}"
    settings = profile.settings or Settings(
        window=chance.choice((6 * 3_600_000, 6 * 3_600_000, 10_000)),
        takeover_after=chance.choice((0.5, 1.0)),
        journal=chance.choice((1 << 20, 1 << 20, 10_000)),
    )
    broker = Broker(world, transaction_timeout=settings.transaction_timeout)
    drawn = chance.choice((1, 2, 2, 2, 3))
    count = profile.processes or drawn
    # Two processes can't tell alike states apart that have no number: whose came first?
    feed = Feed(
        world,
        names=chance.choice(((LIST,), (LIST, DETAIL))),
        pace=chance.choice((0.06, 0.1, 0.2)),
        unnumbered=count == 1,
        exact=chance.choice((1, 1, 1, 200, 0)),
    )
    hosts = [Host(f"p{number}", world, broker, place / f"{number}", settings) for number in range(count)]
    lanes = profile.lanes or chance.choice((1, 1, 2, 3))
    # A segment of each lane is left, however much is trimmed.
    settings = msgspec.structs.replace(settings, journal=settings.journal * lanes)
    for host in hosts:
        host.lanes, host.settings = lanes, settings
    scene = Scene(world, broker, feed, hosts, END, lanes)
    happened: list[str] = []
    try:
        for host in hosts:
            world.later(chance.uniform(0, 0.5), functools.partial(faults.begin, scene, host))
        _plan(scene, profile, happened)
        world.run(END)
        _heal(scene)
        wrong = _calm(scene)
        evidence = oracle.Evidence(
            broker, feed, [each for host in hosts for each in host.records.values()], settings.window
        )
        for host in hosts:
            if host.process is not None:
                for link in host.process.links:
                    link._fell()
        judged = oracle.judge(evidence)
        world.tell("oracle", "; ".join([*wrong, *judged]) or "all is well")
        return Outcome(
            seed,
            wrong + judged,
            happened,
            world.traced or [],
            published=len(broker.committed),
            seconds=world.now,
        )
    finally:
        for host in hosts:
            if host.process is not None:
                host.process.kill()
        shutil.rmtree(place)


def _plan(scene: Scene, profile: Profile, happened: list[str]) -> None:
    """Let faults happen at random times, so many that at least the least do."""
    chance = scene.world.chance
    weights = profile.weights or FAULTS
    kinds = list(weights)

    def happen() -> None:
        for _ in range(20):
            [kind] = chance.choices(kinds, [weights[each] for each in kinds])
            told = kind(scene)
            if told is not None:
                scene.world.tell("fault", told)
                happened.append(kind.__name__)
                return

    for _ in range(chance.randint(profile.least, profile.most)):
        scene.world.later(chance.uniform(BEGIN, END - 0.2), happen)


def _heal(scene: Scene) -> None:
    """Faults are over."""
    scene.world.tell("fault", "no more")
    broker = scene.broker
    broker.slow = broker.markers_late = broker.lose_answer = broker.lose_request = 0.0
    broker.down = scene.feed.down = False
    for host in scene.hosts:
        host.lanes = scene.lanes
        host.line.lose_answers = host.line.lose_requests = 0
        host.line.heal()
        host.prepared.clear()
        host.queue_full = 0.0
        host.disk.refuses, host.disk.slow = False, 0.0
        if host.process is None:
            faults.begin(scene, host)
        else:
            for link in host.process.links:
                link.lag = 0.0
            if host.process.frozen:
                host.process.thaw()
            if host.process.fuse is not None:
                host.process.fuse = None
            if host.process.stopping:
                scene.restart(host, 3.0)
            elif host.process.service.count != scene.lanes:
                host.process.terminate()
                scene.restart(host, 3.0)
    # A lane whose matches say nothing hears once a second that the connections flow.
    for delay in LAST_WORDS[: scene.lanes]:
        scene.world.later(delay, scene.feed.last_words)
    # What is proved by a frame alone, such as that the active received through an outage of another, waits for one.
    scene.world.later(AFTERTHOUGHT, scene.feed.last_words)
    scene.feed.quiet = True


def _calm(scene: Scene) -> list[str]:
    """Wait until everything is published; say why, if it never is."""
    world = scene.world
    world.run(END + LAST_WORDS[: scene.lanes][-1] + 0.1)
    why, sent = "", -1
    while world.now < END + CALM:
        failed = [host.process.failed for host in scene.hosts if host.process is not None and host.process.failed]
        if failed:
            return [f"a lane failed: {failed[0].strip()}"]
        why = _unsettled(scene)
        # What was sent at this very moment has not arrived yet.
        if not why and sent == len(scene.feed.emissions):
            return []
        sent = len(scene.feed.emissions)
        world.run(world.now + LOOK)
    return [f"not settled after {CALM:.0f} s of calm: {why}"]


def _unsettled(scene: Scene) -> str:
    """What is not done yet."""
    roles = []
    for host in scene.hosts:
        process = host.process
        if process is None:
            return f"{host.name} is down"
        if process.service.is_outdated and not process.stopping:  # who looks after it restarts it, as often as it takes
            process.terminate()
            scene.restart(host, 0.1)
            scene.world.later(2.5, scene.feed.last_words)
            return f"{host.name} is outdated"
        if not all(link.idle for link in process.links):
            return f"{host.name} is not connected, or does not read"
        journals = process.service.journals
        for lane in journals:
            waiting = journals[lane].end - journals[lane].first
            if waiting or process.intake._pending or process.intake._owed:
                return f"{host.name} ({process.role}) has {waiting} frames that are not disposed of in lane {lane}"
        roles.append([each.role for each in process.lanes])
    if {len(each) for each in roles} != {scene.lanes}:
        return "not all lanes are started"
    for lane, found in enumerate(zip(*roles, strict=True)):
        if found.count(ACTIVE) != 1 or found.count(STANDBY) != len(found) - 1:
            return f"roles of lane {lane} are {found}"
    return ""


@functools.cache
def _codecs() -> dict[str, Any]:
    return {name: _once(getattr(route, name)) for name in ("Codec", "MetaCodec", "UnknownCodec")}


def _once(base: type[Any]) -> type[Any]:
    """The class, but each codec is compiled once: it keeps nothing of the frames."""
    made: dict[int, Any] = {}

    class Once(base):  # type: ignore[misc]
        def __new__(cls, of: Any) -> Any:
            return made.get(id(of)) or super().__new__(cls)

        def __init__(self, of: Any) -> None:
            if id(of) not in made:
                super().__init__(of)
                made[id(of)] = self
                self.of = of  # keeps its id

    return Once
