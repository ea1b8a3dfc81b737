"""What goes wrong in a run: each fault is a function of the scene, which draws its own figures."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bridge.errors import BridgeError
from tests.model.service import LANES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

    from tests.model.broker import Broker
    from tests.model.gateway import Feed, Link
    from tests.model.process import Host, Process
    from tests.model.world import World


@dataclass
class Scene:
    """What faults happen to. until: when they end (s). lanes: most of a plan."""

    world: World
    broker: Broker
    feed: Feed
    hosts: list[Host]
    until: float
    lanes: int = 1

    @property
    def chance(self) -> Random:
        """Chance of the run."""
        return self.world.chance

    def any_host(self) -> Host:
        """One of them, the active rather than another."""
        active = [host for host in self.hosts if host.process is not None and host.process.role == "active"]
        return self.chance.choice(active) if active and self.chance.random() < 0.6 else self.chance.choice(self.hosts)

    def any_process(self) -> Process | None:
        """A process that runs."""
        return self.any_host().process

    def links(self) -> list[Link]:
        """All connections."""
        return [link for host in self.hosts if host.process is not None for link in host.process.links]

    def for_a_while(self, longest: float, undo: Callable[[], None]) -> float:
        """Undo something after a while; returns after how long (s)."""
        seconds = self.chance.uniform(0.05, longest) if self.chance.random() < 0.7 else self.chance.uniform(0, 0.4)
        seconds = max(min(seconds, self.until - self.world.now), 0.01)
        self.world.later(seconds, undo)
        return seconds

    def restart(self, host: Host, seconds: float, *, lost: bool = False) -> None:
        """Start a process where one has ended."""

        def again() -> None:
            if host.process is not None:
                if host.process.stopping:  # still on its way out
                    self.world.later(0.1, again)
                return
            if lost:
                host.lose_journal()
            begin(self, host)

        self.world.later(max(min(seconds, self.until - self.world.now), 0.01), again)


def begin(scene: Scene, host: Host) -> None:
    """Start a process and its connections."""
    from tests.model.gateway import Link

    try:
        process = host.start()
    except (OSError, BridgeError):
        # Its disk refuses; who looks after it starts it again.
        host.process = None
        scene.world.later(0.3, lambda: begin(scene, host) if host.process is None else None)
        return
    process.links = [Link(process, scene.feed, name) for name in scene.feed.names]
    for link in process.links:
        process.soon(0.0, link.connect)
    process.begin()


def crash(scene: Scene, *, lost: bool = False, careless: bool = False) -> str | None:
    """SIGKILL between any two steps, or amid a write. lost: the journal too. careless: the machine, with its caches."""
    process = scene.any_process()
    if process is None:
        return None
    host = process.host
    process.fuse = scene.chance.randrange(1, 30)
    cut = scene.chance.randrange(1, 400)
    gone = scene.chance.expovariate(1 / 0.6)

    def surely() -> None:
        process.kill()
        if careless and host.process is None:  # another fault may have had it started again
            host.tear(cut)
        scene.restart(host, gone, lost=lost)

    scene.world.later(0.3, surely)
    return f"{host.name} is killed {'and its journal lost ' if lost else ''}{'with its machine' if careless else ''}"


def crash_and_lose(scene: Scene) -> str | None:
    """A node is replaced."""
    return crash(scene, lost=True)


def crash_machine(scene: Scene) -> str | None:
    """What was not synced is gone."""
    return crash(scene, careless=True)


def crash_all(scene: Scene) -> str | None:
    """A power cut: all processes at once."""
    for host in scene.hosts:
        if host.process is not None:
            host.process.kill()
            scene.restart(host, scene.chance.uniform(0.1, 1.5))
    return "all are killed"


def stop(scene: Scene) -> str | None:
    """SIGTERM, and a start later on."""
    process = scene.any_process()
    if process is None or process.stopping or process.frozen:
        return None
    process.terminate()
    scene.restart(process.host, scene.chance.uniform(0.1, 2.0))
    return f"{process.name} is stopped"


def upgrade(scene: Scene) -> str | None:
    """SIGTERM, and a start with another version of the schemas."""
    process = scene.any_process()
    if process is None or process.stopping or process.frozen:
        return None
    process.terminate()
    process.host.version = 3 - process.host.version
    scene.restart(process.host, scene.chance.uniform(0.2, 1.0))
    return f"{process.name} is upgraded to {process.host.version}"


def replan(scene: Scene) -> str | None:
    """One process is restarted with another number of lanes, and the others after it."""
    return _restarted(scene, scene.chance.randint(1, LANES), 0)


def two_plans(scene: Scene) -> str | None:
    """All processes are restarted at once, each with a number of lanes of its own; they are set right later."""
    return _restarted(scene, scene.chance.randint(1, LANES), 1)


def _restarted(scene: Scene, count: int, more: int) -> str | None:
    if scene.lanes == 1:
        return None
    for number, host in enumerate(scene.chance.sample(scene.hosts, len(scene.hosts))):
        wanted = 1 + (count - 1 + number * more) % LANES
        delay = scene.chance.uniform(0, 0.05 if more else 1.0)
        scene.world.later(delay, functools.partial(_again, scene, host, wanted))
    return f"lanes are {count}{' and others' if more else ''}"


def _again(scene: Scene, host: Host, count: int) -> None:
    """Restart a process with so many lanes, unless all is to be well again by now."""
    if scene.world.now >= scene.until:
        return
    host.lanes = count
    process = host.process
    if process is None or process.stopping or process.frozen:
        return
    if scene.chance.random() < 0.5:
        process.kill()
    else:
        process.terminate()
    scene.restart(host, scene.chance.uniform(0.0, 0.2))


def pause(scene: Scene, longest: float = 2.5) -> str | None:
    """SIGSTOP, SIGCONT."""
    process = scene.any_process()
    if process is None or process.frozen or process.stopping:
        return None

    def go_on() -> None:
        if process.alive:
            process.tell("goes on")
            process.thaw()

    process.freeze()
    return f"{process.name} is frozen for {scene.for_a_while(longest, go_on):.2f} s"


def pause_long(scene: Scene) -> str | None:
    """Longer than a short window."""
    return pause(scene, 5.0)


def isolate(scene: Scene, longest: float = 2.5) -> str | None:
    """One process is cut off from Kafka."""
    host = scene.any_host()
    host.line.cut = True
    return f"{host.name} is cut off from Kafka for {scene.for_a_while(longest, host.line.heal):.2f} s"


def isolate_long(scene: Scene) -> str | None:
    """Longer than transactions and records may take."""
    return isolate(scene, 5.0)


def broker_down(scene: Scene) -> str | None:
    """No broker answers."""

    def back() -> None:
        scene.broker.down = False
        for host in scene.hosts:
            if not host.line.cut:
                host.line.heal()

    scene.broker.down = True
    return f"Kafka is away for {scene.for_a_while(1.5, back):.2f} s"


def broker_slow(scene: Scene) -> str | None:
    """Every answer takes long."""

    def quick() -> None:
        scene.broker.slow = scene.broker.markers_late = 0.0

    scene.broker.slow = scene.chance.choice((0.02, 0.1, 0.4))
    scene.broker.markers_late = scene.chance.choice((0.0, 0.2, 1.0))
    return f"Kafka is slow for {scene.for_a_while(1.5, quick):.2f} s"


def lose_answers(scene: Scene) -> str | None:
    """Requests are executed and not answered."""
    host = scene.any_host()
    host.line.lose_answers += scene.chance.randrange(1, 6)
    return f"{host.name} gets {host.line.lose_answers} answers not"


def lose_requests(scene: Scene) -> str | None:
    """Requests are not executed."""
    host = scene.any_host()
    host.line.lose_requests += scene.chance.randrange(1, 6)
    return f"{host.name} loses {host.line.lose_requests} requests"


def flaky(scene: Scene) -> str | None:
    """Many requests or answers are lost for a while."""

    def steady() -> None:
        scene.broker.lose_answer = scene.broker.lose_request = 0.0

    scene.broker.lose_answer, scene.broker.lose_request = scene.chance.random() * 0.4, scene.chance.random() * 0.4
    return f"the network is flaky for {scene.for_a_while(1.2, steady):.2f} s"


def client_error(scene: Scene) -> str | None:
    """The client raises."""
    host = scene.any_host()
    kind = scene.chance.choice(("abortable", "abortable", "fatal", "retriable", "doubt"))
    call = scene.chance.choice(("commit", "commit", "commit", "begin", "produce", "init", "abort"))
    host.prepared.setdefault(call, []).append(kind)
    return f"{host.name}: {kind} error in the next {call}"


def queue_full(scene: Scene) -> str | None:
    """The client's queue is full."""
    host = scene.any_host()

    def room() -> None:
        host.queue_full = 0.0

    host.queue_full = 0.4
    return f"the queue of {host.name} is full for {scene.for_a_while(1.0, room):.2f} s"


def time_out(scene: Scene) -> str | None:
    """The coordinator times out the next open transaction that it sees."""

    def look(tries: int = 400) -> None:
        if not scene.broker.expire_now() and tries:
            scene.world.later(0.002, lambda: look(tries - 1))

    look()
    return "a transaction is to time out"


def disk_refuses(scene: Scene) -> str | None:
    """No space left."""
    host = scene.any_host()

    def room() -> None:
        host.disk.refuses = False

    host.disk.refuses = True
    return f"the disk of {host.name} refuses for {scene.for_a_while(1.2, room):.2f} s"


def disk_slow(scene: Scene) -> str | None:
    """Every write takes long."""
    host = scene.any_host()

    def quick() -> None:
        host.disk.slow = 0.0

    host.disk.slow = scene.chance.choice((0.05, 0.3))
    return f"the disk of {host.name} is slow for {scene.for_a_while(1.2, quick):.2f} s"


def cut(scene: Scene) -> str | None:
    """One connection breaks."""
    links = scene.links()
    if not links:
        return None
    process = scene.any_process()
    link = scene.chance.choice(process.links if process is not None and process.links else links)
    silent = scene.chance.random() < 0.3
    seconds = scene.chance.choice((0.0, 0.3, 1.0, 2.0)) * scene.chance.random()
    link.cut(silent=silent, seconds=min(seconds, scene.until - scene.world.now))
    return f"{link.name} of {link._process.name} is cut for {seconds:.2f} s{' without a word' if silent else ''}"


def cut_host(scene: Scene) -> str | None:
    """All connections of one process break."""
    process = scene.any_process()
    if process is None:
        return None
    seconds = scene.chance.uniform(0.0, 2.0)
    for link in process.links:
        link.cut(silent=False, seconds=min(seconds, scene.until - scene.world.now))
    return f"{process.name} is cut off from the gateway for {seconds:.2f} s"


def gateway_down(scene: Scene) -> str | None:
    """The gateway restarts: all connections of all processes."""

    def back() -> None:
        scene.feed.down = False

    scene.feed.down = True
    for link in scene.links():
        link.cut(silent=False, seconds=0)
    return f"the gateway is away for {scene.for_a_while(1.2, back):.2f} s"


def lag(scene: Scene) -> str | None:
    """One connection falls behind the others."""
    links = scene.links()
    if not links:
        return None
    link = scene.chance.choice(links)

    def quick() -> None:
        link.lag = 0.0

    link.lag = scene.chance.choice((0.05, 0.2, 0.8))
    return f"{link.name} of {link._process.name} lags {link.lag} s for {scene.for_a_while(1.2, quick):.2f} s"


def resend(scene: Scene) -> str | None:
    """The gateway repeats its last frames on one connection."""
    links = scene.links()
    if not links:
        return None
    link = scene.chance.choice(links)
    link.resend(scene.chance.randrange(1, 8))
    return f"{link.name} of {link._process.name} gets frames again"


#: Each with its weight.
FAULTS: Final[Mapping[Callable[[Scene], str | None], float]] = {
    crash: 4,
    crash_and_lose: 0.7,
    crash_machine: 1,
    crash_all: 0.7,
    stop: 1.5,
    upgrade: 1,
    pause: 2,
    pause_long: 0.4,
    isolate: 2,
    isolate_long: 0.6,
    broker_down: 1,
    broker_slow: 1,
    lose_answers: 2,
    lose_requests: 1,
    flaky: 1,
    client_error: 3,
    queue_full: 0.5,
    time_out: 1,
    disk_refuses: 0.7,
    disk_slow: 0.7,
    cut: 4,
    cut_host: 1.5,
    gateway_down: 0.8,
    lag: 1.5,
    resend: 1.5,
    replan: 1,
    two_plans: 1,
}
