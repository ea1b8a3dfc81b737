"""Gaps: the spans of time for which frames may be missing, recorded exactly once.

Pure. `Outages` is fed, in journal order, with every frame's time and with the events that the gateways put between them
(`bridge.intake`). It answers with gap records, which ride in the same transaction as the records around them. What it
knows of a connection stands in the ledger, so that the process which goes on after a crash closes what the crashed one
left open.

Events: ``down`` (cause, optional since): frames no longer flow. ``up``: they flow again, subscribed and not just
connected. ``gone``: the connection ended for good and misses nothing, e.g. a match is over. ``start`` (of a process):
every connection that was up before has been cut.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import fastavro

from bridge.frame import Record
from bridge.ledger import Connection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.frame import Headers

CRASH: Final = "crash"
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
)


class GapWriter:
    """Makes the Kafka record of a gap. topic: the gap topic. framing: what goes before the Avro bytes."""

    def __init__(self, topic: str, framing: bytes, schema: Mapping[str, Any]) -> None:
        """Parse the schema (``schemas/bridge/gap.avsc``) once."""
        self._topic = topic
        self._framing = framing
        self._schema: Any = fastavro.parse_schema(dict(schema))

    def record(self, gap: Mapping[str, Any], now: int) -> Record:
        """Return the record of `gap`; a later one of the same id replaces it. now: ms since the epoch."""
        out = io.BytesIO()
        out.write(self._framing)
        fastavro.schemaless_writer(out, self._schema, gap)
        headers: Headers = [("type", b"gap"), ("received", b"%d" % now)]
        return Record(self._topic, gap["id"].encode(), out.getvalue(), headers, now)


class Outages:
    """The state of every connection of one lane, and the gaps that are open."""

    def __init__(
        self,
        writer: GapWriter,
        *,
        lane: int,
        instance: str,
        connections: Mapping[tuple[str, str], Connection] | None = None,
    ) -> None:
        """Go on from what the ledger tells of the connections."""
        self._writer = writer
        self._lane = lane
        self._instance = instance
        self._connections = dict(connections or {})
        self._last: dict[tuple[str, str], int] = {}
        self._changed: set[tuple[str, str]] = set()
        #: (gateway, cause) → gaps opened since the last `drain_opened`.
        self._opened: dict[tuple[str, str], int] = {}

    def seen(self, gateway: str, connection: str, received: int) -> None:
        """Take note of a frame. received: ms since the epoch."""
        self._last[gateway, connection] = received

    def event(self, gateway: str, connection: str, event: str, facts: Mapping[str, Any], at: int) -> list[Record]:
        """Take an event; see the module. at: ms since the epoch. Returns the gap records it makes."""
        if event == "start":
            return [
                record
                for known in list(self._connections.values())
                if known.up
                for record in self._down(known, facts.get("cause", CRASH), None, at)
            ]
        key = (gateway, connection)
        known = self._connections.get(key) or Connection(gateway, connection, up=False)
        if event == "down":
            return self._down(known, facts.get("cause", "disconnect"), facts.get("since"), at)
        if event == "up":
            return self._up(known, at)
        if event == "gone":
            self._set(Connection(gateway, connection, up=False))
        return []

    def drain(self, position: int) -> list[Connection]:
        """Return the connections that changed or had frames since the last call, for the ledger entry."""
        for key, received in self._last.items():
            known = self._connections.get(key) or Connection(*key, up=True)
            self._set(_replace(known, last_frame=received, position=position))
        self._last.clear()
        changed = [self._connections[key] for key in sorted(self._changed)]
        self._changed.clear()
        return changed

    @property
    def changed(self) -> bool:
        """Whether a connection went up or down since the last `drain`."""
        return bool(self._changed)

    def drain_opened(self) -> dict[tuple[str, str], int]:
        """Return (gateway, cause) → gaps opened since the last call."""
        opened, self._opened = self._opened, {}
        return opened

    def open_gaps(self) -> list[Connection]:
        """The connections with an open gap."""
        return [known for known in self._connections.values() if known.gap is not None]

    def _down(self, known: Connection, cause: str, since: int | None, at: int) -> list[Record]:
        """Open a gap, unless the connection never was up or one is open already."""
        key = (known.gateway, known.connection)
        last = self._last.get(key, known.last_frame)
        if known.gap is not None or (not known.up and last is None):
            self._set(_replace(known, up=False))
            return []
        begin = min(value for value in (last, since, at) if value is not None)
        gap = _replace(
            known,
            up=False,
            gap=f"{known.gateway}/{known.connection}/{begin}",
            gap_from=begin,
            gap_cause=cause if cause in CAUSES else "disconnect",
        )
        self._set(gap)
        counted = (known.gateway, gap.gap_cause or "")
        self._opened[counted] = self._opened.get(counted, 0) + 1
        return [self._writer.record(self._describe(gap, to=None), at)]

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
            records.append(self._writer.record(self._describe(known, to=at), at))
        # Until its first frame comes, this is when it was last known to be well.
        last = at if known.last_frame is None else known.last_frame
        self._set(_replace(known, up=True, last_frame=last, gap=None, gap_from=None, gap_cause=None))
        return records

    def _describe(self, known: Connection, *, to: int | None) -> dict[str, Any]:
        """The gap as its schema has it. Closed without a recovery it is lost, and says so."""
        return {
            "id": known.gap,
            "gateway": known.gateway,
            "connection": known.connection,
            "lane": self._lane,
            "instance": self._instance,
            "entity": None,
            "from": known.gap_from,
            "to": to,
            "last_seq": known.last_seq,
            "cause": known.gap_cause,
            "state": "open" if to is None else "lost",
            "recovered": 0,
            "superseded": 0,
            "how": None,
        }

    def _set(self, connection: Connection) -> None:
        key = (connection.gateway, connection.connection)
        self._connections[key] = connection
        self._changed.add(key)


def _replace(connection: Connection, **changes: Any) -> Connection:
    """Return the connection with some fields changed."""
    fields = {name: getattr(connection, name) for name in connection.__struct_fields__}
    return Connection(**{**fields, **changes})
