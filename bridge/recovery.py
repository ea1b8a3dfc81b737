"""Gaps: the spans of time for which frames may be missing, recorded exactly once.

Pure. `Outages` is fed, in journal order, with every frame's time and with the events that the gateways put between them
(`bridge.intake`). It answers with gap records, which ride in the same transaction as the records around them. What it
knows of connections and gaps stands in the ledger, so that the process which goes on after a crash closes what the
crashed one left open, and a standby that takes over says what it filled.

Events: ``down`` (cause, optional since): frames no longer flow. ``up``: they flow again, subscribed and not just
connected. ``unread`` (since): the socket is not read, because the journal takes nothing; what the gateway sends meanwhile
it may drop without a word. ``read``: the first frame after that. ``gone``: the connection ended for good and misses
nothing, e.g. a match is over. ``start`` (of a process): every connection that was up before has been cut.

A gap that is over and whose gateway can be asked for what is missing stays ``open`` until that was done
(`bridge.filling`); what came of it is the event ``recovered``. As its end and its state stand in the ledger, whoever is
active next asks again. A ``request`` asks for a time anew, by hand.
"""

from __future__ import annotations

import io
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any, Final, TypeVar

import fastavro
import msgspec

from bridge.frame import FILL, Record
from bridge.ledger import Connection, Gap, keep
from bridge.presence import MARGIN

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from bridge.cloudevents import Events
    from bridge.frame import Headers
    from bridge.presence import Presence

CRASH: Final = "crash"
JOURNAL_FULL: Final = "journal_full"
BOOK: Final = "book_sequence"
EXPIRED: Final = "expired"
REQUESTED: Final = "requested"
#: States of a gap.
OPEN: Final = "open"
FILLED: Final = "filled"
PARTLY: Final = "partly"
LOST: Final = "lost"
#: What fills a gap.
STANDBY: Final = "received by a standby"
SNAPSHOT: Final = "snapshot of the stream"
REST_SNAPSHOT: Final = "snapshot over REST"
#: Of a gap that is over and not judged.
ASKED: Final = "the gateway is being asked"
#: The gateway's own time of the last frame begins a gap where it is no more than this (ms) before it was received.
OWN_TIME: Final = 10_000
#: How often (ms) it is looked after what the ledger must be told again.
REMIND: Final = 60_000
#: Gaps that were filled are shown for as long as there are so few after them.
_SHOWN: Final = 50
#: The causes that the gap schema knows.
CAUSES: Final = (
    "disconnect",
    "silence",
    "book_sequence",
    "journal_full",
    "crash",
    "stopped",
    "oversize",
    "expired",
    "refused",
    "requested",
)


class GapWriter:
    """Makes the Kafka record of a gap.

    topic: the gap topic. framing: what goes before the Avro bytes. events: adds CloudEvents headers.
    """

    def __init__(self, topic: str, framing: bytes, schema: Mapping[str, Any], *, events: Events | None = None) -> None:
        """Parse the schema (``schemas/bridge/gap.avsc``) once."""
        self._events = events
        self._topic = topic
        self._framing = framing
        self._schema: Any = fastavro.parse_schema(dict(schema))

    def record(self, gap: Mapping[str, Any], now: int) -> Record:
        """Return the record of `gap`; a later one of the same id replaces it. now: ms since the epoch."""
        out = io.BytesIO()
        out.write(self._framing)
        fastavro.schemaless_writer(out, self._schema, gap)
        headers: Headers = [("type", b"gap"), ("received", b"%d" % now)]
        record = Record(self._topic, gap["id"].encode(), out.getvalue(), headers, now)
        if self._events is not None:
            self._events.gap(record)
        return record


class Outages:
    """The state of every connection of one lane, and the gaps that are open or may yet be filled.

    said: the pipeline's to set: what the envelope of a frame says, given with the gateway: the connection's own sequence
    number, and when the frame was sent (ms).
    """

    def __init__(
        self,
        writer: GapWriter,
        *,
        lane: int,
        instance: str,
        connections: Mapping[tuple[str, str], Connection] | None = None,
        gaps: Mapping[str, Gap] | None = None,
        span: int | None = None,
        fillable: Collection[str] = (),
    ) -> None:
        """Go on from what the ledger tells of the connections and gaps.

        span: of the window (ms), see `drain`. fillable: gateways that are asked for what is missing.
        """
        #: (gateway, connection) → when its last frame that was read came, and its envelope.
        self._metas: dict[tuple[str, str], tuple[int, Any]] = {}
        self.said: Callable[[str, Any], tuple[int | None, int | None]] = lambda _gateway, _meta: (None, None)
        self._writer = writer
        self._lane = lane
        self._instance = instance
        self._connections = dict(connections or {})
        self._last: dict[tuple[str, str], int] = {}
        #: How long (ms) the last frame of each connection that tells when it was sent had been under way.
        self._lags: dict[tuple[str, str], int] = {}
        self._changed: set[tuple[str, str]] = set()
        self._gaps = OrderedDict(gaps or {})
        self._broken = {
            (gap.gateway, gap.entity): gap.id
            for gap in self._gaps.values()
            if gap.entity is not None and gap.until is None
        }
        #: Gaps that the ledger must be told of, and ids of those with late frames that no record tells yet.
        self._news: dict[str, Gap] = {}
        self._touched: dict[str, None] = {}
        self._span = span
        self._fillable = fillable
        #: Counts every word on a gap: whoever looks at `unjudged` need not look again while it stands still.
        self.said_so_far = 0
        self._reminded: dict[tuple[str, str] | str, int] = {}
        self._remind_at = 0
        self._filled: deque[Gap] = deque(maxlen=_SHOWN)
        #: (gateway, cause) → gaps opened since the last `drain_opened`.
        self._opened: dict[tuple[str, str], int] = {}
        #: (gateway, state) → gaps judged since the last `drain_judged`.
        self._judged: dict[tuple[str, str], int] = {}

    def seen(self, gateway: str, connection: str, received: int, meta: Any = None) -> None:
        """Take note of a frame. received: ms since the epoch. meta: its envelope, where it could be read."""
        key = (gateway, connection)
        self._last[key] = received
        if meta is not None:
            self._metas[key] = received, meta

    def event(self, gateway: str, connection: str, event: str, facts: Mapping[str, Any], at: int) -> list[Record]:
        """Take an event; see the module. at: ms since the epoch. Returns the gap records it makes."""
        if event == "start":
            cut = [self._latest(key, up=True) for key in dict.fromkeys([*self._connections, *self._last])]
            return [
                record for known in cut if known.up for record in self._down(known, facts.get("cause", CRASH), None, at)
            ]
        known = self._latest((gateway, connection))
        if event == "down":
            return self._down(known, facts.get("cause", "disconnect"), facts.get("since"), at)
        if event == "unread":
            return self._down(known, JOURNAL_FULL, facts.get("since"), at, up=known.up)
        if event in {"up", "read"}:
            return self._up(known, at)
        return self._gone(known, at) if event == "gone" else []

    def broken(self, gateway: str, connection: str, entity: str, *, seq: int, since: int, at: int) -> list[Record]:
        """Frames of an entity are missing after number `seq`, received at `since`. Opens a gap, unless one is open."""
        if (gateway, entity) in self._broken:
            return []
        gap = Gap(
            f"{gateway}/{entity}/{since}/{seq}/{self._lane}",
            gateway,
            connection,
            since,
            BOOK,
            entity,
            last_seq=str(seq),
        )
        self._broken[gateway, entity] = gap.id
        return [self._open(gap, at)]

    def whole(self, gateway: str, entity: str, how: str, at: int) -> list[Record]:
        """All there is to know of an entity came: closes its gap, if one is open."""
        gap = self._broken.pop((gateway, entity), None)
        return [] if gap is None else [self._close(self._gaps[gap], at, state=FILLED, how=how)]

    def expired(self, gateway: str, connection: str, *, since: int, until: int, position: int, kept: str) -> Record:
        """Frames received from `since` to `until` can't be proved unpublished, and were set aside. kept: where."""
        gap = Gap(
            f"{gateway}/{connection}/{since}/{EXPIRED}/{position}/{self._lane}", gateway, connection, since, EXPIRED
        )
        self._count(gap)
        return self._close(gap, until, state=LOST, how=f"not published, kept in {kept}")

    def late(
        self, gateway: str, connection: str, entity: str | None, received: int, *, superseded: bool = False
    ) -> None:
        """Take note of a frame that only this process received, as a standby; it counts for the gap it lies in."""
        broken = self._broken.get((gateway, entity)) if entity is not None and not superseded else None
        gap = self._gaps[broken] if broken is not None else self._around(gateway, connection, received)
        if gap is not None:
            number = {"superseded": gap.superseded + 1} if superseded else {"recovered": gap.recovered + 1}
            self._gaps[gap.id] = _changed(gap, **number)
            self._touched[gap.id] = None

    def recovered(self, connection: str) -> None:
        """Take note of a record that was published to fill a gap. connection: of its frame, see `bridge.frame.FILL`.

        It may have been asked for on behalf of another lane: then it counts for the gap of the same connection here.
        """
        asked = connection.removeprefix(FILL)
        gap = self._gaps.get(asked)
        if gap is None:
            same = asked.rpartition("/")[0].rpartition("/")[0]
            gap = next((each for each in self.unjudged if same and each.id.startswith(f"{same}/")), None)
        if gap is not None:
            self._gaps[gap.id] = self._news[gap.id] = _changed(gap, recovered=gap.recovered + 1)

    def judge(self, ident: str, state: str, how: str, at: int) -> list[Record]:
        """The gateway was asked for a gap. state: what came of it, by what the gateway can know."""
        gap = self._gaps.get(ident)
        if gap is None or not _unjudged(gap):
            return []  # a standby filled it meanwhile, or the connection broke again before anything came
        if state == LOST and (gap.recovered or gap.superseded):
            state = PARTLY
        return [self._say(_changed(gap, state=state, how=how), at)]

    def request(self, facts: Mapping[str, Any], ident: str, at: int) -> list[Record]:
        """Somebody wants a time filled: a gap that is recorded, or a span of a gateway.

        facts: see `bridge.requests`. ident: of the request.
        """
        if facts.get("gap") is not None:
            asked = msgspec.convert(facts["gap"], Gap)
            gap = self._gaps.get(asked.id, asked)
            mine = gap.id.endswith(f"/{self._lane}") and gap.entity is None and gap.cause != EXPIRED
            if not mine or gap.until is None or _unjudged(gap):
                return []
        else:
            name = f"{facts['gateway']}/*/{facts['since']}/{REQUESTED}/{ident}/{self._lane}"
            gap = Gap(name, facts["gateway"], "*", facts["since"], REQUESTED, until=facts["until"])
        return [self._say(_changed(gap, state=OPEN, how=ASKED), at)]

    @property
    def unjudged(self) -> list[Gap]:
        """The gaps that are over and wait for what the gateway has."""
        return [gap for gap in self._gaps.values() if _unjudged(gap)]

    def progress(self, at: int) -> list[Record]:
        """Return the records of gaps that late frames have changed."""
        return [
            self._say(gap if gap.state == OPEN else _changed(gap, state=PARTLY, how=STANDBY), at)
            for gap in [self._gaps[each] for each in self._touched]
        ]

    def settle(self, presence: Presence, gateways: Collection[str], at: int, *, proved: bool = True) -> list[Record]:
        """From now on the own connections count: those of the process before are gone. Returns the gap records it makes.

        A gap for all of which the own connection received is filled: all its frames are published, whoever did it.
        gateways: those of the configuration. proved: frames of the own journal are all accounted for.
        """
        records = []
        for key in list(self._connections):
            known = self._latest(key)
            lapse = presence.lapse(*key)
            if presence.up(*key):
                if known.gap is not None:
                    filled = proved and presence.throughout(*key, self._gap(known).since, None)
                    records.append(self._close(self._gap(known), at, filled=filled))
                self._set(_changed(known, up=True, gap=None, gap_from=None, gap_cause=None))
            elif (lapse is not None and lapse.gone) or known.gateway not in gateways:
                records += self._gone(known, at)
            elif known.up:
                cause, unread = (lapse.cause, lapse.unread) if lapse is not None else (CRASH, False)
                records += self._down(known, cause, None, at, up=unread)
        for gap in list(self._gaps.values()):
            if (
                proved
                and gap.until is not None
                and gap.entity is None
                and gap.cause not in {EXPIRED, REQUESTED}
                and presence.throughout(gap.gateway, gap.connection, gap.since, gap.until)
            ):
                records.append(self._close(gap, gap.until, filled=True, said=at))
        return [*records, *self.progress(at)]

    def gaps(self) -> list[Gap]:
        """The newest word on all gaps that are remembered, the last that were filled among them. For any thread."""
        return [*self._filled, *self._gaps.values()]

    def drain(self, position: int, now: int | None = None) -> list[Connection]:
        """Return the connections that changed or had frames since the last call, for the ledger entry.

        now: ms since the epoch; then also those that a successor, who reads the ledger of one window, would miss soon.
        """
        for key in self._last:
            self._set(_changed(self._latest(key, up=True), position=position))
        self._last.clear()
        self._metas.clear()
        if now is not None and now >= self._remind_at:
            self._remind(now)
        changed = [self._connections[key] for key in sorted(self._changed)]
        if now is not None:
            self._reminded.update(dict.fromkeys(self._changed, now))
            self._reminded.update((gap.id, now) for gap in self._news.values() if gap.state == OPEN)
        self._changed.clear()
        return changed

    def drain_gaps(self) -> list[Gap]:
        """Return the gaps that changed since the last call, for the ledger entry; to be called after `drain`."""
        news = list(self._news.values())
        self._news.clear()
        return news

    @property
    def changed(self) -> bool:
        """Whether a connection went up or down since the last `drain`, or a gap changed."""
        return bool(self._changed or self._news)

    def drain_opened(self) -> dict[tuple[str, str], int]:
        """Return (gateway, cause) → gaps opened since the last call."""
        opened, self._opened = self._opened, {}
        return opened

    def drain_judged(self) -> dict[tuple[str, str], int]:
        """Return (gateway, state) → gaps of which that was said since the last call."""
        judged, self._judged = self._judged, {}
        return judged

    def open_gaps(self) -> list[Connection]:
        """The connections with an open gap."""
        return [known for known in self._connections.values() if known.gap is not None]

    def _down(self, known: Connection, cause: str, since: int | None, at: int, *, up: bool = False) -> list[Record]:
        """Open a gap, unless the connection never was up or one is open already. up: it is still connected."""
        last = known.last_frame
        if known.gap is not None or (not known.up and last is None):
            self._set(_changed(known, up=up))
            return []
        begin = min(value for value in (last, since, at) if value is not None)
        cause = cause if cause in CAUSES else "disconnect"
        gap = Gap(
            f"{known.gateway}/{known.connection}/{begin}/{self._lane}",
            known.gateway,
            known.connection,
            begin,
            cause,
            last_seq=known.last_seq,
        )
        before = self._gaps.get(gap.id)
        if before is not None:  # nothing came since that was closed: it goes on
            gap = _changed(gap, recovered=before.recovered, superseded=before.superseded)
        self._set(_changed(known, up=up, gap=gap.id, gap_from=begin, gap_cause=cause))
        return [self._open(gap, at)]

    def _up(self, known: Connection, at: int) -> list[Record]:
        """Close the gap that is open, if one is.

        A connection that comes up while the ledger has it up was cut without a word: the process that held it died, and
        nobody received between its last frame and now.
        """
        records = []
        if known.up and known.last_frame is not None and known.last_frame < at:
            records += self._down(known, CRASH, None, at)
            known = self._connections[known.gateway, known.connection]
        if known.gap is not None:
            records.append(self._close(self._gap(known), at))
        # Until its first frame comes, this is when it was last known to be well.
        last = at if known.last_frame is None else known.last_frame
        self._set(_changed(known, up=True, gone=False, last_frame=last, gap=None, gap_from=None, gap_cause=None))
        return records

    def _gone(self, known: Connection, at: int) -> list[Record]:
        """Nothing more is to come; what was missed before that stays missed."""
        self._set(Connection(known.gateway, known.connection, up=False, gone=True))
        return [self._close(self._gap(known), at)] if known.gap is not None else []

    def _latest(self, key: tuple[str, str], *, up: bool = False) -> Connection:
        """The connection with what its frames since the last `drain` say. up: of one that nothing was known of."""
        known = self._connections.get(key) or Connection(*key, up=up)
        last = self._last.get(key)
        if last is None:
            return known
        received, meta = self._metas.get(key, (0, None))
        seq, sent = self.said(key[0], meta) if meta is not None else (None, None)
        if sent is not None:
            self._lags[key] = received - sent if received - OWN_TIME <= sent < received else 0
        # A frame that does not tell when it was sent was under way as long as the one before that does.
        last -= self._lags.get(key, 0)
        return _changed(known, last_frame=last, last_seq=known.last_seq if seq is None else str(seq))

    def _around(self, gateway: str, connection: str, received: int) -> Gap | None:
        """The gap of a connection that a moment lies in; by the clock of another machine, hence the margin."""
        best, least = None, MARGIN + 1
        for gap in self._gaps.values():
            if (
                gap.gateway == gateway
                and gap.connection == connection
                and gap.entity is None
                and gap.cause not in {EXPIRED, REQUESTED}
            ):
                off = max(gap.since - received, 0 if gap.until is None else received - gap.until, 0)
                if off < least:
                    best, least = gap, off
        return best

    def _gap(self, known: Connection) -> Gap:
        """The open gap of a connection; where the ledger read does not reach back to its begin, as the connection has it."""
        begin, cause = known.gap_from or 0, known.gap_cause or "disconnect"
        gap = known.gap or ""
        return self._gaps.get(gap) or Gap(gap, known.gateway, known.connection, begin, cause, last_seq=known.last_seq)

    def _open(self, gap: Gap, at: int) -> Record:
        self._count(gap)
        return self._say(gap, at)

    def _close(
        self,
        gap: Gap,
        until: int,
        *,
        filled: bool = False,
        state: str | None = None,
        how: str | None = None,
        said: int | None = None,
    ) -> Record:
        """Closed without a recovery a gap is lost, and says so; unless there is one, which is waited for.

        filled: by a standby. said: now, where `until` is not.
        """
        late = gap.recovered or gap.superseded
        if state is None and not filled and gap.entity is None and gap.gateway in self._fillable:
            state, how = OPEN, ASKED
        state = state or (FILLED if filled else PARTLY if late else LOST)
        how = how or (STANDBY if filled or late else None)
        return self._say(_changed(gap, until=until, state=state, how=how), until if said is None else said)

    def _count(self, gap: Gap) -> None:
        self._opened[gap.gateway, gap.cause] = self._opened.get((gap.gateway, gap.cause), 0) + 1

    def _say(self, gap: Gap, at: int) -> Record:
        """Have ledger and topic know of a gap as it is now."""
        before = self._gaps.get(gap.id)
        if gap.state != OPEN and (before is None or before.state != gap.state):
            self._judged[gap.gateway, gap.state] = self._judged.get((gap.gateway, gap.state), 0) + 1
        keep(self._gaps, gap)
        if gap.state == FILLED:
            self._filled.append(gap)
        self.said_so_far += 1
        self._news[gap.id] = gap
        self._touched.pop(gap.id, None)
        self._reminded.pop(gap.id, None)
        return self._writer.record(self._describe(gap), at)

    def _describe(self, gap: Gap) -> dict[str, Any]:
        """The gap as its schema has it."""
        fields = {name: getattr(gap, name) for name in gap.__struct_fields__}
        fields["from"], fields["to"] = fields.pop("since"), fields.pop("until")
        return {**fields, "lane": self._lane, "instance": self._instance}

    def _remind(self, now: int) -> None:
        """Have the ledger told again of what was last said half a window ago; forget connections that are gone."""
        if self._span is None:
            return
        self._remind_at = now + min(REMIND, self._span // 8)
        due = now - self._span // 2
        for key, known in list(self._connections.items()):
            if key not in self._changed and self._reminded.get(key, 0) <= due:
                if known.gone:
                    del self._connections[key]
                    self._reminded.pop(key, None)
                else:
                    self._changed.add(key)
        for gap in self._gaps.values():
            if gap.state == OPEN and self._reminded.get(gap.id, 0) <= due:
                self._news[gap.id] = gap

    def _set(self, connection: Connection) -> None:
        key = (connection.gateway, connection.connection)
        self._connections[key] = connection
        self._changed.add(key)


def _unjudged(gap: Gap) -> bool:
    return gap.state == OPEN and gap.until is not None and gap.entity is None


_Changed = TypeVar("_Changed", Connection, Gap)


def _changed(thing: _Changed, **changes: Any) -> _Changed:
    """Return a connection or gap with some fields changed."""
    return msgspec.structs.replace(thing, **changes)
