"""What the JSON values at one place are like: their types, ranges and how many differ, in bounded memory.

Pure. A place is a member of an object, or all elements of an array; objects and arrays have places inside, so `Values` is a
tree. It grows with the names that a gateway uses, not with the number of values, and no further than its `Budget`.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec
import xxhash

if TYPE_CHECKING:
    from collections.abc import Mapping

#: JSON types as told here; a number is an integer where it is written without fraction and exponent.
INTEGER: Final = "integer"
NUMBER: Final = "number"
STRING: Final = "string"
BOOLEAN: Final = "boolean"
ARRAY: Final = "array"
OBJECT: Final = "object"
NULL: Final = "null"

#: Values of a place that are told one by one while there are no more, and characters of the longest that is.
FEW: Final = 6
SHORT: Final = 24
#: Members of an object that are told apart, and how deep objects and arrays may lie in each other.
CROWD: Final = 64
DEPTH: Final = 6
#: Characters of a name, and digits of a number, that are kept: a hostile gateway may send megabytes of either.
LONG: Final = 200
#: Hashes kept to tell how many values differ: exact up to so many, then right within a fifth, mostly.
SKETCH: Final = 32
_HASHES: Final = 1 << 64
_BITS: Final = LONG * 3


class Budget:
    """How many more places may be made."""

    def __init__(self, places: int) -> None:
        """All of them are left."""
        self.left = places

    def take(self) -> bool:
        """Whether there was one left."""
        if self.left <= 0:
            return False
        self.left -= 1
        return True


class Values:
    """What was seen at one place.

    kinds: JSON type → how often. least, most: of its numbers. shortest, longest: characters of its strings. few: its values
    as JSON text, None once there were more than `FEW` or long ones. members: name → place, of its objects; others: what
    further members held, once there were more than `CROWD`. items: the elements of its arrays. vast: some number had more digits
    than are kept, and is in none of the others.
    """

    __slots__ = (
        "_sketch", "few", "items", "kinds", "least", "longest", "members", "most", "others", "shortest", "vast",
    )  # fmt: skip

    def __init__(self) -> None:
        """Nothing was seen."""
        self.kinds: Counter[str] = Counter()
        self.least: int | Decimal | None = None
        self.most: int | Decimal | None = None
        self.shortest: int | None = None
        self.longest: int | None = None
        self.few: set[str] | None = set()
        self.members: dict[str, Values] = {}
        self.others: Values | None = None
        self.items: Values | None = None
        self.vast = False
        self._sketch: set[int] = set()

    @property
    def seen(self) -> int:
        """How many values there were that are not null."""
        return self.kinds.total() - self.kinds[NULL]

    @property
    def differing(self) -> int:
        """About how many of its strings and numbers differ; exact below `SKETCH`."""
        if len(self._sketch) < SKETCH:
            return len(self._sketch)
        return max(SKETCH, round((SKETCH - 1) * _HASHES / (max(self._sketch) + 1)))

    def note(self, kind: str) -> None:
        """Take a value of which only its type matters."""
        self.kinds[kind] += 1

    def take(self, value: Any, budget: Budget, *, depth: int = 0) -> None:
        """Take a value as `parse` gives it. depth: how many objects and arrays it lies in."""
        kind = kind_of(value)
        self.kinds[kind] += 1
        if kind == STRING:
            self._string(value)
        elif kind in {INTEGER, NUMBER}:
            if isinstance(value, int) and value.bit_length() > _BITS:
                self.vast = True
                return
            text = str(value)
            if len(text) > LONG:
                self.vast = True
                return
            self.least = value if self.least is None else min(self.least, value)
            self.most = value if self.most is None else max(self.most, value)
            self._tell(text)
        elif kind == ARRAY and depth < DEPTH:
            if value and self.items is None and budget.take():
                self.items = Values()
            if self.items is not None:
                for each in value:
                    self.items.take(each, budget, depth=depth + 1)
        elif kind == OBJECT and depth < DEPTH:
            self._object(value, budget, depth + 1)

    def _string(self, text: str) -> None:
        size = len(text)
        self.shortest = size if self.shortest is None else min(self.shortest, size)
        self.longest = size if self.longest is None else max(self.longest, size)
        if size > SHORT:
            self.few = None
        self._tell(text)

    def _tell(self, text: str) -> None:
        if self.few is not None:
            self.few.add(text)
            if len(self.few) > FEW:
                self.few = None
        found = xxhash.xxh3_64_intdigest(text.encode(errors="surrogatepass"))
        if len(self._sketch) < SKETCH:
            self._sketch.add(found)
        elif found not in self._sketch and found < (largest := max(self._sketch)):
            self._sketch.discard(largest)
            self._sketch.add(found)

    def _object(self, members: Mapping[str, Any], budget: Budget, depth: int) -> None:
        for name, value in members.items():
            place = self.members.get(name)
            if place is None:
                if len(self.members) < CROWD and len(name) <= LONG and budget.take():
                    place = self.members[name] = Values()
                else:
                    place = self.others = self.others or Values()
            place.take(value, budget, depth=depth)


def parse(text: str | bytes) -> Any:
    """JSON text as Python values, numbers exact. Raises ValueError for what is no JSON, or deeper than can be read."""
    try:
        return _DECODE(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error


def kind_of(value: Any) -> str:
    """The JSON type of a value as `parse` gives it."""
    return _KINDS[type(value)]


_DECODE: Final = msgspec.json.Decoder(float_hook=Decimal).decode
_KINDS: Final[Mapping[type, str]] = {
    type(None): NULL,
    bool: BOOLEAN,
    int: INTEGER,
    Decimal: NUMBER,
    str: STRING,
    list: ARRAY,
    dict: OBJECT,
}
