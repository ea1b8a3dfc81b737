"""Faults by rate: what goes wrong with frames on their way out, seeded and countable.

The rates are chances per healthy frame, and at most one fault falls on a frame. Some faults are frames of their own,
sent after the healthy one (duplicate, collision, malformed, wrong_type, unknown_type), so that no content of
the world is lost by them; the others change the healthy frame but leave it readable (unknown_field,
missing_field, number_form, large). Which bytes and fields they touch is the dialect's business, see `Dialect`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import Any, Final, Protocol

import msgspec
from msgspec import Raw

from bridge.sim.change import Change, Outgoing

MIB: Final = 1024 * 1024

#: Number texts that a careless reader rounds, rewrites or overflows.
NUMBER_FORMS: Final = (
    "1.10", "1e2", "1E+2", "-0", "-0.0", "0.00000001", "12345678901234567890.123456789", "18446744073709551616",
    "115792089237316195423570985008687907853269984665640564039457584007913129639935", "1.0", "9007199254740993",
)  # fmt: skip


class Faults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Chances per frame, each 0 to 1, together at most 1; `large_bytes` is the size of a large frame.

    Raises ValueError for a rate out of range. `Faults.of` reads a plain mapping (CLI, HTTP).
    """

    duplicate: float = 0.0
    collision: float = 0.0
    malformed: float = 0.0
    wrong_type: float = 0.0
    unknown_type: float = 0.0
    unknown_field: float = 0.0
    missing_field: float = 0.0
    number_form: float = 0.0
    large: float = 0.0
    large_bytes: int = MIB

    def __post_init__(self) -> None:
        """Refuse rates that are no chances."""
        for name, rate in self.rates().items():
            if not 0 <= rate <= 1:
                raise ValueError(f"fault rate {name} must lie between 0 and 1, not {rate}")
        if sum(self.rates().values()) > 1 + 1e-9:
            raise ValueError("fault rates must not exceed 1 in all")
        if self.large_bytes < 1:
            raise ValueError(f"large_bytes must be positive, not {self.large_bytes}")

    @classmethod
    def of(cls, given: Faults | Mapping[str, float] | None) -> Faults:
        """Faults from a mapping of names; raises ValueError for unknown names and bad rates."""
        if isinstance(given, Faults):
            return given
        unknown = set(given or {}) - set(cls.__struct_fields__)
        if unknown:
            raise ValueError(f"unknown fault {min(unknown)!r}; known: {', '.join(cls.__struct_fields__)}")
        return msgspec.convert(dict(given or {}), cls, strict=False)

    def rates(self) -> dict[str, float]:
        """The chances by name, without the sizes."""
        return {name: getattr(self, name) for name in self.__struct_fields__ if name != "large_bytes"}


class Dialect(Protocol):
    """What the injector must know of a gateway's frames. Each answers None where the fault does not fit the frame.

    restamps: whether a redelivered frame carries a new time, or is the same bytes again.
    """

    restamps: bool

    def collide(self, change: Change, rng: Random) -> Change | None:
        """Same identity, other content, which the world itself never sends."""

    def mistype(self, change: Change, rng: Random) -> Change | None:
        """A copy with one known field of a JSON type that the contract rules out."""

    def strange(self, change: Change, rng: Random) -> Change | None:
        """A frame of a type that no contract names, about the same entity."""

    def thin(self, change: Change, rng: Random) -> Change | None:
        """A copy without one optional field."""

    def swell(self, change: Change, size: int) -> Change | None:
        """A copy whose JSON has at least `size` bytes."""

    def may_lag(self, change: Change) -> bool:
        """Whether a repetition is known as one even after newer frames of the same entity."""

    def envelope(self, change: Change, at: int) -> bytes:
        """A well-formed frame of the change, to be spoilt."""


class Injector:
    """Puts faults among outgoing frames; pure but for its own random source.

    The world's random source is not touched: the same seed gives the same world with and without faults.
    """

    def __init__(self, faults: Faults, rng: Random, dialect: Dialect) -> None:
        """Faults by rate, chance from `rng`, fields and bytes by `dialect`."""
        self._rng = rng
        self._dialect = dialect
        self._late: deque[list[Any]] = deque()
        self.set(faults)

    def set(self, faults: Faults) -> None:
        """Other rates from the next frame on."""
        self.faults = faults
        self._table: list[tuple[float, str]] = []
        total = 0.0
        for name, rate in faults.rates().items():
            if rate:
                total += rate
                self._table.append((total, name))

    @property
    def idle(self) -> bool:
        """True while there is nothing to inject, so that callers may skip the work."""
        return not self._table and not self._late

    def pass_through(
        self, changes: Iterable[Change], at: int, number: Callable[[Outgoing], Outgoing]
    ) -> list[Outgoing]:
        """The frames to send for `changes`, in order. `number` gives a new frame its seq; twins share theirs."""
        out: list[Outgoing] = []
        for change in changes:
            draw = self._rng.random()
            fault = next((name for bound, name in self._table if draw < bound), None)
            if fault is None:
                out.append(number(Outgoing(change, at)))
            else:
                out.extend(self._faulty(fault, change, at, number))
            if self._late:
                out.extend(self._due(at))
        return out

    def _faulty(self, fault: str, change: Change, at: int, number: Callable[[Outgoing], Outgoing]) -> list[Outgoing]:
        rng, dialect = self._rng, self._dialect
        if fault in {"unknown_field", "missing_field", "number_form", "large"}:
            changed = self._changed(fault, change)
            return [number(Outgoing(changed or change, at, fault if changed else None))]
        sound = number(Outgoing(change, at))
        match fault:
            case "duplicate":
                lag = rng.choice((0, 0, 1, 3, 20)) if dialect.may_lag(change) else 0
                if lag:
                    self._late.append([lag, sound])
                    return [sound]
                return [sound, sound.again(at if dialect.restamps else None)]
            case "collision":
                other = dialect.collide(change, rng)
                if other is None:
                    return [sound]
                return [sound, Outgoing(other, at, fault, seq=sound.seq, detail_seq=sound.detail_seq)]
            case "malformed":
                name, literal = spoil(dialect.envelope(change, at), rng)
                return [sound, Outgoing(change, at, f"malformed:{name}", literal)]
            case "wrong_type":
                other = dialect.mistype(change, rng)
            case _:
                other = dialect.strange(change, rng)
        return [sound] if other is None else [sound, number(Outgoing(other, at, fault))]

    def _changed(self, fault: str, change: Change) -> Change | None:
        rng = self._rng
        match fault:
            case "missing_field":
                return self._dialect.thin(change, rng)
            case "large":
                return self._dialect.swell(change, self.faults.large_bytes)
            case "number_form":
                return with_data(change, {"x_number": Raw(rng.choice(NUMBER_FORMS).encode())})
            case _:
                return with_data(change, {f"x_{rng.choice(_NOVELTIES)}": rng.choice(_NOVEL_VALUES)})

    def _due(self, at: int) -> list[Outgoing]:
        due: list[Outgoing] = []
        for entry in self._late:
            entry[0] -= 1
            if entry[0] < 0:
                due.append(entry[1].again(at if self._dialect.restamps else None))
        if due:
            self._late = deque(entry for entry in self._late if entry[0] >= 0)
        return due


def with_data(change: Change, members: Mapping[str, Any]) -> Change:
    """A copy of the change with members of its data added or replaced."""
    return msgspec.structs.replace(change, data={**change.data, **members})


def spoil(raw: bytes, rng: Random) -> tuple[str, bytes]:
    """A name and bytes that are no acceptable frame any more, made from a good one.

    Every variant must become a dead letter: no JSON, no object, a known type without data, type no string,
    not UTF-8, NaN, duplicate keys.
    """
    name = rng.choice(tuple(_SPOILS))
    return name, _SPOILS[name](raw, rng)


def _without_data(raw: bytes, _: Random) -> bytes:
    frame = msgspec.json.decode(raw, type=dict[str, Raw])
    return msgspec.json.encode({key: value for key, value in frame.items() if key != "data"})


def _numeric_type(raw: bytes, rng: Random) -> bytes:
    frame: dict[str, Any] = dict(msgspec.json.decode(raw, type=dict[str, Raw]))
    return msgspec.json.encode(frame | {"type": rng.randrange(1_000_000)})


_SPOILS: Final[dict[str, Callable[[bytes, Random], bytes]]] = {
    "truncated": lambda raw, rng: raw[: rng.randrange(1, len(raw) - 1)],
    "not_utf8": lambda raw, rng: raw[:-1] + b',"x_name":"caf\xe9%d"}' % rng.randrange(1_000_000),
    "nan": lambda raw, rng: raw[:-1] + b',"x_rate":NaN,"x_n":%d}' % rng.randrange(1_000_000),
    "array": lambda raw, _: b"[" + raw + b"]",
    "text": lambda _, rng: b"upstream connect error %d" % rng.randrange(1_000_000),
    "no_data": _without_data,
    "type_no_string": _numeric_type,
    "duplicate_key": lambda raw, _: raw[:-1] + b',"type":"match.updated"}',
}

_NOVELTIES: Final = ("region", "venue_id", "trace", "tags", "weight", "delayed", "nested", "note")
_NOVEL_VALUES: Final = (
    "eu-west", 17, True, None, ["a", 1, None], {"deep": {"er": [Raw(b"1.10"), Raw(b"1e2")]}}, Raw(b"0.30"), "\u00fc\u4e2d\U0001f3ae",
)  # fmt: skip
