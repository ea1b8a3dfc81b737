"""A gateway that sends frames of every kind, and the connections that carry them, each with its own delays and cuts.

A connection keeps the order of what it carries. Two of them don't keep any between each other, nor do those of two processes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from bridge.frame import STREAM, Frame
from tests.model import schemas
from tests.model.outside import Current, Loop, Task

if TYPE_CHECKING:
    from tests.model.process import Process
    from tests.model.world import World

#: The connections: states and what else has one order go over the first, events over both.
LIST: Final = "list"
DETAIL: Final = "detail"
#: A connection that brings nothing for so long (s) is given up.
SILENCE: Final = 1.0
MATCHES: Final = ("m1", "m2", "m3")


@dataclass
class Emission:
    """One frame that the gateway sent, however often. at: s. points: when it was sent and would have arrived.

    kind: state, event, bad or refused. alike: equal for frames that are one (None: states without a number). says: what a
    state says of its entity. sent: when, by its own word (ms); 0: it does not say.
    """

    number: int
    at: float
    type: str
    kind: str
    raw: bytes
    carried: frozenset[str]
    entity: str = ""
    key: str = ""
    seq: int | None = None
    alike: tuple[object, ...] | None = None
    says: tuple[str, ...] = ()
    snapshot: bool = False
    sent: int = 0
    points: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Flow:
    """Frames flowed to a process over a connection from `begin` to `end` (ms)."""

    instance: str
    connection: str
    begin: int
    end: int


class Feed:
    """The gateway. It sends until `quiet`."""

    def __init__(self, world: World, *, names: tuple[str, ...], pace: float, unnumbered: bool, exact: int) -> None:
        """names: the connections that each process has. pace: mean seconds between frames.

        unnumbered: states without a sequence number come too. exact: its times are multiples of so many ms; 0: it says none.
        """
        self._exact = exact
        self._unnumbered = unnumbered
        self._world = world
        self._chance = world.chance
        self.names = names
        self._pace = pace
        self.emissions: list[Emission] = []
        self.links: list[Link] = []
        self.flowed: list[Flow] = []
        self.down = False
        self.quiet = False
        self._seq = 100
        self._states: dict[str, tuple[str, str]] = {}
        self._tables: dict[str, str] = {}
        self._serial = 0
        world.later(0.05, self._go_on)

    def last_words(self) -> None:
        """One more frame of every state and an event for each match, so that what follows the faults is seen too."""
        for match in MATCHES:
            self._state(match)
            self._event(match)

    def welcome(self, link: Link) -> None:
        """A connection is subscribed: greet it and tell it how things stand."""
        self.links.append(link)
        link.push(None)
        if link.name == LIST and self._chance.random() < 0.8:
            for match, (kind, v) in self._states.items():
                self._seq += 1
                link.push(self._made_state(kind, match, v, self._seq, snapshot=True))
            for match, v in self._tables.items():
                link.push(self._made_table(match, v, snapshot=True))

    def _go_on(self) -> None:
        if self.quiet:
            return
        self._emit()
        if self._chance.random() < 0.2:
            self._emit()  # in one turn
        self._world.later(self._chance.expovariate(1 / self._pace), self._go_on)

    def _emit(self) -> None:
        roll, match = self._chance.random(), self._chance.choice(MATCHES)
        if roll < 0.40:
            self._state(match)
        elif roll < 0.75:
            self._event(match)
        elif roll < 0.83 and self._unnumbered:
            self._table(match)
        elif roll < 0.89:
            self._settled(match)
        elif roll < 0.92:
            self._bad()
        elif roll < 0.93:
            self._refused(match)
        elif roll < 0.96:
            self._shout(match)
        elif roll < 0.98:
            self._surprise(match)
        else:
            self._collision()

    def _state(self, match: str) -> None:
        kind = schemas.PAUSED if self._chance.random() < 0.25 else schemas.UPDATED
        v = self._chance.choice("ABC")
        self._states[match] = kind, v
        self._seq += 1
        self._send(self._made_state(kind, match, v, self._seq))

    def _event(self, match: str) -> None:
        self._seq += 1
        self._send(self._made_event(match, self._fresh(), self._seq))

    def _table(self, match: str) -> None:
        v = self._tables[match] = self._chance.choice("XYZ")
        self._send(self._made_table(match, v))

    def _settled(self, match: str) -> None:
        """An entry of the log; some are sent again with another payload, which the id alone decides."""
        again = [each for each in self.emissions[-30:] if each.type == schemas.SETTLED]
        entity = self._fresh()
        if again and self._chance.random() < 0.3:
            earlier = self._chance.choice(again)
            entity, match = earlier.entity, earlier.key
        self._seq += 1
        v, n = self._fresh(), len(self.emissions)
        raw = self._frame(schemas.SETTLED, n, self._seq, id=entity, match_id=match, v=v)
        alike = (schemas.SETTLED, entity)
        self._send(Emission(n, 0, schemas.SETTLED, "event", raw, self._both(), entity, match, self._seq, alike))

    def _shout(self, match: str) -> None:
        """An event without a number: its content is its identity."""
        v, n = self._fresh(), len(self.emissions)
        raw = self._frame(schemas.SHOUT, n, None, id=match, match_id=match, v=v)
        self._send(Emission(n, 0, schemas.SHOUT, "event", raw, self._both(), match, match, None, (schemas.SHOUT, v)))

    def _bad(self) -> None:
        n = len(self.emissions)
        raw = self._chance.choice((b'{"type": "match.updated", "data": {"id": 5}, "n": %d}', b"rubbish %d")) % n
        self._send(Emission(n, 0, "", "bad", raw, frozenset({LIST}), alike=("bad", raw)))

    def _refused(self, match: str) -> None:
        """An event that Kafka will never take."""
        n = len(self.emissions)
        self._seq += 1
        raw = self._frame(schemas.KILL, n, self._seq, id=match, match_id=match, v=f"POISON {n}")
        self._send(Emission(n, 0, schemas.KILL, "refused", raw, frozenset({LIST}), match, match, alike=("bad", raw)))

    def _surprise(self, match: str) -> None:
        """A type that no schema knows."""
        n, v = len(self.emissions), self._fresh()
        self._seq += 1
        raw = self._frame(schemas.SURPRISE, n, self._seq, id=match, match_id=match, v=v)
        alike = (schemas.SURPRISE, self._seq, v)
        self._send(Emission(n, 0, schemas.SURPRISE, "event", raw, self._both(), match, match, self._seq, alike))

    def _collision(self) -> None:
        """The number of an earlier event with other content."""
        earlier = [each for each in self.emissions[-20:] if each.type == schemas.KILL and each.kind == "event"]
        if earlier:
            found = self._chance.choice(earlier)
            assert found.seq is not None
            self._send(self._made_event(found.key, self._fresh(), found.seq))

    def _made_state(self, kind: str, match: str, v: str, seq: int, *, snapshot: bool = False) -> Emission:
        n = len(self.emissions)
        raw = self._frame(kind, n, seq, id=match, match_id=match, v=v)
        alike = (kind, seq, v)
        return self._kept(
            Emission(n, 0, kind, "state", raw, frozenset({LIST}), match, match, seq, alike, (kind, v), snapshot)
        )

    def _made_table(self, match: str, v: str, *, snapshot: bool = False) -> Emission:
        n = len(self.emissions)
        raw = self._frame(schemas.TABLE, n, None, id=match, match_id=match, v=v)
        says = (schemas.TABLE, v)
        return self._kept(
            Emission(n, 0, schemas.TABLE, "state", raw, frozenset({LIST}), match, match, None, None, says, snapshot)
        )

    def _made_event(self, match: str, v: str, seq: int) -> Emission:
        n = len(self.emissions)
        raw = self._frame(schemas.KILL, n, seq, id=match, match_id=match, v=v)
        alike = (schemas.KILL, seq, v)
        return Emission(n, 0, schemas.KILL, "event", raw, self._both(), match, match, seq, alike)

    def _frame(self, kind: str, number: int, seq: int | None, **data: str) -> bytes:
        """A frame; ``n``, which is no content, tells the oracle which one it is."""
        body = ",".join(f'"{name}":"{value}"' for name, value in data.items())
        meta = f'"n":{number}' if seq is None else f'"seq":{seq},"n":{number}'
        if self.sent():
            meta += f',"ts":{msgspec.json.encode(datetime.fromtimestamp(self.sent() / 1000, UTC)).decode()}'
        return f'{{"type":"{kind}","data":{{{body}}},"meta":{{{meta}}}}}'.encode()

    def sent(self) -> int:
        """The gateway's time (ms), as exactly as it says it; 0: it does not."""
        return self._world.wall() // self._exact * self._exact if self._exact else 0

    def _both(self) -> frozenset[str]:
        return frozenset(self.names)

    def _fresh(self) -> str:
        self._serial += 1
        return str(self._serial)

    def _kept(self, emission: Emission) -> Emission:
        if emission.number == len(self.emissions):
            emission.at = self._world.now
            emission.sent = self.sent()
            emission.points.append(self._world.now)
            self.emissions.append(emission)
        return emission

    def _send(self, emission: Emission) -> None:
        self._kept(emission)
        self._world.tell("feed", f"sends {emission.number}: {emission.raw.decode()}")
        for link in list(self.links):
            if link.name in emission.carried:
                link.push(emission)


class Link:
    """One connection of one process, both of its ends."""

    def __init__(self, process: Process, feed: Feed, name: str) -> None:
        """`connect` it."""
        self._process = process
        self._feed = feed
        self._world = process.world
        self.name = name
        #: As the process sees it: frames flow.
        self.up = False
        #: Seconds that frames take longer on this connection.
        self.lag = 0.0
        #: Connecting fails until then.
        self.cut_until = 0.0
        self._session = 0
        self._arrival = 0.0
        self._buffer: list[Emission | None] = []
        self._waiting = False
        self._stopped = False
        self._heard: int | None = None
        self._began = process.world.wall()
        self._event: str | None = None
        self._carried: list[Emission] = []
        self._due = False
        self._rose: int | None = None

    @property
    def idle(self) -> bool:
        """Whether it is up and all that arrived was read."""
        return self.up and not self._waiting and not self._buffer

    def connect(self) -> None:
        """Try to connect, now and until it works."""
        self._due = False
        if self._stopped or self._session % 2:
            return
        if self._feed.down or self._world.now < self.cut_until:
            self._again()
            return
        self._session += 1
        session = self._session
        self._arrival = 0.0

        def subscribed() -> None:
            if session == self._session:
                self._feed.welcome(self)

        self._world.later(self._world.chance.uniform(0.005, 0.05), subscribed)

    def push(self, emission: Emission | None) -> None:
        """The gateway sends; None is the greeting."""
        delay = self._world.chance.uniform(0.001, 0.01) + self.lag
        self._arrival = max(self._arrival + 1e-6, self._world.now + delay)
        if emission is not None:
            self._carried.append(emission)
            emission.points.append(self._arrival)
        session = self._session
        self._world.later(self._arrival - self._world.now, lambda: self._arrive(session, emission))

    def resend(self, count: int) -> None:
        """The gateway repeats itself."""
        if self in self._feed.links:
            # A state that comes again is a change where it has no number; and after a restart nobody knows how old it is.
            for emission in [each for each in self._carried[-count:] if each.kind != "state"]:
                self.push(emission)

    def cut(self, *, silent: bool, seconds: float) -> None:
        """Break it: what is under way is lost. silent: the process is not told."""
        self.cut_until = max(self.cut_until, self._world.now + seconds)
        if not self._session % 2:
            return
        self._leave()
        session = self._session
        cause = "silence" if silent else "disconnect"
        delay = SILENCE if silent else self._world.chance.uniform(0.0, 0.03)

        def notice() -> None:
            if session == self._session:
                self._lost(cause)

        self._process.soon(delay, notice)

    def drop(self) -> None:
        """The process died."""
        self._stopped = True
        self._leave()

    def stop(self) -> None:
        """The process stops receiving, on purpose."""
        self._stopped = True
        self._leave()
        self._report_down("stopped")

    def thaw(self) -> None:
        """Read what the buffers of the system hold."""
        self._process.soon(0, self._drain)

    def _leave(self) -> None:
        self._session += self._session % 2
        self._buffer.clear()
        self._carried.clear()
        self._fell()
        if self in self._feed.links:
            self._feed.links.remove(self)

    def _again(self) -> None:
        if not self._due:
            self._due = True
            self._process.soon(self._world.chance.uniform(0.05, 0.3), self.connect)

    def _arrive(self, session: int, emission: Emission | None) -> None:
        if session != self._session or not self._process.alive:
            return
        self._buffer.append(emission)
        if not self._process.frozen:
            self._process.soon(0, self._drain)

    def _drain(self) -> None:
        """One turn of the loop."""
        if self._waiting or self._stopped:
            return
        while self._buffer:
            emission = self._buffer.pop(0)
            self._heard = self._world.wall()
            if not self.up:
                self.up = True
                self._rose = self._world.wall()
                self._event = "up"
                self._process.intake.event(schemas.GATEWAY, self.name, "up")
            if emission is not None:
                frame = Frame(schemas.GATEWAY, self.name, self._heard, STREAM, emission.raw)
                self._process.intake.put(frame)
            if self._process.intake.full:
                self._waiting = True
                Task(self._room(), Current.process)
                return

    async def _room(self) -> None:
        """Read no more until the journal takes frames."""
        await Loop.sleep(0)
        await self._process.intake.room()
        self._waiting = False
        self._drain()

    def _lost(self, cause: str) -> None:
        if self._waiting:
            cause = "journal_full"
        self.up = False
        self._report_down(cause)
        self._again()

    def _fell(self) -> None:
        """Frames flow no more, whether the process knows or not: for the oracle."""
        if self._rose is not None:
            self._feed.flowed.append(Flow(self._process.instance, self.name, self._rose, self._world.wall()))
            self._rose = None

    def _report_down(self, cause: str) -> None:
        if self._event != "down":
            self._event = "down"
            since = self._began if self._heard is None else self._heard
            self._process.intake.event(schemas.GATEWAY, self.name, "down", cause=cause, since=since)
