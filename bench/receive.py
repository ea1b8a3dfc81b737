"""How much quicker `bridge.gateways.transport` reads plain frames than the library's parser. Run: ``python -m bench.receive``.

Both read the same bytes in pieces as a socket gives them, without a socket; figures come from the same run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from websockets.client import ClientProtocol
from websockets.frames import Frame
from websockets.protocol import State
from websockets.uri import parse_uri

from bench.feed import chunks, frames
from bridge.gateways import transport

_FRAMES: Final = 2000
_ROUNDS: Final = 15
#: Bytes that one read of a socket gives.
_READ: Final = 64 << 10


class _Ours(transport._Connection):  # noqa: SLF001 - the reader alone, without its socket
    """The quick way of the bridge's connection, past the handshake."""

    def __init__(self) -> None:
        self._messages = []
        self._waiter = None
        self._held_back = True  # nobody to pause
        self._head = None
        self._tail = b""
        self._owed = 0
        self._fragmented = False

    @property
    def _over(self) -> bool:
        return False

    def count(self) -> int:
        """How many messages it has cut out."""
        return len(self._messages)


def ours(pieces: list[bytes]) -> int:
    """Read the pieces the bridge's way; return the number of messages."""
    reader = _Ours()
    for piece in pieces:
        reader.data_received(piece)
    return reader.count()


def theirs(pieces: list[bytes]) -> int:
    """Read the pieces with the library's parser."""
    protocol = ClientProtocol(parse_uri("ws://127.0.0.1/"), state=State.OPEN, max_size=None)
    count = 0
    for piece in pieces:
        protocol.receive_data(piece)
        count += sum(isinstance(event, Frame) for event in protocol.events_received())
    return count


def measure() -> dict[str, float]:
    """Return what → ns per frame: the quickest of rounds in turn."""
    data = b"".join(chunks(frames(_FRAMES)))
    pieces = [data[at : at + _READ] for at in range(0, len(data), _READ)]
    ways: dict[str, Callable[[list[bytes]], int]] = {"receive: ours": ours, "receive: websockets": theirs}
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(_ROUNDS):
        for name, way in ways.items():
            began = time.thread_time_ns()
            assert way(pieces) == _FRAMES
            best[name] = min(best[name], (time.thread_time_ns() - began) / _FRAMES)
    return best


def ratio(times: dict[str, float]) -> float:
    """How many times quicker ours is."""
    return times["receive: websockets"] / times["receive: ours"]


def main() -> None:
    """Print the times and their ratio."""
    times = measure()
    for what, ns in times.items():
        print(f"{what:60s} {ns:8.0f} ns")
    print(f"{'receive, ours against the library':60s} {ratio(times):8.1f} x")


if __name__ == "__main__":
    main()
