"""Ledger entries: what is published, by whom, and how far.

A transaction carries its records and one entry. Reading a ledger partition from the start of the window to its end
therefore yields exactly what a read_committed consumer of the topics can have seen: the window of identities, the ids
learned, the recovery cursors, the state of each connection, the gaps, and for each journal the position to go on from.

Pure: bytes in, bytes out. The reading consumer is in `bridge.lane`.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bridge.avro_reader import reader
from bridge.codec import SINGLE_OBJECT, RecordCodec, fingerprint
from bridge.continuity import Chains
from bridge.cursors import Cursors
from bridge.errors import BadData

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bridge.dedupe import Window
    from bridge.frame import Headers

ENTRY: Final = "ENTRY"
FIRST: Final = "FIRST"
HEARTBEAT: Final = "HEARTBEAT"
RESIGN: Final = "RESIGN"
PLAN: Final = "PLAN"
READY: Final = "READY"
#: Header of an entry: the fingerprints of the older schemas that its own only adds to, 8 bytes each.
EXTENDS: Final = "extends"

#: Ids whose key is remembered at most; the longest unseen are forgotten first.
MAX_KEYS: Final = 500_000
#: Gaps that are closed but not filled are remembered in this number: a standby may fill them yet.
MAX_CLOSED: Final = 256


class Connection(msgspec.Struct, frozen=True):
    """State of one connection as the ledger tells it; times in ms since the epoch. gone: it ended and misses nothing."""

    gateway: str
    connection: str
    up: bool
    last_frame: int | None = None
    position: int | None = None
    gap: str | None = None
    gap_from: int | None = None
    gap_cause: str | None = None
    last_seq: str | None = None
    gone: bool = False


class Learned(msgspec.Struct, frozen=True):
    """An id and the key it belongs to."""

    gateway: str
    id: str
    key: str


class Gap(msgspec.Struct, frozen=True):
    """A gap as the ledger tells it, from ``open`` to whatever closed it; times in ms since the epoch.

    Fields as in ``schemas/bridge/gap.avsc``, where `since` and `until` are called ``from`` and ``to``.
    """

    id: str
    gateway: str
    connection: str
    since: int
    cause: str
    entity: str | None = None
    until: int | None = None
    last_seq: str | None = None
    state: str = "open"
    recovered: int = 0
    superseded: int = 0
    how: str | None = None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One ledger entry; see ``schemas/bridge/ledger.avsc`` for each field."""

    kind: str
    instance: str
    at: int
    nonce: str = ""
    generation: int = 0
    lanes: int = 1
    journal: str = ""
    position: int | None = None
    codes: bytes = b""
    hashes: bytes = b""
    cursors: dict[str, str] = {}
    learned: list[Learned] = []
    connections: list[Connection] = []
    gaps: list[Gap] = []
    chains: bytes = b""
    links: bytes = b""
    orders: bytes = b""


class EntryCodec:
    """Entries to and from their Avro single-object encoding, also those of other versions of feedbridge.

    While processes are upgraded one after the other, two versions share a ledger. An older one's schema is known here. A
    newer one's only adds fields at the end, and a header of its records says which it adds to; they are passed over.
    """

    def __init__(self, schema: Mapping[str, Any], older: Sequence[Mapping[str, Any]] = ()) -> None:
        """Compile the schemas once. schema: the ledger's, as parsed JSON. older: those of the versions before."""
        own = fingerprint(schema)
        self._prefix = SINGLE_OBJECT + own
        self._encode = RecordCodec(schema).encode
        self._read: Callable[[bytes, int], Entry] = reader(schema, _CLASSES)
        known = {fingerprint(each): each for each in older} | {own: schema}
        self._older = {name: reader(each, _CLASSES) for name, each in known.items() if name != own}
        #: By fingerprint, the newest last; and what reads the fields that a newer schema begins with.
        self._known = known
        self._begins: dict[bytes, Callable[[bytes, int], Entry]] = {}
        #: What the record of an entry carries, so that versions before this one can read it.
        self.headers: Headers = [(EXTENDS, b"".join(self._older))] if self._older else []

    def encode(self, entry: Entry) -> bytes:
        """Return the value of the ledger record."""
        return self._prefix + self._encode(entry)

    def decode(self, value: bytes, headers: Headers | dict[str, str | bytes | None] | None = None) -> Entry:
        """Read one back; times stay integers. headers: of its record.

        Raises `BadData` where the value is none of ours: another program writes to the ledger topic, or a newer
        version of feedbridge did that adds to none of the schemas known here.
        """
        if value.startswith(self._prefix):
            return self._read(value, len(self._prefix))
        return self._foreign(value, headers)(value, len(self._prefix))

    def _foreign(
        self, value: bytes, headers: Headers | dict[str, str | bytes | None] | None
    ) -> Callable[[bytes, int], Entry]:
        """What reads an entry of another version."""
        name = value[len(SINGLE_OBJECT) : len(self._prefix)]
        if value.startswith(SINGLE_OBJECT):
            if name in self._older:
                return self._older[name]
            told = dict(headers or ()).get(EXTENDS)
            if isinstance(told, bytes):
                bases = {told[at : at + len(name)] for at in range(0, len(told), len(name))}
                base = next((each for each in reversed(self._known) if each in bases), None)
                if base is not None and base not in self._begins:
                    self._begins[base] = reader(self._known[base], _CLASSES, whole=False)
                if base is not None:
                    return self._begins[base]
        raise BadData(
            f"an entry of unknown schema ({value[:10].hex()})",
            where="ledger",
            mend="run the version of feedbridge that wrote it, or a newer one",
        )


_CLASSES: Final = {"LedgerEntry": Entry, "Learned": Learned, "Connection": Connection, "Gap": Gap}


class Keys:
    """The keys that ids belong to, as far back as the window goes.

    An id that is still seen is learned anew from time to time, so that a successor, which reads no more of the ledger
    than the window, knows it too.
    """

    def __init__(self) -> None:
        """Nothing is known."""
        self._keys: OrderedDict[tuple[str, str], tuple[str, int]] = OrderedDict()

    def __len__(self) -> int:
        """How many ids are known."""
        return len(self._keys)

    def get(self, gateway: str, known: str) -> str | None:
        """The key of an id."""
        found = self._keys.get((gateway, known))
        return found[0] if found is not None else None

    def learn(self, gateway: str, known: str, key: str, at: int, *, span: int) -> bool:
        """Take in that `known` belongs to `key`. at: now (ms). span: of the window (ms).

        Returns whether the ledger must say so: it is new, or was last said half a window ago.
        """
        place = (gateway, known)
        found = self._keys.get(place)
        if found is not None and found[0] == key and (at - found[1]) * 2 < span:
            return False
        self._keys[place] = (key, at)
        self._keys.move_to_end(place)
        while True:
            oldest, (_, said) = next(iter(self._keys.items()))
            if said >= at - span and len(self._keys) <= MAX_KEYS:
                return True
            del self._keys[oldest]


def keep(gaps: OrderedDict[str, Gap], gap: Gap) -> None:
    """Remember the newest word on a gap: as long as it is open, then among the `MAX_CLOSED` last that were not filled.

    One that is over but still called open is being asked for, see `bridge.filling`.
    """
    gaps.pop(gap.id, None)
    if gap.state == "filled":
        return
    gaps[gap.id] = gap
    if gap.state != "open" and len(gaps) > MAX_CLOSED:
        closed = [each.id for each in gaps.values() if each.state != "open"]
        for old in closed[:-MAX_CLOSED]:
            del gaps[old]


@dataclass
class Memory:
    """What the entries of one lane add up to; fed in order with `take`."""

    window: Window
    learned: Keys = field(default_factory=Keys)
    cursors: Cursors = field(default_factory=Cursors)
    connections: dict[tuple[str, str], Connection] = field(default_factory=dict)
    #: Gaps that are open, and the last that were closed without being filled.
    gaps: OrderedDict[str, Gap] = field(default_factory=OrderedDict)
    chains: Chains = field(default_factory=Chains)
    #: journal → when (ms) its writer last disposed of frames
    wrote: dict[str, int] = field(default_factory=dict)
    #: Since when (ms) the entries read are complete, where older ones that were wanted have been deleted.
    known_since: int | None = None
    #: journal → (position, instance that wrote it)
    positions: dict[str, tuple[int, str]] = field(default_factory=dict)
    generation: int = 0
    lanes: int = 0
    last: Entry | None = None
    entries: int = 0

    def take(self, entry: Entry, at: int) -> None:
        """Add one entry. at: the broker's time of it (ms)."""
        if entry.codes:
            self.window.replay(entry.codes, entry.hashes, at, entry.orders)
            self.wrote[entry.journal] = at
        if self.known_since is not None and not self.entries:
            self.known_since = min(self.known_since, at)
        for learned in entry.learned:
            self.learned.learn(learned.gateway, learned.id, learned.key, at, span=self.window.span)
        self.cursors.update(entry.cursors)
        for connection in entry.connections:
            self.connections[connection.gateway, connection.connection] = connection
        for gap in entry.gaps:
            keep(self.gaps, gap)
        if entry.chains:
            self.chains.replay(entry.chains)
        if entry.position is not None:
            self.positions[entry.journal] = (entry.position, entry.instance)
        self.generation = max(self.generation, entry.generation)
        self.lanes = entry.lanes
        self.last = entry
        self.entries += 1

    def connected(self, gateway: str) -> bool:
        """Whether the active process has that gateway up, all its connections."""
        states = [each.up for (name, _), each in self.connections.items() if name == gateway and not each.gone]
        return bool(states) and all(states)

    def blind(self, journal: str, count: int) -> int | None:
        """Before when (ms) another process may have published frames that the window can't know; None: no such time.

        Nobody can say whether an own frame of that time, still in the journal, is published. journal: the own one's id;
        what its writer published is told by its position. count: frames that are about to enter the window.
        """
        bounds = [] if self.known_since is None else [self.known_since]
        others = [at for name, at in self.wrote.items() if name != journal]
        forgotten = self.window.forgotten_after(count)
        if others and forgotten is not None:
            bounds.append(min(max(others), forgotten))
        return max(bounds, default=None)

    def resume(self, journal: str, *, first: int, openings: Sequence[tuple[int, str]]) -> int:
        """All that stands in a journal before the position returned is disposed of.

        first: the oldest position it still holds. openings: see `bridge.journal.Journal`. Of what a process committed,
        positions count up to where a later one began: what lay beyond was lost with the machine, and new frames stand there.
        """
        position, writer = self.positions.get(journal, (first, ""))
        later = 1 + max((number for number, (_, instance) in enumerate(openings) if instance == writer), default=-1)
        return max(min([position, *(end for end, _ in openings[later:])]), first)
