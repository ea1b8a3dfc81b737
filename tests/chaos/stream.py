"""A stream of TickTock frames that are all different, so that each can be found again by its number."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, overload

from confluent_kafka import Message

MATCHES = 8
#: The topics of the stream, without prefix and gateway.
TYPES: Final = ("event.kill", "market.updated", "bet-settlement")


class Frames(Sequence[bytes]):
    """Events, states and settlements of a few matches, numbered from 1; no two have the same content.

    Each is made when it is asked for: a stream of hours takes no memory.
    """

    def __init__(self, count: int) -> None:
        """Have `count` frames."""
        self._numbers = range(1, count + 1)

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | Sequence[bytes]:
        if isinstance(index, slice):
            return [_frame(number) for number in self._numbers[index]]
        return _frame(self._numbers[index])


def data_topics(prefix: str, *, gateway: str = "cs2") -> list[str]:
    """The topics of `Frames`."""
    return [f"{prefix}{gateway}.{name}" for name in TYPES]


def number(raw: bytes) -> int | None:
    """The sequence number of a frame of `Frames`, None for any other frame."""
    try:
        found = json.loads(raw)
        return None if found.get("type") == "alive" else int(found["meta"]["seq"])
    except (ValueError, KeyError):
        return None


def _frame(seq: int) -> bytes:
    match = f"match-{seq % MATCHES}"
    data: dict[str, Any]
    match seq % 3:
        case 0:
            kind, data = "event.kill", {"match_id": match, "weapon": f"weapon-{seq}"}
        case 1:
            kind, data = "market.updated", {"id": f"offer-{seq % 40}", "match_id": match, "textEN": f"odds {seq}"}
        case _:
            kind, data = "bet_settlement", {"id": seq, "match_id": match, "outcome": "won"}
    return json.dumps({"type": kind, "data": data, "meta": {"ts": "2026-05-10T13:42:11.123Z", "seq": seq}}).encode()


class Verdict(NamedTuple):
    """What a topic's records say of a stream: numbers published twice, never, and behind a later one of their key."""

    doubled: list[int]
    missing: list[int]
    disordered: list[int]


#: Nothing doubled, missing or out of order.
CLEAN: Final = Verdict([], [], [])


def judge(messages: Iterable[Message], must: Iterable[int]) -> Verdict:
    """Hold committed records against the numbers that must be there; each topic's messages lie in partition order."""
    seen: Counter[int] = Counter()
    last: dict[tuple[str | None, bytes], int] = defaultdict(int)
    disordered = []
    for message in messages:
        seq = int(header(message, "seq"))
        seen[seq] += 1
        key = message.key()
        place = (message.topic(), key if isinstance(key, bytes) else b"")
        if seq < last[place]:
            disordered.append(seq)
        last[place] = max(last[place], seq)
    return Verdict(
        doubled=sorted(seq for seq, times in seen.items() if times > 1),
        missing=sorted(set(must) - set(seen)),
        disordered=disordered,
    )


def numbers(messages: Iterable[Message]) -> set[int]:
    """The sequence numbers of records."""
    return {int(header(message, "seq")) for message in messages}


def header(message: Message, name: str) -> bytes:
    """A header that the record must have."""
    value = dict(message.headers() or {}).get(name)
    if isinstance(value, bytes):
        return value
    raise AssertionError(f"a record of {message.topic()} has no header {name}")
