"""The audit: what is published, held against what must be.

For each frame that the oracle expects there must be one record, in each layout, with the right topic, key, partition,
headers, timestamp and schema, every JSON value of the frame in it and nothing else; a dead letter has the frame's bytes.
Records of one topic and key lie in the order in which their frames were sent. Nothing else may be there.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

from bridge.sim import Expected, Sent, expected
from tests.audit.contract import CONTRACTS, Contract, Frame, why_dead
from tests.audit.exact import Schema, differences, freeze
from tests.audit.published import Published, Schemas

#: A record with more differences than this from each frame that has none is not taken for any of them.
_ALIKE: Final = 4
#: Faults that are looked into one by one; where there are more, the first tell enough.
_MANY: Final = 20

DEAD: Final = "dead-letters"


class Fault(NamedTuple):
    """One thing that is wrong.

    what: ``missing``, ``twice``, ``unexpected``, ``order``, ``topic``, ``key``, ``partition``, ``header``,
    ``timestamp``, ``schema``, ``value`` or ``ledger``. where: topic, partition and offset, or the frame. detail: for a person.
    """

    what: str
    where: str
    detail: str


class Wanted(NamedTuple):
    """One record that must be there. place: of its frame among all that were sent; tree: see `Frame.normal`."""

    place: int
    record: Expected
    frame: Frame | None
    key: bytes

    @property
    def raw(self) -> bytes:
        """The frame's bytes."""
        return self.record.sent.raw


class _Decoded(NamedTuple):
    """A record with its schema and the JSON tree that it stands for."""

    one: Published
    schema: Schema
    tree: dict[str, Any]


class Audit:
    """Of one gateway.

    gateway: the user's name for it. kind: the simulators' name for its kind. prefix, layouts: of the topics. sent: all
    frames written to the one connection that fed the bridge, in order. schemas: by layout. partitions: key → partition,
    as Kafka's Java client has it, for all keys at once. began, ended: ms since the epoch, around the run. parallel: `sent`
    is of several connections at once (no frame of one is equal to another's), and only those of each are in order.
    """

    def __init__(
        self,
        *,
        gateway: str,
        kind: str,
        prefix: str,
        sent: Sequence[Sent],
        schemas: Mapping[str, Schemas],
        partitions: Callable[[Sequence[bytes]], Sequence[int]],
        began: int,
        ended: int,
        parallel: bool = False,
    ) -> None:
        """Ask the oracle what must have become of the frames."""
        self.gateway = gateway
        self.prefix = prefix
        self.schemas = schemas
        self.wanted = list(_wanted(CONTRACTS[kind], gateway, list(sent)))
        self._contract = CONTRACTS[kind]
        self._types = {self._contract.record_name(name): name for name in (*self._contract.rules, "unknown")}
        self._began, self._ended = began, ended
        self._parallel = parallel
        self._texts: dict[tuple[int, int], str] = {}
        keys = sorted({each.key for each in self.wanted})
        self._partitions = dict(zip(keys, partitions(keys), strict=True))

    def topics(self, layout: str) -> set[str]:
        """The topics that records of a layout may lie in."""
        types = [*self._contract.rules, "unknown"]
        return {self._contract.topic(self.prefix, self.gateway, each, layout=layout) for each in types}

    @property
    def dead_letters(self) -> str:
        """The topic of the dead letters."""
        return f"{self.prefix}{self.gateway}.{DEAD}"

    def owns(self, topic: str) -> bool:
        """Whether a topic is this gateway's."""
        return topic == self.dead_letters or any(topic in self.topics(layout) for layout in self.schemas)

    def faults(self, published: Iterable[Published]) -> list[Fault]:
        """Everything that is wrong, in no order that matters; empty: the bridge has kept its promises."""
        mine: dict[str, list[Published]] = defaultdict(list)
        for one in published:
            mine[one.topic].append(one)
        faults = list(self._dead_letter_faults(mine[self.dead_letters]))
        for layout, schemas in self.schemas.items():
            records = [one for topic in self.topics(layout) for one in mine.get(topic, ())]
            faults += self._record_faults(layout, schemas, records)
        return faults

    # Records

    def _record_faults(self, layout: str, schemas: Schemas, records: Sequence[Published]) -> Iterator[Fault]:
        decoded: list[_Decoded] = []
        for one in records:
            try:
                decoded.append(_Decoded(one, *self._tree(schemas, one)))
            except ValueError as error:
                yield Fault("schema", _place(one), str(error))
        paired: list[tuple[Wanted, Published]] = []
        yield from self._pair(decoded, paired, layout)
        paired.sort(key=lambda pair: pair[0].place)
        for each, one in paired:
            assert each.frame is not None
            topic = self._contract.topic(self.prefix, self.gateway, each.frame.type, layout=layout)
            if one.topic != topic:
                yield Fault("topic", _place(one), f"belongs to {topic}")
            yield from self._envelope_faults(each, one, self._headers(each))
        yield from self._order_faults(paired)

    def _pair(
        self, decoded: Sequence[_Decoded], paired: list[tuple[Wanted, Published]], layout: str
    ) -> Iterator[Fault]:
        """Find the frame of each record and put both into `paired`."""
        by_type = {self._types[each.schema.name]: each.schema for each in decoded}
        due: dict[str, deque[Wanted]] = defaultdict(deque)
        for wanted in self.wanted:
            if wanted.frame is not None and wanted.record.outcome != "dead_letter":
                schema = by_type.get(wanted.frame.type if wanted.frame.known else "unknown")
                due[self._frozen(wanted.place, wanted.frame, schema)].append(wanted)
        taken: dict[str, str] = {}
        strangers = []
        for each in decoded:
            frozen = freeze(each.tree)
            if due.get(frozen):
                paired.append((due[frozen].popleft(), each.one))
                taken[frozen] = _place(each.one)
            elif frozen in taken:
                yield Fault("twice", _place(each.one), f"the same as {taken[frozen]}")
            else:
                strangers.append(each)
        left = sorted((wanted for queue in due.values() for wanted in queue), key=lambda wanted: wanted.place)
        for each in strangers:
            found = self._alike(each.schema, each.tree, left) if len(strangers) <= _MANY else None
            if found is None:
                detail = f"no frame that was sent looks like {freeze(each.tree)[:200]}"
                yield Fault("unexpected", _place(each.one), detail)
                continue
            twin, differing = found
            left.remove(twin)
            paired.append((twin, each.one))
            yield from (Fault("value", _place(each.one), line) for line in differing)
        for wanted in left:
            yield Fault("missing", f"frame {wanted.place}", f"no record in layout {layout} of {wanted.raw[:200]!r}")

    def _tree(self, schemas: Schemas, one: Published) -> tuple[Schema, dict[str, Any]]:
        """(schema, JSON tree) of a record; see `Frame.normal`."""
        schema, record = schemas.decode(one.topic, one.value)
        kinds = schema.fields()
        meta = schema.json(record["meta"], kinds["meta"])
        name = self._types.get(schema.name)
        if name is None:
            raise ValueError(f"no type of this gateway has the schema {schema.name}")
        if name == "unknown":
            return schema, {"type": record["data"]["type"], "meta": meta, "json": record["data"]["json"]}
        return schema, {"type": name, "meta": meta, "data": schema.json(record["data"], kinds["data"])}

    def _frozen(self, place: int, frame: Frame, schema: Schema | None) -> str:
        """The text by which a frame is known in a record of `schema`; "" where no record has that schema."""
        if schema is None:
            return ""
        found = self._texts.get((place, id(schema)))
        if found is None:
            found = self._texts[place, id(schema)] = freeze(frame.normal(schema))
        return found

    @staticmethod
    def _alike(schema: Schema, tree: dict[str, Any], left: Sequence[Wanted]) -> tuple[Wanted, list[str]] | None:
        """The frame without a record that a stranger is most like, and where they differ."""
        best: tuple[Wanted, list[str]] | None = None
        for each in left:
            if each.frame is not None and each.frame.type == tree["type"]:
                differing = list(islice(differences(each.frame.normal(schema), tree), _ALIKE + 1))
                if len(differing) <= _ALIKE and (best is None or len(differing) < len(best[1])):
                    best = each, differing
        return best

    def _headers(self, each: Wanted) -> dict[str, bytes]:
        assert each.frame is not None
        headers = {"type": each.frame.type.encode(), "source": b"stream"}
        if each.frame.seq is not None:
            headers["seq"] = each.frame.seq.encode()
        if each.record.collision:
            headers["collision"] = b"1"
        return headers

    # Dead letters

    def _dead_letter_faults(self, records: Sequence[Published]) -> Iterator[Fault]:
        wanted = {each.raw: each for each in self.wanted if each.record.outcome == "dead_letter"}
        paired: dict[bytes, Published] = {}
        for one in records:
            if one.value in paired:
                yield Fault("twice", _place(one), f"the same as {_place(paired[one.value])}")
            elif one.value not in wanted:
                yield Fault("unexpected", _place(one), f"no frame that was sent has the bytes {one.value[:200]!r}")
            else:
                paired[one.value] = one
        for each in wanted.values():
            if each.raw not in paired:
                yield Fault("missing", f"frame {each.place}", f"no dead letter of {each.raw[:200]!r}")
        pairs = sorted(((wanted[raw], one) for raw, one in paired.items()), key=lambda pair: pair[0].place)
        for each, one in pairs:
            yield from self._envelope_faults(each, one, self._dead_headers(each), free=("detail",))
        yield from self._order_faults(pairs)

    def _dead_headers(self, each: Wanted) -> dict[str, bytes]:
        reason, path = why_dead(each.record.sent.fault or "", each.frame)
        headers = {"gateway": self.gateway.encode(), "reason": reason.encode()}
        if path is not None:
            headers["path"] = path.encode()
        if each.frame is not None:
            headers["type"] = each.frame.type.encode()
        return headers

    # What both have

    def _envelope_faults(
        self, each: Wanted, one: Published, headers: Mapping[str, bytes], *, free: tuple[str, ...] = ()
    ) -> Iterator[Fault]:
        """Key, partition, headers, timestamp. free: headers whose text is not given, but must be one line."""
        place = _place(one)
        if one.key != each.key:
            yield Fault("key", place, f"{one.key!r} instead of {each.key!r}")
        elif one.partition != self._partitions[each.key]:
            yield Fault("partition", place, f"Java puts {each.key!r} into {self._partitions[each.key]}")
        found = dict(one.headers)
        if len(found) != len(one.headers):
            yield Fault("header", place, f"one of {[name for name, _ in one.headers]} comes twice")
        found.pop("received", None)
        received = _received(one)
        if received is None or not self._began <= received <= self._ended:
            yield Fault("header", place, f"received {dict(one.headers).get('received')!r} is no time of this run")
            received = None
        for name in free:
            text = (found.pop(name, None) or b"").decode()
            if not text or len(text.splitlines()) != 1:
                yield Fault("header", place, f"{name} {text!r} is not one line")
        if found != headers:
            yield Fault("header", place, f"{found} instead of {dict(headers)}")
        if received is not None:
            yield from self._timestamp_faults(each, one, received)

    def _timestamp_faults(self, each: Wanted, one: Published, received: int) -> Iterator[Fault]:
        right = received
        if each.record.outcome != "dead_letter" and each.frame is not None:
            right = each.frame.timestamp(received, received)
        if not one.created or one.timestamp != right:
            yield Fault("timestamp", _place(one), f"{one.timestamp} instead of {right}")

    def _order_faults(self, paired: Sequence[tuple[Wanted, Published]]) -> Iterator[Fault]:
        """Per topic and key as sent, so offsets rise; and no frame was received before one that was sent earlier."""
        last: dict[tuple[int, str, bytes], Published] = {}
        for each, one in paired:
            if one.key != each.key or one.partition != self._partitions[each.key]:
                continue
            place = (self._line(each), one.topic, each.key)
            before = last.get(place)
            if before is not None and before.offset > one.offset:
                yield Fault("order", _place(one), f"its frame was sent after that of {_place(before)}")
            last[place] = one
        latest: dict[int, int] = defaultdict(int)
        for each, one in paired:
            line, received = self._line(each), _received(one)
            if received is None or not self._began <= received <= self._ended:
                continue
            if received < latest[line]:
                yield Fault("order", _place(one), f"received {received}, an earlier frame {latest[line]}")
            latest[line] = max(latest[line], received)

    def _line(self, each: Wanted) -> int:
        """What a frame is in order with: all, or those of its connection."""
        return each.record.sent.connection if self._parallel else 0


def stray_faults(audits: Sequence[Audit], own: Iterable[str], published: Iterable[Published]) -> list[Fault]:
    """Records in topics that are neither a gateway's nor of `own`, the bridge's own topics."""
    known = set(own)
    return [
        Fault("unexpected", _place(one), "no topic of this installation")
        for one in published
        if one.topic not in known and not any(audit.owns(one.topic) for audit in audits)
    ]


def _lengths(entry: Mapping[str, Any]) -> Iterator[str]:
    """What has not the length that the number of frames gives it."""
    if len(entry["hashes"]) != 24 * len(entry["codes"]):
        yield "not 24 bytes of hashes for each frame"
    if len(entry["orders"]) != 8 * sum(bool(code & 0x08) for code in entry["codes"]):
        yield "not 8 bytes of order for each state"


def ledger_faults(topic: str, published: Iterable[Published], *, disposed: int) -> list[Fault]:
    """What is wrong with the ledger of a run of one process that has ended gracefully.

    disposed: how many frames were published or became dead letters; the entries must tell of just so many.
    """
    schemas = Schemas.shipped()
    faults, entries = [], []
    for one in published:
        if one.topic != topic:
            continue
        try:
            schema, entry = schemas.decode(topic, one.value)
        except ValueError as error:
            faults.append(Fault("schema", _place(one), str(error)))
            continue
        if schema.name != "feedbridge.bridge.LedgerEntry":
            faults.append(Fault("ledger", _place(one), f"{schema.name} is no ledger entry"))
            continue
        entries.append((one, entry))
        faults += [Fault("ledger", _place(one), what) for what in _lengths(entry)]
        if one.created:
            faults.append(Fault("ledger", _place(one), "its time is not the broker's"))
    positions = [entry["position"] for _, entry in entries if entry["position"] is not None]
    if positions != sorted(positions):
        faults.append(Fault("ledger", topic, "its positions go back"))
    kinds = _since_ready([entry["kind"] for _, entry in entries])
    if kinds[:1] != ["FIRST"] or kinds[-1:] != ["RESIGN"]:
        faults.append(Fault("ledger", topic, f"it begins with {kinds[:1]} and ends with {kinds[-1:]}"))
    told = sum(sum(code & _DISPOSITION in _KEPT for code in entry["codes"]) for _, entry in entries)
    if told != disposed:
        faults.append(
            Fault("ledger", topic, f"it tells of {told} frames, {disposed} were published or became dead letters")
        )
    return faults


def _since_ready(kinds: list[str]) -> list[str]:
    """What comes after the plan of lanes was made."""
    return kinds[kinds.index("READY") + 1 :] if "READY" in kinds else kinds


#: The low three bits of a code say what became of the frame: 0 is published, 2 a dead letter.
_DISPOSITION: Final = 0b111
_KEPT: Final = frozenset({0, 2})


def _wanted(contract: Contract, gateway: str, sent: list[Sent]) -> Iterator[Wanted]:
    """What the oracle expects, each with the key it must have; ids are learned as the frames come."""
    due = {id(record.sent): record for record in expected(contract.kind, sent)}
    #: Sent again they have no record, and teach nothing either.
    dead = {record.sent.raw for record in due.values() if record.outcome == "dead_letter"}
    learned: dict[str, str] = {}
    for place, one in enumerate(sent):
        record = due.get(id(one))
        frame = _frame(contract, one)
        if frame is not None and one.fault != "control" and one.raw not in dead:
            frame.learn(learned)
        if record is not None:
            key = gateway.encode()
            if frame is not None:
                find = frame.dead_key if record.outcome == "dead_letter" else frame.key
                key = find(learned, gateway=gateway)
            yield Wanted(place, record, frame, key)


def _frame(contract: Contract, one: Sent) -> Frame | None:
    try:
        return Frame(contract, one.raw)
    except ValueError:
        return None


def _received(one: Published) -> int | None:
    """The header `received`, None where it is no number."""
    text = (dict(one.headers).get("received") or b"").decode(errors="replace")
    return int(text) if text.isdecimal() else None


def _place(one: Published) -> str:
    return f"{one.topic}/{one.partition}@{one.offset}"
