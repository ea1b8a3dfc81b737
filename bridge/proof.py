"""Reads the ledger and all topics of an installation, and has `bridge.verify` prove them.

In this order, so that a running bridge is not accused of what it is about to do: the ledger up to its end, whose entries must
have their records; the topics up to an end asked for after that; the ledger up to an end asked for after that, whose entries
excuse records that were not there before. An end is that of all that was written, and is waited for until no transaction is
open before it: the markers of one transaction reach its partitions one after the other.

A span of time is read with some margin, since records carry the gateway's time and not that of their transaction. What is
suspicious then is looked at again with all there is, so a margin can't refute anything.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from confluent_kafka import IsolationLevel, KafkaError, TopicPartition
from confluent_kafka.admin import OffsetSpec

from bridge import topic_requests, topics
from bridge.errors import ConfigError, Unreachable
from bridge.kafka import HARMLESS_TO_READERS, Admin, Reports, consumer
from bridge.ledger import EntryCodec
from bridge.ledger_reader import LOOK, SETTLING
from bridge.link import Linker
from bridge.tail import Decoder
from bridge.topics import Role
from bridge.verdict import Kind, Span, Verdict, Violation
from bridge.verify import LIMIT, Verifier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from confluent_kafka import Message

    from bridge.catalog import Catalog
    from bridge.config import Config


#: Margins (ms) of a span. What is published has an event time at most 5 minutes ahead.
LEDGER_BEFORE: Final = 10 * 60_000
LEDGER_AFTER: Final = 30 * 60_000
TOPICS_BEFORE: Final = 20 * 60_000
TOPICS_AFTER: Final = 6 * 60_000
#: What two clocks may differ by (ms), where a record's time of receipt is held against the ledger's.
SKEW: Final = 60_000
#: Violations whose records are read again for their keys.
NAMED: Final = 100
#: Seconds without an answer; an open transaction ends within 60.
PATIENCE: Final = 75.0
#: Messages taken at once. An entry of the ledger may have a hundred kilobytes.
_MANY: Final = 500
_ENTRIES: Final = 20
_POLL: Final = 0.1
_MODEST: Final = {"max.partition.fetch.bytes": 128 << 10}

Place: TypeAlias = tuple[str, int]
#: Called with (what is read, records read, about how many there are).
Progress: TypeAlias = "Callable[[str, int, int], None]"


@dataclass(kw_only=True)
class Proof:
    """What was found. verdict: see there. begin: when (ms) the ledger begins; None: it is whole, nothing was deleted.

    dead: (gateway, reason) → dead letters of the span. gaps: the latest record of each gap of the span. absent: topics
    of the configuration that do not exist. seconds: it took.
    """

    verdict: Verdict
    begin: int | None
    dead: Counter[tuple[str, str]] = field(default_factory=Counter)
    gaps: list[dict[str, Any]] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    seconds: float = 0.0


def prove(
    config: Config,
    catalog: Catalog,
    decoder: Decoder,
    *,
    span: Span | None = None,
    progress: Progress | None = None,
    limit: int = LIMIT,
) -> Proof:
    """Read and judge. decoder: for gap records. limit: see `bridge.verify.Verifier`.

    Raises ConfigError where there is no ledger, BadData for an entry that can't be read, Unreachable, Refused.
    """
    began = time.monotonic()
    span = span or Span()
    sweep = Sweep(config)
    try:

        def attempt(*, narrow: bool) -> Proof:
            found = _Try(config, catalog, decoder, sweep=sweep, span=span, progress=progress or _silent, limit=limit)
            return found.run(narrow=narrow)

        proof = attempt(narrow=span != Span())
        if span != Span() and proof.verdict.counts.keys() & {Kind.MISSING, Kind.OUTSIDE}:
            proof = attempt(narrow=False)
        proof.verdict.violations = _named(sweep, proof.verdict.violations, topics.own_name(config, Role.LEDGER))
    finally:
        sweep.close()
    proof.seconds = time.monotonic() - began
    return proof


class Sweep:
    """Reads stretches of partitions, committed records only, as they are. Raises the error that says what Kafka refuses."""

    def __init__(self, config: Config) -> None:
        """Make the clients; nothing is asked yet."""
        self._reports = Reports()
        self._admin = Admin(config)
        # A hundred partitions at a megabyte each would be most of what the proof takes; the user's own settings win.
        modest = config.model_copy(update={"kafka": {**_MODEST, **config.kafka}})
        self._consumer = consumer(modest, role="verify", reports=self._reports)

    def partitions(self, names: Sequence[str]) -> tuple[list[Place], list[str]]:
        """The partitions of those topics that exist, and the others."""
        found = self._admin.metadata().topics
        if hidden := topic_requests.hidden(self._admin, [name for name in names if name not in found]):
            raise topics.unseen(min(hidden))
        places = [(name, number) for name in names if name in found for number in sorted(found[name].partitions)]
        return places, [name for name in names if name not in found]

    def begins(self, places: Sequence[Place]) -> dict[Place, int]:
        """The first offset that is still there."""
        return self._offsets(places, OffsetSpec.earliest())  # type: ignore[no-untyped-call]

    def ends(self, places: Sequence[Place]) -> dict[Place, int]:
        """The offset behind all that was written so far, also by open transactions."""
        return self._offsets(places, OffsetSpec.latest())  # type: ignore[no-untyped-call]

    def at(self, places: Sequence[Place], moment: int, otherwise: Mapping[Place, int]) -> dict[Place, int]:
        """The offset of the first record at or after `moment` (ms); otherwise: where there is none."""
        found = self._offsets(places, OffsetSpec.for_timestamp(moment))
        return {place: offset if offset >= 0 else otherwise[place] for place, offset in found.items()}

    def read(
        self,
        stretches: Mapping[Place, tuple[int, int]],
        tell: Callable[[int, int], None] = lambda _done, _all: None,
        *,
        many: int = _MANY,
    ) -> Iterator[tuple[Place, int, Message]]:
        """Yield place, offset and record, from the first offset to below the second of each partition, mixed.

        tell: called now and then with the records read and the offsets to pass. many: how many are held at once.
        """
        ends = {place: end for place, (start, end) in stretches.items() if start < end}
        whole = sum(ends[place] - stretches[place][0] for place in ends)
        self._consumer.assign([TopicPartition(*place, stretches[place][0]) for place in ends])
        heard, done = time.monotonic(), 0
        while ends:
            messages = self._consumer.consume(many, _POLL)
            tell(min(done, whole), whole)
            if not messages and time.monotonic() - heard > PATIENCE:
                place = next(iter(ends))
                cause = KafkaError(KafkaError._TIMED_OUT, f"{place[0]}[{place[1]}]: no answer in {PATIENCE:g} s")  # noqa: SLF001
                raise self._reports.classify(cause)
            for message in messages:
                error, offset = message.error(), message.offset() or 0
                place = (message.topic() or "", message.partition() or 0)
                end = ends.get(place)
                if end is None:
                    continue
                if error is None:
                    heard = time.monotonic()
                    done += 1
                    if offset < end:
                        yield place, offset, message
                    if offset < end - 1:
                        continue
                elif error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001
                    self._tolerate(error, place[0])
                    continue
                elif offset < end:
                    continue  # the last committed one so far; a transaction is open behind it
                del ends[place]
                self._consumer.incremental_unassign([TopicPartition(*place)])
        tell(whole, whole)
        self._consumer.unassign()

    def close(self) -> None:
        """Let the consumer go."""
        self._consumer.close()

    def _tolerate(self, error: KafkaError, topic: str) -> None:
        verdict = self._reports.classify(error, name=topic)
        if error.code() not in HARMLESS_TO_READERS and not isinstance(verdict, Unreachable):
            raise verdict

    def _offsets(self, places: Sequence[Place], spec: OffsetSpec) -> dict[Place, int]:
        if not places:
            return {}
        asked = {TopicPartition(*place): spec for place in places}
        deadline = time.monotonic() + SETTLING
        while True:
            try:
                futures = self._admin.call(
                    lambda: self._admin.client.list_offsets(asked, isolation_level=IsolationLevel.READ_UNCOMMITTED)
                )
                return {
                    (each.topic, each.partition): self._admin.result(future, name=each.topic).offset
                    for each, future in futures.items()
                }
            except Unreachable:
                # Of a topic that was just made, or whose broker went, the client may know a leader that is none.
                if time.monotonic() >= deadline:
                    raise
                time.sleep(LOOK)


class _Try:
    """One reading of all there is to read."""

    def __init__(
        self,
        config: Config,
        catalog: Catalog,
        decoder: Decoder,
        *,
        sweep: Sweep,
        span: Span,
        progress: Progress,
        limit: int,
    ) -> None:
        self._ledger = topics.own_name(config, Role.LEDGER)
        self._codec = EntryCodec(catalog.own("ledger"), catalog.older("ledger"))
        self._roles = {each.name: each.role for each in topics.plan(config, catalog)}
        self._compacted = "compact" in config.topics.config.get("cleanup.policy", "")
        self._decoder = decoder
        self._sweep = sweep
        self._span = span
        self._progress = progress
        self._gaps: dict[str, dict[str, Any]] = {}
        self._dead: Counter[tuple[str, str]] = Counter()
        self._new: Callable[[], Verifier] = lambda: Verifier(
            ledger=self._ledger,
            linker=Linker(config.topics.prefix),
            window=round(config.dedupe.window * 1000),
            identities=config.dedupe.max_identities,
            span=span,
            limit=limit,
            aside=[topics.own_name(config, Role.REQUESTS)],
        )

    def run(self, *, narrow: bool) -> Proof:
        """Read with the margins of the span, or all there is."""
        sweep = self._sweep
        lanes, missing = sweep.partitions([self._ledger])
        if missing:
            raise ConfigError(
                f"topic {self._ledger!r} does not exist", where="kafka", mend="was `feedbridge run` ever started?"
            )
        with self._new() as verifier:
            begin, read = self._entries(verifier, lanes, narrow=narrow)
            if verifier.unlinked_until is not None:
                begin = max(begin or 0, verifier.unlinked_until)
            absent = self._records(verifier, narrow=narrow, timed=begin is not None or self._span != Span())
            ends = sweep.ends(lanes)
            if not narrow or self._span.until is None:
                self._take(verifier, {place: (read[place], ends[place]) for place in lanes}, edge=True)
            self._progress("judging", 0, 0)
            verdict = verifier.judge(begin=None if begin is None else begin + SKEW)
        gaps = [gap for gap in self._gaps.values() if self._touches(gap)]
        return Proof(verdict=verdict, begin=begin, dead=self._dead, gaps=gaps, absent=absent)

    def _entries(
        self, verifier: Verifier, lanes: Sequence[Place], *, narrow: bool
    ) -> tuple[int | None, dict[Place, int]]:
        """Read the ledger. Returns since when (ms) it is known, None: always; and how far it was read."""
        sweep, since, until = self._sweep, self._span.since, self._span.until
        starts = first = sweep.begins(lanes)
        ends = sweep.ends(lanes)
        if narrow and until is not None:
            ends = sweep.at(lanes, until + LEDGER_AFTER, ends)
        if narrow and since is not None:
            starts = sweep.at(lanes, since - LEDGER_BEFORE, ends)
        heard = self._take(verifier, {place: (starts[place], ends[place]) for place in lanes})
        begins = []
        for place, start in starts.items():
            if start != first[place]:
                begins.append((since or 0) - LEDGER_BEFORE)
            elif start:  # what was before is deleted; perhaps all of it is
                begins.append(heard.get(place[1], _NEVER))
        return max(begins, default=None), ends

    def _take(
        self, verifier: Verifier, stretches: Mapping[Place, tuple[int, int]], *, edge: bool = False
    ) -> dict[int, int]:
        """Give entries to the verifier. Returns partition → when (ms, by its writer's clock) its first entry was made."""
        begins: dict[int, int] = {}
        stretch = self._sweep.read(stretches, lambda done, whole: self._progress("ledger", done, whole), many=_ENTRIES)
        for (_, partition), offset, message in stretch:
            entry = self._codec.decode(_bytes(message.value()), message.headers())
            begins.setdefault(partition, entry.at)
            verifier.entry(partition, offset, message.timestamp()[1], entry, edge=edge)
        return begins

    def _records(self, verifier: Verifier, *, narrow: bool, timed: bool) -> list[str]:
        """Read the topics. Returns those that do not exist."""
        sweep, since, until = self._sweep, self._span.since, self._span.until
        places, absent = sweep.partitions([name for name, role in self._roles.items() if role in _READ])
        starts = first = sweep.begins(places)
        ends = sweep.ends(places)
        if narrow and until is not None:
            ends = sweep.at(places, until + TOPICS_AFTER, ends)
        if narrow and since is not None:
            starts = sweep.at(places, since - TOPICS_BEFORE, ends)
        plain = {place for place in places if self._roles[place[0]] is Role.DATA}
        takers = {
            place: verifier.place(
                *place,
                timed=timed,
                deleted=0 < starts[place] == first[place],
                compacted=self._compacted and place in plain,
            ).record
            for place in places
        }
        stretches = {place: (starts[place], ends[place]) for place in places}
        stretch = sweep.read(stretches, lambda done, whole: self._progress("topics", done, whole))
        for place, offset, message in stretch:
            value = _bytes(message.value())
            received = 0
            if timed or place not in plain:
                headers: dict[str, Any] = dict(message.headers() or ())
                received = _number(headers.get("received")) or message.timestamp()[1]
                if place not in plain and self._span.holds(received):
                    self._note(place[0], headers, value)
            takers[place](offset, _bytes(message.key()), value, received)
        return absent

    def _note(self, topic: str, headers: Mapping[str, Any], value: bytes) -> None:
        """Count a dead letter, or keep a gap."""
        if self._roles[topic] is Role.DEAD_LETTERS:
            self._dead[_text(headers.get("gateway")), _text(headers.get("reason"))] += 1
        else:
            gap = self._decoder.decode(value)[1]
            self._gaps[gap["id"]] = gap

    def _touches(self, gap: Mapping[str, Any]) -> bool:
        """Whether a gap lies in the span, as far as that is known."""
        begin = gap["from"].timestamp() * 1000
        end = gap["to"].timestamp() * 1000 if gap["to"] is not None else None
        return (self._span.until is None or begin <= self._span.until) and (
            self._span.since is None or end is None or end >= self._span.since
        )


#: Later than any record.
_NEVER: Final = 1 << 62
_READ: Final = frozenset({Role.DATA, Role.DEAD_LETTERS, Role.GAPS})


def _named(sweep: Sweep, violations: Sequence[Violation], ledger: str) -> list[Violation]:
    """The violations with the keys of the first of them, whose records are read once more."""
    keys: dict[tuple[str, int, int], bytes] = {}
    for each in violations[:NAMED]:
        if each.topic != ledger:
            stretch = {(each.topic, each.partition): (each.offset, each.offset + 1)}
            for _, _, message in sweep.read(stretch):
                keys[each.topic, each.partition, each.offset] = _bytes(message.key())
    return [replace(each, key=keys.get((each.topic, each.partition, each.offset))) for each in violations]


def _silent(_what: str, _done: int, _whole: int) -> None:
    """Nobody is told."""


def _bytes(given: str | bytes | None) -> bytes:
    return given if isinstance(given, bytes) else b"" if given is None else given.encode()


def _text(given: object) -> str:
    return given.decode(errors="replace") if isinstance(given, bytes) else "" if given is None else str(given)


def _number(given: object) -> int | None:
    text = _text(given)
    return int(text) if text.isascii() and text.isdigit() else None
