"""Finds what decides the lane of a frame, without reading the rest of it.

Compiled once from the schemas' ``bridge`` attributes: one structure with the few members that any type's key, entity and
learned ids come from. What it finds is what `bridge.route.Ways` would find by reading the whole frame, at a quarter of
the price, which counts: every process places every frame, on the thread that receives.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.catalog import FrameType, Kind

#: A path that can be read so has a root, ``data`` or ``meta``, and a name.
_STEPS: Final = 2
_LEAF: Final[Any] = str | int | None


class Placer:
    """See the module. kind: of the gateway."""

    def __init__(self, kind: Kind) -> None:
        """Compile the structure."""
        types = [*kind.types.values(), kind.unknown]
        paths = {path for each in types for path in (*each.key, *each.entity)}
        paths |= {path for each in types for pair in each.learn for path in pair}
        names = {
            root: sorted({path[1] for path in paths if _plain(path) and path[0] == root}) for root in ("data", "meta")
        }
        # The members of a flat envelope lie beside type and data.
        beside = [] if kind.nested else names["meta"]
        roots = {"data": _struct("Data", names["data"])} | (
            {"meta": _struct("Meta", names["meta"])} if kind.nested else {}
        )
        members: list[str | tuple[str, Any] | tuple[str, Any, Any]] = [("type", str)]
        members += [(root, part, msgspec.field(default_factory=part)) for root, part in roots.items()]
        members += [(f"beside_{place}", _LEAF, None) for place in range(len(beside))]
        rename = {f"beside_{place}": name for place, name in enumerate(beside)}
        whole = msgspec.defstruct("Whole", members, rename=rename, gc=False)
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(whole).decode
        places: dict[tuple[str, ...], str] = {("meta", name): f"beside_{place}" for place, name in enumerate(beside)}
        for root in roots:
            places |= {(root, name): f"{root}.f{place}" for place, name in enumerate(names[root])}
        self._types = {name: _Way(each, places) for name, each in kind.types.items()}
        self._other = _Way(kind.unknown, places)

    def find(self, raw: bytes) -> tuple[str, str | None, Sequence[tuple[str, str]] | None] | None:
        """(type, key or entity, (id, key) pairs that it teaches) of a frame; None where it can't be read so.

        No pairs but None: the type teaches ids that only a whole reading finds.
        """
        try:
            raw.decode()  # what is skipped is not looked at, and a frame that is no text has no key
            whole = self._decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        way = self._types.get(whole.type, self._other)
        if not way.plain:
            return None
        key = next((str(value) for get in way.keys if _says(value := get(whole))), None)
        if way.pairs is None:
            return whole.type, key, None
        pairs = []
        for known, belongs in way.pairs:
            one, other = known(whole), belongs(whole)
            if _says(one) and _says(other):
                pairs.append((str(one), str(other)))
        return whole.type, key, pairs


#: Takes a member out of the structure.
Get = Callable[[Any], str | int | None]


class _Way:
    """How the members of one type are got. plain: all that decides its lane can be. pairs: None where they can't be."""

    def __init__(self, frame_type: FrameType, places: dict[tuple[str, ...], str]) -> None:
        paths = (*frame_type.key, *frame_type.entity)
        self.plain = all(_plain(path) for path in paths)
        self.keys: list[Get] = [attrgetter(places[path]) for path in paths if _plain(path)]
        self.pairs: list[tuple[Get, Get]] | None = None
        if all(_plain(path) for pair in frame_type.learn for path in pair):
            self.pairs = [(attrgetter(places[known]), attrgetter(places[key])) for known, key in frame_type.learn]


def _says(value: str | int | None) -> bool:
    return value is not None and value != ""


def _plain(path: tuple[str, ...]) -> bool:
    return len(path) == _STEPS


def _struct(name: str, members: Sequence[str]) -> type[msgspec.Struct]:
    """A structure with these members. Anything but a string, an integer or null in their place is for a longer reading."""
    return msgspec.defstruct(
        name,
        [(f"f{place}", _LEAF, None) for place in range(len(members))],
        rename={f"f{place}": member for place, member in enumerate(members)},
        gc=False,
    )
