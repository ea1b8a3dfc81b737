"""Proves or refutes, from what is in Kafka, that each record was published once, in order and with its ledger entry.

Pure: `Verifier` is fed with ledger entries and with the records of the topics, then `Verifier.judge` says what is wrong. What
it compares are links (`bridge.link`): an entry names each record of its transaction, in the order produced. So

* a link with more records than entries is a *duplicate*; so is a frame that the ledger itself has published twice within
  the window, by its identity and content hash (design section 7: rows of REST and collisions have other hashes);
* a record without a link is *outside* the ledger: somebody else wrote it;
* a link without a record is *missing*;
* the records of one topic, key and lane that do not lie in the order of their links are out of *order*. That order is the
  journal's, the order received; what a standby or a recovery published late comes late in the ledger too. The header
  ``received`` would be a worse witness: two processes have two clocks, and two connections are read one after the other.

Memory: 24 bytes a record, which is 24 MB a million (32 where times matter: in a span, or where the ledger's beginning was
deleted), and the little that `limit` allows the three spools (`bridge.spool`); these go on in temporary files, 48 bytes a
record. Matching takes a dictionary over a 128th of that at a time.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import Counter, defaultdict, deque
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

import xxhash

from bridge import dedupe
from bridge.dedupe import TRIPLE
from bridge.frame import Disposition
from bridge.link import BITS, Linker, unpacked
from bridge.sequence import Copies, longest
from bridge.spool import PARTS, Spool
from bridge.verdict import Kind, Span, Verdict, Violation

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from bridge.ledger import Entry

#: Pairs that each spool keeps in memory: 4 MB.
LIMIT: Final = 250_000
#: A frame may come again after so much of the window: how far a writer's own window reaches back depends on its slices.
WINDOW: Final = 63 / 64


class Place:
    """One partition as read; feed it in the order of offsets.

    deleted: its beginning was deleted, as retention does. compacted: any record but the last of a key may be deleted.
    """

    def __init__(
        self,
        topic: str,
        partition: int,
        *,
        deleted: bool,
        compacted: bool,
        timed: bool,
        base: int,
        records: Spool,
        linker: Linker,
    ) -> None:
        """Nothing was read. base: the number of its first record."""
        self.topic = topic
        self.partition = partition
        self.deleted = deleted
        self.compacted = compacted
        self._timed = timed
        self.offsets = array("Q")
        self.keys = array("Q")
        self.received = array("Q")
        #: For each record which link of the ledger it is; -1: none.
        self.ordinals = array("q")
        self._number = base
        self._put = records.put
        self._link = linker.link

    def record(self, offset: int, key: bytes, value: bytes, received: int) -> None:
        """Take the next record. received: ms since the epoch; forgotten where times do not matter."""
        self._put(self._link(self.topic, key, value), self._number)
        self._number += 1
        self.offsets.append(offset)
        self.keys.append(xxhash.xxh3_64_intdigest(key))
        if self._timed:
            self.received.append(received)


class Verifier:
    """Holds ledger and topics against each other; close it, or use it as a context.

    ledger: the topic's name. window (ms) and identities: what dedupe promises to remember. limit: see the module. aside: topics
    that transactions write to and that are not judged.
    """

    def __init__(
        self,
        *,
        ledger: str,
        linker: Linker,
        window: int,
        identities: int,
        span: Span | None = None,
        limit: int = LIMIT,
        aside: Collection[str] = (),
    ) -> None:
        """Nothing was read."""
        self._aside = {linker.tag(topic) for topic in aside}
        self._span = span or Span()
        self._linker = linker
        self._entries = _Entries(ledger)
        self._window = int(window * WINDOW)
        self._identities = identities - 2 * dedupe.SLICE_IDENTITIES
        self._places: list[Place] = []
        self._links = Spool(limit=limit)
        self._records = Spool(limit=limit)
        self._frames = Spool(limit=limit)
        #: Links and ordinals without a record.
        self._left = array("Q")
        self._copies: list[Copies] = []
        #: Number of a record → the copies it is one of.
        self._choices: dict[int, Copies] = {}
        self._verdict = Verdict()
        self._lanes: set[int] = set()
        #: The last entry (ms, the writer's clock) that has frames and no links.
        self.unlinked_until: int | None = None

    def entry(self, partition: int, offset: int, at: int, entry: Entry, *, edge: bool = False) -> None:
        """Take the next entry of a ledger partition. at: the broker's time (ms).

        edge: it may be that its records were not read; they are known, but not looked for.
        """
        if not entry.codes and not entry.links:
            return
        strict = not edge and self._span.holds(at)
        put, first = self._frames.put, len(self._frames)
        codes = Counter(code & dedupe.DISPOSITION_MASK for code in entry.codes)
        for code, (identity, content, _) in zip(entry.codes, TRIPLE.iter_unpack(entry.hashes), strict=True):
            if code & dedupe.IDENTIFIED and code & dedupe.DISPOSITION_MASK in _PUBLISHED:
                put(identity ^ (content * _ODD & _MASK) if code & dedupe.CONTENT else identity, len(self._frames))
        links = unpacked(entry.links)
        if strict:
            self._verdict.entries += 1
            self._verdict.frames.update({Disposition(code): count for code, count in codes.items()})
        outcomes = codes[Disposition.PUBLISHED] + codes[Disposition.DEAD_LETTER]
        if not links and outcomes:
            self._verdict.unlinked += strict
            self.unlinked_until = max(self.unlinked_until or 0, entry.at)
        self._lanes.add(partition)
        self._entries.add(
            links=len(self._links),
            frames=first,
            at=at,
            partition=partition,
            offset=offset,
            strict=strict,
            plain=outcomes == len(self._frames) - first == len(links),
        )
        for ordinal, link in enumerate(links, len(self._links)):
            self._links.put(link, ordinal)

    def place(
        self, topic: str, partition: int, *, timed: bool, deleted: bool = False, compacted: bool = False
    ) -> Place:
        """Return what takes the records of a partition; see `Place`.

        timed: when they were received matters: in a span of time, or where `judge` is told when the ledger begins.
        """
        place = Place(
            topic,
            partition,
            deleted=deleted,
            compacted=compacted,
            timed=timed,
            base=len(self._places) << _POSITIONS,
            records=self._records,
            linker=self._linker,
        )
        self._places.append(place)
        return place

    def judge(self, *, begin: int | None = None) -> Verdict:
        """Say what is wrong; to be asked once, when all is read.

        begin: records received before (ms) may have had entries that were not read; None: every record must have one.
        """
        verdict = self._verdict
        verdict.records = len(self._records)
        for place in self._places:
            place.ordinals = array("q", [-1]) * len(place.offsets)
        for part in range(PARTS):
            self._match(part, begin)
        self._choices = {number: copies for copies in self._copies for number in copies.numbers}
        for place in self._places:
            self._order(place)
        for copies in self._copies:
            self._surplus(copies)
        self._missing()
        self._repeated()
        verdict.violations.sort(key=lambda each: (each.kind, each.topic, each.partition, each.offset))
        return verdict

    def close(self) -> None:
        """Let go of memory and temporary files."""
        for spool in (self._links, self._records, self._frames):
            spool.close()

    def __enter__(self) -> Self:
        """The verifier itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def _match(self, number: int, begin: int | None) -> None:
        """Give the records of one part their links; what has none is a copy or stands outside."""
        part = _Part(*self._links.part(number), *self._records.part(number))
        waiting = _waiting(part)
        places = self._places
        without: list[tuple[int, int]] = []
        for link, record in zip(part.records, part.numbers, strict=True):
            taken = waiting.pop(link, None)
            if taken is None:
                without.append((link, record))
                continue
            if not isinstance(taken, int):
                if len(taken) > 1:
                    waiting[link] = taken
                taken = taken.popleft()
            places[record >> _POSITIONS].ordinals[record & _POSITION] = taken
        for link, left in waiting.items():
            for ordinal in (left,) if isinstance(left, int) else left:
                self._left.append(link)
                self._left.append(ordinal)
        if without:
            self._without(part, without, begin)

    def _without(self, part: _Part, without: Sequence[tuple[int, int]], begin: int | None) -> None:
        """Tell copies of what was published from records that the ledger does not know."""
        known = set(part.links)
        groups = {link: Copies([], []) for link, _ in without if link in known}
        for link, number in without:
            if link in groups:
                continue
            place, position = self._places[number >> _POSITIONS], number & _POSITION
            received = place.received[position] if place.received else 0
            if begin is not None and received < begin:
                self._verdict.older += 1
            elif self._span.holds(received):
                self._verdict.add(_blame(Kind.OUTSIDE, place, position, "no ledger entry knows it"))
        if groups:
            for link, ordinal in zip(part.links, part.ordinals, strict=True):
                if link in groups:
                    groups[link].ordinals.append(ordinal)
            for link, number in zip(part.records, part.numbers, strict=True):
                if link in groups:
                    groups[link].numbers.append(number)
            self._copies += groups.values()

    def _order(self, place: Place) -> None:
        """Compare the order of one partition with the ledger's, key by key and lane by lane."""
        last: dict[int, int] = {}
        suspects: set[int] = set()
        lane_of = self._entries.partition if len(self._lanes) > 1 else None
        keys = place.keys
        if lane_of is not None:
            keys = array("Q", keys)
            for position, ordinal in enumerate(place.ordinals):
                if ordinal >= 0:
                    keys[position] ^= (lane_of(ordinal) + 1) * _ODD & _MASK
        for key, ordinal in zip(keys, place.ordinals, strict=True):
            if ordinal >= 0:
                if last.get(key, -1) < ordinal:
                    last[key] = ordinal
                else:
                    suspects.add(key)
        self._verdict.keys += len(last)
        self._verdict.linked += sum(1 for ordinal in place.ordinals if ordinal >= 0)
        if suspects:
            self._displaced(place, keys, suspects)

    def _displaced(self, place: Place, keys: array[int], suspects: set[int]) -> None:
        """Find the fewest records whose removal leaves the keys in order, and which of two copies is the second."""
        base, entries = self._places.index(place) << _POSITIONS, self._entries
        sequences: dict[int, list[tuple[int, list[int]]]] = defaultdict(list)
        for position, (key, ordinal) in enumerate(zip(keys, place.ordinals, strict=True)):
            copies = self._choices.get(base + position)
            if copies is None:
                if ordinal >= 0 and key in suspects:
                    sequences[key].append((position, [ordinal]))
            # A copy without an ordinal has no lane: its key is that of the record it copies.
            elif (twin := self._twin(copies) - base) in range(len(keys)) and keys[twin] in suspects:
                sequences[keys[twin]].append((position, copies.ordinals))
        for sequence in sequences.values():
            for position, ordinal in self._late(sequence, base):
                if entries.strict(ordinal):
                    text = f"not where {entries.name(ordinal)} has it among the records of its key"
                    self._verdict.add(_blame(Kind.ORDER, place, position, text))

    def _late(self, sequence: Sequence[tuple[int, list[int]]], base: int) -> list[tuple[int, int]]:
        """The records of a sequence that are out of place, and their ordinals; tells its copies which of them fit."""
        kept = longest(sequence)
        late = []
        found = {}
        for position, ordinals in sequence:
            copies = self._choices.get(base + position)
            if copies is not None:
                found[id(copies)] = copies
            if position not in kept:
                if copies is None:
                    late.append((position, ordinals[0]))
                else:
                    copies.late.append(base + position)
        for copies in found.values():
            late += [(number - base, copies.ordinals[0]) for number in copies.settle()]
        return late

    def _twin(self, copies: Copies) -> int:
        """The first of the copies that has an ordinal."""
        places = self._places
        return next(each for each in copies.numbers if places[each >> _POSITIONS].ordinals[each & _POSITION] >= 0)

    def _surplus(self, copies: Copies) -> None:
        """Blame the records that are more than the ledger published."""
        if not any(self._entries.strict(ordinal) for ordinal in copies.ordinals):
            return
        surplus = copies.surplus()
        first = next(number for number in copies.numbers if number not in surplus)
        twin = self._places[first >> _POSITIONS]
        at = f"{twin.topic}[{twin.partition}]@{twin.offsets[first & _POSITION]}"
        for number in surplus:
            place = self._places[number >> _POSITIONS]
            self._verdict.add(_blame(Kind.DUPLICATE, place, number & _POSITION, f"the same as {at}"))

    def _missing(self) -> None:
        """Blame the entries whose records are not there, where they can't have been deleted."""
        names = {self._linker.tag(place.topic): place.topic for place in self._places}
        since = self._deleted()
        for link, ordinal in zip(self._left[::2], self._left[1::2], strict=True):
            entry = self._entries.of(ordinal)
            if not self._entries.stricts[entry] or link >> BITS in self._aside:
                continue
            topic = names.get(link >> BITS)
            if topic is None:
                self._verdict.strange += 1
            elif self._entries.ats[entry] <= since.get(topic, -1):
                self._verdict.deleted[topic] += 1
            else:
                self._verdict.add(
                    Violation(
                        kind=Kind.MISSING,
                        topic=self._entries.topic,
                        partition=self._entries.partitions[entry],
                        offset=self._entries.offsets[entry],
                        text=f"record {ordinal - self._entries.links[entry]} of this entry is not in {topic}",
                    )
                )

    def _deleted(self) -> dict[str, int]:
        """Topic → until when (ms, the broker's time of the ledger) its records may have been deleted.

        A link does not tell the partition, so the topic's is that of its partition which begins last.
        """
        found: dict[str, int] = {}
        for place in self._places:
            if place.deleted or place.compacted:
                first = next((each for each in place.ordinals if each >= 0), None) if not place.compacted else None
                until = _FOREVER if first is None else self._entries.ats[self._entries.of(first)]
                found[place.topic] = max(until, found.get(place.topic, -1))
        return found

    def _repeated(self) -> None:
        """Find frames that the ledger published twice within the window."""
        entries = self._entries
        again = [pair for part in range(PARTS) for pair in self._pairs(part)]
        wanted = {each for one, two in again for each in (one, two)}
        places = self._locate({ordinal: each for each in wanted if (ordinal := entries.ordinal(each)) is not None})
        for one, two in again:
            entry = entries.of_frame(two)
            other = places.get(one)
            text = "the ledger had published this frame before"
            text += f", as {_at(*other)}" if other else f", in {entries.title(entries.of_frame(one))}"
            if two in places:
                self._verdict.add(_blame(Kind.DUPLICATE, *places[two], text))
            else:
                self._verdict.add(
                    Violation(
                        kind=Kind.DUPLICATE,
                        topic=entries.topic,
                        partition=entries.partitions[entry],
                        offset=entries.offsets[entry],
                        text=text,
                    )
                )

    def _pairs(self, part: int) -> Iterator[tuple[int, int]]:
        """Yield the numbers of two frames that are one, the earlier first."""
        entries = self._entries
        hashes, numbers = self._frames.part(part)
        if len(set(hashes)) == len(hashes):
            return
        groups: dict[int, list[int]] = defaultdict(list)
        for known, number in zip(hashes, numbers, strict=True):
            groups[known].append(number)
        for group in groups.values():
            timed = sorted((entries.ats[entries.of_frame(number)], number) for number in group)
            for (before, one), (at, two) in pairwise(timed):
                first, second = entries.of_frame(one), entries.of_frame(two)
                # In one lane so many frames may lie between that the first was forgotten.
                same = entries.partitions[first] == entries.partitions[second]
                many = same and two - one > max(self._identities, 1)
                if entries.stricts[second] and at - before < self._window and not many:
                    yield one, two

    def _locate(self, wanted: dict[int, int]) -> dict[int, tuple[Place, int]]:
        """wanted: ordinal → frame. Returns frame → its record."""
        found = {}
        if wanted:
            for place in self._places:
                for position, ordinal in enumerate(place.ordinals):
                    if ordinal in wanted:
                        found[wanted[ordinal]] = place, position
        return found


#: How many of the lower bits of a record's number say where in its partition it lies; those above say which that is.
_POSITIONS: Final = 40
_POSITION: Final = (1 << _POSITIONS) - 1
_MASK: Final = (1 << 64) - 1
#: Any odd number with many bits: multiplied by it, equal hashes no longer cancel each other.
_ODD: Final = 0x9E3779B97F4A7C15
_FOREVER: Final = 1 << 62
_PUBLISHED: Final = frozenset({int(Disposition.PUBLISHED), int(Disposition.DEAD_LETTER)})


class _Part(NamedTuple):
    """A part of the spools: links and their ordinals, links of records and the records' numbers."""

    links: array[int]
    ordinals: array[int]
    records: array[int]
    numbers: array[int]


def _waiting(part: _Part) -> dict[int, int | deque[int]]:
    """Link → its ordinal, or its ordinals where equal records were published, as a state may come back without a number."""
    waiting: dict[int, int | deque[int]] = {}
    for link, ordinal in zip(part.links, part.ordinals, strict=True):
        known = waiting.setdefault(link, ordinal)
        if known != ordinal:
            if isinstance(known, int):
                known = waiting[link] = deque((known,))
            known.append(ordinal)
    return waiting


class _Entries:
    """Where and when the entries lie; 38 bytes each."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        #: Number of the first link, and of the first frame.
        self.links = array("Q")
        self.frames = array("Q")
        self.ats = array("Q")
        self.partitions = array("I")
        self.offsets = array("Q")
        self.stricts = bytearray()
        #: Whether each of its links is that of its frames, in order.
        self._plain = bytearray()

    def add(self, *, links: int, frames: int, at: int, partition: int, offset: int, strict: bool, plain: bool) -> None:
        self.links.append(links)
        self.frames.append(frames)
        self.ats.append(at)
        self.partitions.append(partition)
        self.offsets.append(offset)
        self.stricts.append(strict)
        self._plain.append(plain)

    def of(self, ordinal: int) -> int:
        """The entry of a link. One without links has the same number as the next."""
        return bisect_right(self.links, ordinal) - 1

    def of_frame(self, frame: int) -> int:
        """The entry of a frame."""
        return bisect_right(self.frames, frame) - 1

    def ordinal(self, frame: int) -> int | None:
        """The link of a frame; None where that can't be told."""
        entry = self.of_frame(frame)
        return self.links[entry] + frame - self.frames[entry] if self._plain[entry] else None

    def strict(self, ordinal: int) -> bool:
        return bool(self.stricts[self.of(ordinal)])

    def partition(self, ordinal: int) -> int:
        return self.partitions[self.of(ordinal)]

    def title(self, entry: int) -> str:
        return f"{self.topic}[{self.partitions[entry]}]@{self.offsets[entry]}"

    def name(self, ordinal: int) -> str:
        return self.title(self.of(ordinal))


def _blame(kind: Kind, place: Place, position: int, text: str) -> Violation:
    return Violation(kind=kind, topic=place.topic, partition=place.partition, offset=place.offsets[position], text=text)


def _at(place: Place, position: int) -> str:
    return f"{place.topic}[{place.partition}]@{place.offsets[position]}"
