"""What is known of dead letters that are to be replayed, beyond what a lane's window tells: whether they were replayed before,
and whether their frames, or newer states, were published since, by all that receipts and ledger still hold.

`Witness` judges, and is pure. It is fed with ledger entries since a window before the oldest letter. What it can't prove it
says is too old: a frame that may have been published since is not published.
"""  # noqa: D205

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bridge import dedupe
from bridge.dedupe import ORDER, TRIPLE, Window
from bridge.errors import BadFrame
from bridge.frame import REPLAY, Frame
from bridge.receipt import MARGIN, Outcome, Place
from bridge.revival import traits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bridge.ledger import Entry
    from bridge.receipt import Receipts
    from bridge.route import AnySighting, Ways

#: More than any ledger tells.
_ALL: Final = 1 << 62


class Laid(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter as its topic holds it. value: None where retention has deleted it, or there is none."""

    place: Place
    value: bytes | None
    key: str = ""
    headers: Mapping[str, str] = {}

    @property
    def received(self) -> int:
        """When its frame was received (ms); 0: it does not say."""
        text = self.headers.get("received", "")
        return int(text) if text.isascii() and text.isdigit() else 0

    @property
    def cut(self) -> bool:
        """Whether it holds only a part of the frame."""
        return "sha256" in self.headers

    def frame(self) -> Frame:
        """Its frame, as it goes through the pipeline."""
        gateway = self.place.gateway
        hint = self.key if self.key != gateway else None
        return Frame(gateway, "", self.received, REPLAY, self.value or b"", hint)


class Witness:
    """Judges the letters of one request. receipts: all there are. ways: of their gateway."""

    def __init__(self, letters: Iterable[Laid], receipts: Receipts, ways: Ways) -> None:
        """Read the frames."""
        self.verdicts: dict[Place, Outcome] = {}
        self._receipts = receipts
        self._open: list[tuple[Laid, AnySighting]] = []
        self._window = Window(span=_ALL, max_identities=_ALL, keep_unchanged=False)
        self._told: list[tuple[int, int, int, tuple[int, int, int], int]] = []
        for letter in letters:
            verdict = self._at_once(letter)
            if verdict is not None:
                self.verdicts[letter.place] = verdict
                continue
            try:
                sighting = ways.sight(letter.frame())
            except BadFrame:
                continue  # the lane says so too
            except Exception:  # noqa: BLE001, S112 - a bug of ours: the lane meets it too, and says so
                continue
            if sighting is not None:
                self._open.append((letter, sighting))
        wanted = [(each.identity, each.content, each.entity) for _, each in self._open]
        self._identities = frozenset(each[0] for each in wanted)
        self._contents = frozenset(each[1] for each in wanted)
        self._entities = frozenset(each[2] for each in wanted)
        self._wanted = self._identities | self._contents | self._entities

    @property
    def since(self) -> int | None:
        """Since when (ms) ledger entries are needed, but for the window before; None: none is."""
        return min((letter.received for letter, _ in self._open), default=None)

    def take(self, entry: Entry, at: int) -> None:
        """Take an entry of any lane. at: the broker's time (ms)."""
        if not entry.codes or self._wanted.isdisjoint(memoryview(entry.hashes).cast("Q")):
            return
        orders = ORDER.iter_unpack(entry.orders)
        for code, hashes in zip(entry.codes, TRIPLE.iter_unpack(entry.hashes), strict=True):
            order = next(orders, _NONE)[0] if code & dedupe.STATE else 0
            identity, content, entity = hashes
            if identity in self._identities or content in self._contents or entity in self._entities:
                self._told.append((at, len(self._told), code, hashes, order))

    def judge(self, known: int, *, older: bool = False) -> None:
        """Say what is known, in `verdicts`; a letter without one is the lane's to judge.

        known: since when (ms) the entries taken are all there are. older: let events pass that are older than that, though they
        may have come again since and been published.
        """
        #: entity → (when, order) of the newest state that is told of
        states: dict[int, tuple[int, int]] = {}
        for at, _, code, hashes, order in sorted(self._told):
            self._window.remember(code, *hashes, at, order)
            if code & dedupe.STATE:
                before = states.get(hashes[2], (0, 0))
                states[hashes[2]] = max(at, before[0]), max(order, before[1])
        for letter, sighting in self._open:
            verdict = self._verdict(letter, sighting, known, states)
            if verdict is Outcome.OLD and older and not sighting.traits & dedupe.STATE:
                verdict = None
            if verdict is not None:
                self.verdicts[letter.place] = verdict

    def next(self, place: Place) -> Outcome | None:
        """What would come of a letter without a verdict, after those that this was asked of before: None: it would be published."""
        sighting = next(each for letter, each in self._open if letter.place == place)
        code = self._window.admit(traits(sighting), sighting.identity, sighting.content, sighting.entity, _NOW)
        return None if code & dedupe.DISPOSITION_MASK == dedupe.PUBLISHED else Outcome.THERE

    def _at_once(self, letter: Laid) -> Outcome | None:
        """What is known without the ledger."""
        final = self._receipts.final(letter.place)
        if final is not None:
            return Outcome.SUPERSEDED if final is Outcome.SUPERSEDED else Outcome.THERE
        if letter.value is None:
            return Outcome.GONE
        if letter.cut:
            return Outcome.CUT
        return None if letter.received and self._receipts.proves(letter.received) else Outcome.OLD

    def _verdict(
        self, letter: Laid, sighting: AnySighting, known: int, states: Mapping[int, tuple[int, int]]
    ) -> Outcome | None:
        code = self._window.judge(traits(sighting), sighting.identity, sighting.content, sighting.entity)
        disposition = code & dedupe.DISPOSITION_MASK
        if disposition == dedupe.DUPLICATE:
            return Outcome.THERE
        if letter.received < known + MARGIN:
            return Outcome.OLD
        if code & dedupe.STATE and sighting.entity in states:
            at, newest = states[sighting.entity]
            order = sighting.order(letter.received)
            later = at >= letter.received  # where the gateway's own times do not tell
            if newest > order or (newest == order and later) if newest and order else later:
                return Outcome.SUPERSEDED
        return Outcome.THERE if disposition == dedupe.UNCHANGED else None


#: The order of a state in an entry that tells none.
_NONE: Final = (0,)
#: Later (ms) than any entry.
_NOW: Final = 1 << 60


def home(ways: Ways, frame: Frame, count: int, lane_of: Callable[[str, int], int]) -> int:
    """The lane of a frame, of `count`: that to which it would come live."""
    key, _ = ways.place(frame.raw)
    return lane_of(key or frame.gateway, count)


def headers_of(headers: Any) -> dict[str, str]:
    """The headers of a record as text."""
    return {
        name: value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
        for name, value in headers or ()
    }
