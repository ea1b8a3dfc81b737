"""Judges a run: what a read_committed consumer sees, the ledger and the journals, against what the gateway sent."""

from __future__ import annotations

import functools
import io
import itertools
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import fastavro
import msgspec

from bridge import dedupe
from bridge.codec import SINGLE_OBJECT, fingerprint
from bridge.dedupe import TRIPLE
from bridge.frame import STREAM, Disposition, Frame
from bridge.ledger import FIRST, PLAN, READY
from bridge.pipeline import MAX_VALUE
from bridge.route import Ways
from tests.model import schemas
from tests.model.service import DEAD_LETTERS, GAPS, LEDGER, entry_codec, route
from tests.model.world import EPOCH

if TYPE_CHECKING:
    from bridge.ledger import Entry
    from tests.model.broker import Broker, Stored, Transaction
    from tests.model.gateway import Emission, Feed
    from tests.model.process import Record

_EVENT: Final = "event"
#: Whether a gap where nothing was missed is a broken promise. Not yet: a process that takes over may still record outages
#: of its own through which the active received.
NEEDLESS: Final = False


@dataclass
class Published:
    """One data record. entry: of its transaction. late: it says that a standby brought it."""

    stored: Stored
    emission: Emission
    entry: Entry
    late: bool
    collision: bool


@dataclass
class Evidence:
    """What is left of a run when it is over. window: ms."""

    broker: Broker
    feed: Feed
    records: list[Record]
    window: int


def judge(evidence: Evidence) -> list[str]:
    """Say what is wrong; nothing, if all promises hold."""
    return list(dict.fromkeys(_Oracle(evidence).judge()))


class _Oracle:
    def __init__(self, evidence: Evidence) -> None:
        self.feed = evidence.feed
        self.emissions = evidence.feed.emissions
        self.records = evidence.records
        self.window = evidence.window
        self.wrong: list[str] = []
        self.by_raw = {each.raw: each for each in self.emissions}
        self._triples: dict[int, tuple[int, int] | None] = {}
        self.entries: list[tuple[Stored, Entry]] = []
        self.published: list[Published] = []
        #: Frames that are dead letters, and when each was stored (ms).
        self.dead: list[tuple[Emission, int]] = []
        self.gaps: list[dict[str, Any]] = []
        #: entity → what was last published of it; and the states of which the ledger rightly says that they were the same
        self._last: dict[str, tuple[str, ...]] = {}
        self._unchanged: set[int] = set()
        self._states_by_triple = {self._triple(each): each for each in self.emissions if each.kind == "state"}
        self._read(evidence.broker)
        self.alike = {each.emission.alike for each in self.published if each.emission.alike is not None}
        self._places = {record.id: _places(record, self.by_raw) for record in self.records}
        self.numbers = {each.emission.number for each in self.published}

    def judge(self) -> list[str]:
        """All checks."""
        for record in self.records:
            self.wrong += record.damage
        self._duplicates()
        self._dead_letters()
        self._states()
        self._order()
        self._collisions()
        self._journals()
        self._lost()
        self._gaps()
        return self.wrong

    def say(self, what: str) -> None:
        """Note a broken promise."""
        self.wrong.append(what)

    # Reading

    def _read(self, broker: Broker) -> None:
        """Take the committed transactions apart, in their order."""
        found: dict[int, list[Stored]] = {}
        for partition in broker.partitions.values():
            for stored in partition.log:
                if stored.transaction is not None and stored.transaction.outcome:
                    found.setdefault(id(stored.transaction), []).append(stored)
        for transaction in broker.committed:
            self._transaction(transaction, sorted(found.get(id(transaction), []), key=lambda each: each.serial))

    def _transaction(self, transaction: Transaction, stored: list[Stored]) -> None:
        entries = [each for each in stored if each.topic == LEDGER]
        # A plan of lanes is told in every partition at once.
        told = [entry_codec().decode(each.value) for each in entries]
        plan = {entry.kind for entry in told} <= {PLAN, READY, FIRST} and not any(entry.codes for entry in told)
        if not entries or (len(entries) > 1 and not plan):
            self.say(f"transaction {transaction.number} has {len(entries)} ledger entries")
            return
        entry = told[0]
        self.entries += zip(entries, told, strict=True)
        data: list[Published] = []
        dead: list[Emission] = []
        for each in stored:
            if each.topic == GAPS:
                self.gaps.append(_gap(each))
            elif each.topic == DEAD_LETTERS:
                found = self.by_raw.get(each.value)
                if found is None:
                    self.say(f"a dead letter that nobody sent: {each.value!r}")
                else:
                    dead.append(found)
            elif each.topic != LEDGER:
                data.append(self._data(each, entry))
        self.published += data
        self.dead += [(each, entries[0].at) for each in dead]
        self._agree(entry, data, dead)

    def _data(self, stored: Stored, entry: Entry) -> Published:
        value = _decode(stored.topic, stored.value)
        emission = self.emissions[value["meta"]["n"]]
        kind = stored.headers["type"].decode()
        if (kind, stored.key.decode()) != (emission.type, emission.key):
            self.say(f"{emission.number} is published as {kind} of {stored.key!r}")
        if stored.headers["source"] not in {b"stream", b"standby"}:
            self.say(f"{emission.number} has the source {stored.headers['source']!r}")
        late = stored.headers["source"] == b"standby"
        return Published(stored, emission, entry, late, stored.headers.get("collision") == b"1")

    def _agree(self, entry: Entry, data: list[Published], dead: list[Emission]) -> None:
        """Records and ledger entry say the same."""
        codes = [code & dedupe.DISPOSITION_MASK for code in entry.codes]
        hashes = list(TRIPLE.iter_unpack(entry.hashes))
        if len(codes) != len(hashes):
            self.say(f"an entry has {len(codes)} codes and {len(hashes)} hashes")
            return
        left = iter(data)
        for code, each in zip(codes, hashes, strict=True):
            if code == Disposition.PUBLISHED and (record := next(left, None)) is not None:
                self._last[_entity(record.emission)] = record.emission.says
                continue
            found = self._states_by_triple.get(each[:2])
            if code == Disposition.UNCHANGED and found and self._last.get(_entity(found)) == found.says:
                self._unchanged.add(found.number)
        told = [tuple(each[:2]) for code, each in zip(codes, hashes, strict=True) if code == Disposition.PUBLISHED]
        held = [self._triple(each.emission) for each in data]
        if told != held:
            self.say(
                f"ledger and records differ: {[each.emission.number for each in data]} published, {len(told)} told"
            )
        if codes.count(Disposition.DEAD_LETTER) != len(dead):
            self.say(f"{len(dead)} dead letters, {codes.count(Disposition.DEAD_LETTER)} told")

    def _triple(self, emission: Emission) -> tuple[int, int] | None:
        """Identity and content hash of a frame, by the schemas of version 1 whichever version published it."""
        if emission.number not in self._triples:
            try:
                found = _ways().sight(Frame(schemas.GATEWAY, "", 0, STREAM, emission.raw))
            except Exception:  # noqa: BLE001 - a bad frame has none
                found = None
            self._triples[emission.number] = None if found is None else (found.identity, found.content)
        return self._triples[emission.number]

    # Promises

    def _duplicates(self) -> None:
        seen: dict[Any, Published] = {}
        for each in self.published:
            alike = each.emission.alike
            if alike is None:
                continue
            if alike in seen and each.stored.at - seen[alike].stored.at < self.window // 2:
                first = seen[alike].entry
                self.say(f"duplicate: {alike} by {first.instance[:6]} and by {each.entry.instance[:6]}")
            seen[alike] = each

    def _dead_letters(self) -> None:
        seen: dict[int, int] = {}
        for emission, at in self.dead:
            if emission.kind not in {"bad", "refused"}:
                self.say(f"dead letter of a good frame {emission.number}")
            if emission.number in seen and at - seen[emission.number] < self.window // 2:
                self.say(f"dead letter twice: {emission.number}")
            seen[emission.number] = at
        for each in self.published:
            if each.emission.kind in {"bad", "refused"}:
                self.say(f"published although {each.emission.kind}: {each.emission.number}")

    def _states(self) -> None:
        """States of an entity never go back, whoever published them, and none is said twice in a row.

        Both within the window: beyond it nobody knows what was published. Where the gateway's time does not tell which of
        two states is newer, a process that never received the newer one can't know.
        """
        for entity, chain in self._chains.items():
            for before, after in itertools.pairwise(chain):
                near = after.stored.at - before.stored.at < self.window // 2
                knew = self._places.get(after.entry.journal, {}).get(before.emission.alike)
                told = after.emission.sent < before.emission.sent or after.entry.journal == before.entry.journal
                if (
                    near
                    and after.emission.number <= before.emission.number
                    and (told or (after.late and knew is not None and knew[2] < after.stored.at))
                ):
                    self.say(
                        f"stale state: {entity} {after.emission.number} after {before.emission.number}"
                        f"{' (late)' if after.late else ''}"
                    )
                if near and after.emission.says == before.emission.says:
                    self.say(f"unchanged state published: {entity} {after.emission.number} as {before.emission.number}")

    @functools.cached_property
    def _chains(self) -> dict[str, list[Published]]:
        chains: dict[str, list[Published]] = defaultdict(list)
        for each in self.published:
            if each.emission.kind == "state":
                chains[_entity(each.emission)].append(each)
        return chains

    def _order(self) -> None:
        """Per topic and key in the order in which the publishing process received, what a standby brought excepted."""
        logs: dict[tuple[str, str], list[Published]] = defaultdict(list)
        first: dict[Any, Published] = {}
        for each in self.published:
            if each.emission.kind == _EVENT:
                logs[each.stored.topic, each.emission.key].append(each)
                first.setdefault(each.emission.alike, each)
        for log in logs.values():
            for number, each in enumerate(log):
                if first[each.emission.alike] is not each:
                    continue  # once more, beyond the window: whether it may be is judged elsewhere
                own = self._places.get(each.entry.journal, {})
                mine = own.get(each.emission.alike)
                if mine is None:
                    continue
                for other in log[:number]:
                    place = own.get(other.emission.alike)
                    same = other.entry.journal == each.entry.journal
                    # Where it stood first may have been lost with the machine: then it came again.
                    known = place is not None and not (same and place[0] >= (other.entry.position or 0))
                    if place is None or not known or place[0] < mine[0]:
                        continue
                    if same or not (each.late or other.stored.at < mine[1]):
                        self.say(f"out of order: {each.emission.number} after {other.emission.number}")

    def _collisions(self) -> None:
        """The second content of a number says so, as long as the window knows the first."""
        seen: dict[tuple[str, int], int] = {}
        for each in self.published:
            if each.emission.seq is None or each.emission.type == schemas.SETTLED:
                continue
            key = (each.emission.type, each.emission.seq)
            before = seen.get(key)
            near = before is not None and each.stored.at - before < self.window // 2
            if (near and not each.collision) or (before is None and each.collision):
                self.say(f"collision header of {each.emission.number} is {each.collision}")
            seen[key] = each.stored.at

    def _journals(self) -> None:
        """Whatever stands in a journal that was not lost is disposed of."""
        dead = {emission.number for emission, _ in self.dead}
        for record in self.records:
            if record.lost:
                continue
            for position, frame in record.received().items():
                emission = self.by_raw[frame.raw]
                if emission.kind == "state":
                    if not (
                        self._represented(emission)
                        or self._was_unchanged(emission, frame.received)
                        or self._superseded(emission, record, position, frame.received)
                    ):
                        self.say(f"missing state: {emission.number} of {_entity(emission)} in {record.name}")
                elif emission.kind in {"bad", "refused"}:
                    if emission.number not in dead:
                        self.say(f"missing dead letter: {emission.number} in {record.name}")
                elif emission.alike not in self.alike:
                    self.say(f"missing: {emission.number} in {record.name}")

    def _represented(self, emission: Emission) -> bool:
        """Published, or equal to what was published before or after it."""
        if emission.number in self.numbers | self._unchanged or (
            emission.alike in self.alike and emission.alike is not None
        ):
            return True
        told = self._chains.get(_entity(emission), [])
        chain = sorted(told, key=lambda each: each.emission.number)
        if told != chain:  # one came late: which was the last published for whom can't be told from here
            return any(each.emission.says == emission.says for each in told)
        before = [each for each in chain if each.emission.number < emission.number][-1:]
        after = [each for each in chain if each.emission.number > emission.number][:1]
        return any(each.emission.says == emission.says for each in before + after)

    def _was_unchanged(self, emission: Emission, received: int) -> bool:
        """Whether it said what was last published when it came; a standby that is ahead of the active can't know more."""
        told = [each for each in self._chains.get(_entity(emission), []) if each.stored.at <= received]
        return bool(told) and told[-1].emission.says == emission.says

    def _superseded(self, emission: Emission, record: Record, position: int, received: int) -> bool:
        """Whether another process disposed of a newer state of the entity before this journal passed the frame."""
        newer = {
            self._triple(each)
            for each in self.emissions
            if each.number > emission.number and _entity(each) == _entity(emission)
        }
        told = {Disposition.PUBLISHED, Disposition.UNCHANGED}
        for stored, entry in self.entries:
            if entry.journal == record.id:
                # A machine that crashed gives positions away twice.
                if entry.position is not None and entry.position > position and stored.at >= received:
                    return False
            elif any(
                code & dedupe.DISPOSITION_MASK in told and each[:2] in newer
                for code, each in zip(entry.codes, TRIPLE.iter_unpack(entry.hashes), strict=True)
            ):
                return True
        return False

    def _lost(self) -> None:
        """A frame that is nowhere lies within a recorded gap."""
        known: set[int] = {each.number for each, _ in self.dead} | self.numbers
        for record in self.records:
            if not record.lost:
                known |= {self.by_raw[each.raw].number for each in record.received().values()}
        began: dict[str, int] = {}
        for stored, entry in self.entries:
            for connection in entry.connections:
                if connection.up or connection.last_frame is not None:  # before, nobody had ever listened
                    began.setdefault(connection.connection, stored.at)
        spans = self._spans()
        for emission in self.emissions:
            if emission.snapshot or emission.number in known or emission.alike in self.alike:
                continue
            if emission.kind == "state" and self._represented(emission):
                continue
            points = [EPOCH + point * 1000 for point in emission.points]
            # Where the gateway does not say when it sent, a slow line looks like a quick one: it was under way all the time.
            under_way = [(point, point) for point in points] if emission.sent else [(min(points), max(points))]
            covered = any(
                begin - 1 <= until and since <= end + 1
                for name in emission.carried
                for begin, end in spans.get(name, [])
                for since, until in under_way
            )
            # There, a connection that came up meanwhile seems to have come up before it was sent.
            hidden = not emission.sent and any(
                flow.connection in emission.carried and min(points) <= flow.begin <= max(points)
                for flow in self.feed.flowed
            )
            promised = any(points[0] > began[name] for name in emission.carried if name in began)
            if promised and not covered and not hidden:
                self.say(
                    f"lost without a gap: {emission.number} sent at {emission.at:.4f} on {sorted(emission.carried)}"
                )

    def _spans(self) -> dict[str, list[tuple[int, float]]]:
        last = {gap["id"]: gap for gap in self.gaps}
        spans: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for gap in last.values():
            spans[gap["connection"]].append((gap["from"], float("inf") if gap["to"] is None else gap["to"]))
        return spans

    def _gaps(self) -> None:
        """Each word on a gap is said once, each gap is closed in the end, and none is where nothing was missed."""
        known: dict[str, tuple[Any, ...]] = {}
        for gap in self.gaps:
            name, to = gap["id"], gap["to"]
            word = (to, gap["state"], gap["recovered"], gap["superseded"], gap["how"])
            if known.get(name) == word:
                self.say(f"gap recorded twice: {name} {gap['state']} {to}")
            if to is not None and name not in known:
                self.say(f"gap closed that was never opened: {name}")
            known[name] = word
        if NEEDLESS:
            self._needless()

    def _needless(self) -> None:
        """No gap lies where the active process received all the time."""
        active: list[tuple[str, int, int]] = []
        for instance, entries in itertools.groupby(self.entries, key=lambda each: each[1].instance):
            times = [stored.at for stored, _ in entries]
            active.append((instance, times[0], times[-1]))
        for gap in {each["id"]: each for each in self.gaps}.values():
            if gap["to"] is None:
                self.say(f"gap never closed: {gap['id']} {gap['cause']}")
                continue
            within = {name for name, begin, end in active if begin < gap["from"] <= gap["to"] < end}
            for flow in self.feed.flowed:
                same = flow.connection == gap["connection"] and flow.instance in within
                if same and flow.begin < gap["from"] and gap["to"] < flow.end:
                    self.say(f"a gap where nothing was missed: {gap['id']} {gap['cause']} to {gap['to']}")


def _entity(emission: Emission) -> str:
    return f"{emission.type.partition('.')[0]} {emission.entity}"


def _places(record: Record, by_raw: dict[bytes, Emission]) -> dict[Any, tuple[int, int, int]]:
    """What makes a frame → where it first stands in the journal, when it came, and when it could be read there (ms)."""
    found: dict[Any, tuple[int, int, int]] = {}
    for position, frame in sorted(record.received().items()):
        when = record.when.get(position, frame.received)
        found.setdefault(by_raw[frame.raw].alike, (position, frame.received, when))
    return found


@functools.cache
def _ways() -> Ways:
    return Ways(route(1), seq_scope="global", max_value=MAX_VALUE)


@functools.cache
def _readers() -> dict[bytes, Any]:
    """Framing → schema, of both versions."""
    found: dict[bytes, Any] = {}
    for version in (1, 2):
        kind = schemas.kind(version)
        for each in (*kind.types.values(), kind.unknown):
            found[SINGLE_OBJECT + fingerprint(each.schema)] = fastavro.parse_schema(
                msgspec.json.decode(each.schema_json)
            )
    return found


def _decode(_topic: str, value: bytes) -> Any:
    return fastavro.schemaless_reader(io.BytesIO(value[10:]), _readers()[value[:10]], None)


@functools.cache
def _gap_schema() -> Any:
    return fastavro.parse_schema(dict(schemas.catalog(1).own("gap")))


def _gap(stored: Stored) -> dict[str, Any]:
    found: Any = fastavro.schemaless_reader(io.BytesIO(stored.value), _gap_schema(), None)
    for name in ("from", "to"):
        if found[name] is not None:
            found[name] = round(found[name].timestamp() * 1000)
    return dict(found)
