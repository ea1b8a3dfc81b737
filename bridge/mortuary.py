"""Reads what a replay must know from Kafka: dead letters at their places, receipts, the ledger. Blocking calls."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Self

from confluent_kafka.admin import AclOperation

from bridge import kafka, receipt, topic_requests, topics
from bridge.errors import BadData, Refused
from bridge.ledger import EntryCodec
from bridge.proof import Sweep
from bridge.publisher import GivenUp
from bridge.receipt import Place, Receipts
from bridge.topics import Role
from bridge.witness import Laid, Witness, headers_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from confluent_kafka import Message

    from bridge.catalog import Catalog
    from bridge.config import Config
    from bridge.receipt import Outcome
    from bridge.requests import Request
    from bridge.route import Ways

#: Entries of the ledger that are held at once, each up to a hundred kilobytes; and dead letters, up to 16 MiB.
_ENTRIES: Final = 20
_LETTERS: Final = 20


class Mortuary:
    """Of one installation. Use it as a context, or `close` it. Raises the error that says what Kafka refuses."""

    def __init__(self, config: Config, catalog: Catalog, *, give_up: Callable[[], bool] = lambda: False) -> None:
        """Make the clients; nothing is asked yet. give_up: asked while it reads."""
        self._give_up = give_up
        self._config = config
        self._codec = EntryCodec(catalog.own("ledger"), catalog.older("ledger"))
        self._requests = topics.own_name(config, Role.REQUESTS)
        self._sweep = Sweep(config)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Let the clients go."""
        self._sweep.close()

    def _tell(self, _done: int, _whole: int) -> None:
        if self._give_up():
            raise GivenUp("stopped while a replay was prepared", where="kafka")

    def may_write(self) -> None:
        """Raise Refused where the user may not write receipts: a lane that tried would publish nothing at all."""
        found = topic_requests.rights(kafka.Admin(self._config), [self._requests])[self._requests]
        if found is not None and AclOperation.WRITE not in found:
            raise Refused(
                f"the user may not write to topic {self._requests!r}",
                where="kafka",
                mend="grant what `feedbridge topics acls` prints",
            )

    def receipts(self, since: int = 0) -> Receipts:
        """All receipts that are there, of requests from the offset `since` on."""
        places, absent = self._sweep.partitions([self._requests])
        begins, ends = self._sweep.begins(places), self._sweep.ends(places)
        found: list[Message] = []
        if not absent:
            stretches = {place: (max(begins[place], since), ends[place]) for place in places}
            found = [message for _, _, message in self._sweep.read(stretches, self._tell)]
        cut = any(begins.values())
        first = found[0].timestamp()[1] if found else time.time_ns() // 1_000_000
        receipts = Receipts(first if cut else None)
        for message in found:
            value = message.value()
            if receipt.is_receipt(message.headers()) and isinstance(value, bytes):
                try:
                    receipts.take(receipt.decode(value))
                except BadData:
                    continue  # of a version that says more, or nobody's
        return receipts

    def letters(self, gateway: str, wanted: Mapping[int, Iterable[int]]) -> list[Laid]:
        """The dead letters at these places, partition → offsets, in the order received; with those that are not there."""
        topic = topics.dead_letters_name(self._config, gateway)
        places, _ = self._sweep.partitions([topic])
        ours = {place: set(wanted.get(place[1], ())) for place in places}
        ours = {place: offsets for place, offsets in ours.items() if offsets}
        begins, ends = self._sweep.begins(list(ours)), self._sweep.ends(list(ours))
        stretches = {
            place: (max(begins[place], min(offsets)), min(ends[place], max(offsets) + 1))
            for place, offsets in ours.items()
        }
        found: dict[Place, Laid] = {}
        for (_, partition), offset, message in self._sweep.read(stretches, self._tell, many=_LETTERS):
            if offset in wanted.get(partition, ()):
                place = Place(gateway, partition, offset)
                found[place] = laid(place, message)
        every = [Place(gateway, partition, offset) for partition, offsets in wanted.items() for offset in offsets]
        return sorted(
            (found.get(place) or Laid(place=place, value=None) for place in every),
            key=lambda each: (each.received, each.place),
        )

    def witness(self, letters: Iterable[Laid], receipts: Receipts, ways: Ways, *, older: bool = False) -> Witness:
        """Judge letters of one gateway by what receipts and the ledger tell. older: see `Witness.judge`."""
        witness = Witness(letters, receipts, ways)
        since = witness.since
        if since is None:
            return witness
        sweep = self._sweep
        places, _ = sweep.partitions([topics.own_name(self._config, Role.LEDGER)])
        begins, ends = sweep.begins(places), sweep.ends(places)
        # What came once more within the window is the same frame.
        starts = sweep.at(places, since - round(self._config.dedupe.window * 1000) - receipt.MARGIN, ends)
        stretches = {place: (max(starts[place], begins[place]), ends[place]) for place in places}
        first: dict[tuple[str, int], int] = {}
        for place, _, message in sweep.read(stretches, self._tell, many=_ENTRIES):
            at, value = message.timestamp()[1], message.value()
            first.setdefault(place, at)
            witness.take(self._codec.decode(value if isinstance(value, bytes) else b"", message.headers()), at)
        now = time.time_ns() // 1_000_000
        # Where what is read begins with the oldest that is there, and others were deleted, what was before is not known.
        known = [first.get(place, now) for place in places if 0 < begins[place] >= starts[place]]
        witness.judge(max(known, default=0), older=older)
        return witness


class Archive:
    """What `bridge.replayer` asks for, with clients that are there only as long as it asks. give_up: see `Mortuary`."""

    def __init__(self, config: Config, catalog: Catalog, *, give_up: Callable[[], bool]) -> None:
        """Nothing is asked yet."""
        self._open: Callable[[], Mortuary] = lambda: Mortuary(config, catalog, give_up=give_up)

    def check(self) -> None:
        """Raise Refused where receipts can't be written."""
        with self._open() as mortuary:
            mortuary.may_write()

    def receipts(self, since: int = 0) -> Receipts:
        """All receipts of requests from an offset on."""
        with self._open() as mortuary:
            return mortuary.receipts(since)

    def judged(
        self, request: Request, receipts: Receipts, ways: Ways, skip: Collection[Place]
    ) -> list[tuple[Laid, Outcome | None]]:
        """The letters of a request but those to be skipped, in order, with what is known to come of them."""
        with self._open() as mortuary:
            letters = mortuary.letters(request.gateway, request.letters)
            wanted = [each for each in letters if each.place not in skip]
            verdicts = mortuary.witness(wanted, receipts, ways, older=request.older).verdicts
        return [(each, verdicts.get(each.place)) for each in wanted]


def laid(place: Place, message: Message) -> Laid:
    """A record of a topic of dead letters."""
    key, value = message.key(), message.value()
    return Laid(
        place=place,
        value=value if isinstance(value, bytes) else b"",
        key=key.decode(errors="replace") if isinstance(key, bytes) else "",
        headers=headers_of(message.headers()),
    )
