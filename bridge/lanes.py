"""Which lane a frame belongs to.

``lane = murmur2(x) mod count``, with x the key that the frame itself carries, else its own entity, else the gateway's name
(design section 8). Never a looked-up key and never a connection's hint: what another process, or this one a moment later,
has learned must not move a frame to another lane, where nobody knows what was published of it.

Pure. With one lane nothing is asked of a frame.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import msgspec

from bridge.errors import BadData
from bridge.frame import EVENT, Frame, fills
from bridge.ledger import Keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bridge.route import Ways

#: A lane that gets no frame of a connection hears this often (ms) that the connection flows, or every gap would seem to
#: begin at the lane's own last frame.
SEEN_EVERY: Final = 1000
#: How the event of a frame that was moved begins.
MOVED: Final = b'{"event":"moved"'
_M: Final = 0x5BD1E995
_SEED: Final = 0x9747B28C
_MASK: Final = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """The positive 31 bits of Kafka's murmur2 (``Utils.toPositive(Utils.murmur2(data))`` of the Java client)."""
    size = len(data)
    h = _SEED ^ size
    whole = size & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * _M & _MASK
        h = (h * _M & _MASK) ^ ((k ^ k >> 24) * _M & _MASK)
    if size > whole:
        h = (h ^ int.from_bytes(data[whole:], "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return (h ^ h >> 15) & 0x7FFFFFFF


@lru_cache(maxsize=1 << 16)
def lane_of(key: str, count: int) -> int:
    """The lane of a key, of `count` lanes. The same few keys come again and again."""
    return murmur2(key.encode(errors="surrogatepass")) % count


class Router:
    """Spreads frames over the lanes of this process. ways: of each gateway. span: of the window (ms)."""

    def __init__(self, *, count: int, held: Iterable[int], ways: Mapping[str, Ways], span: int) -> None:
        """held: the lanes that this process takes part in; frames of others are dropped."""
        self._count = count
        self._held = tuple(held)
        self._ways = ways
        self._span = span
        self._keys = Keys()
        self._noted: dict[tuple[str, str], int] = {}

    def spread(self, frames: Sequence[Frame]) -> dict[int, list[Frame]]:
        """Return the frames of each lane held, in the order received.

        What happened to a connection is everybody's. So is an id that a frame teaches, since the frames that need it may
        be another lane's.
        """
        found: dict[int, list[Frame]] = {lane: [] for lane in self._held}
        flowed: dict[tuple[str, str], int] = {}
        for frame in frames:
            inner = unwrap(frame)
            if inner.source == EVENT:
                for part in found.values():
                    part.append(frame)
                continue
            ways = self._ways.get(inner.gateway)
            key, learned = ways.place(inner.raw) if ways is not None else (None, ())
            home = lane_of(key or inner.gateway, self._count)
            if home in found:
                found[home].append(frame)
            if learned:
                self._teach(found, home, inner, learned)
            if inner is frame and not fills(frame):
                flowed[frame.gateway, frame.connection] = frame.received
        for connection, at in flowed.items():
            self._note(found, connection, at)
        return found

    def _teach(
        self, found: dict[int, list[Frame]], home: int, frame: Frame, learned: Sequence[tuple[str, str]]
    ) -> None:
        """Tell the other lanes what a frame of lane `home` teaches, where it is new."""
        fresh = {
            known: key
            for known, key in learned
            if self._keys.learn(frame.gateway, known, key, frame.received, span=self._span)
        }
        if fresh:
            raw = msgspec.json.encode({"event": "learn", "pairs": fresh})
            for lane, part in found.items():
                if lane != home:
                    part.append(Frame(frame.gateway, "", frame.received, EVENT, raw))

    def _note(self, found: dict[int, list[Frame]], connection: tuple[str, str], at: int) -> None:
        """Tell the lanes that got nothing of a connection that it flows."""
        if at - self._noted.get(connection, 0) < SEEN_EVERY:
            return
        self._noted[connection] = at
        gateway, name = connection
        for part in found.values():
            if not any((frame.gateway, frame.connection) == connection for frame in part):
                part.append(Frame(gateway, name, at, EVENT, _SEEN))


_SEEN: Final = msgspec.json.encode({"event": "seen"})


class Origin(msgspec.Struct, frozen=True):
    """Where a frame stood that was moved from the journal of another plan.

    journal: its id. position: the frame's. openings: of the journal, as `bridge.ledger.Memory.resume` needs them.
    """

    journal: str
    position: int
    openings: tuple[tuple[int, str], ...] = ()


class Moved(msgspec.Struct, frozen=True):
    """The raw text of the event that holds a frame which was moved."""

    event: str
    origin: Origin
    frame: Frame


def wrap(frame: Frame, origin: Origin) -> Frame:
    """An event that holds a frame of another journal: whoever reads it can tell whether the frame is disposed of."""
    raw = msgspec.json.encode(Moved("moved", origin, frame))
    return Frame(frame.gateway, frame.connection, frame.received, EVENT, raw)


def moved(raw: bytes) -> Moved:
    """Read the event back. Raises BadData for another event."""
    try:
        return _MOVED.decode(raw)
    except msgspec.DecodeError as error:
        raise BadData("is no frame that was moved", where="journal") from error


def unwrap(frame: Frame) -> Frame:
    """The frame that was moved, however often it was; any other is itself."""
    while frame.source == EVENT and frame.raw.startswith(MOVED):
        frame = moved(frame.raw).frame
    return frame


_MOVED: Final = msgspec.json.Decoder(Moved)


def roles(lanes: list[tuple[int, str]]) -> str:
    """What a process does: one word where it does the same in all lanes."""
    found: dict[str, list[str]] = {}
    for lane, role in lanes:
        found.setdefault(role, []).append(str(lane))
    if len(found) == 1:
        return next(iter(found))
    return ", ".join(
        f"{role} in lane{'s' if len(those) > 1 else ''} {' '.join(those)}" for role, those in sorted(found.items())
    )
