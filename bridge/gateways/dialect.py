"""What one kind of connection says and understands: the sans-I/O half of a socket.

A dialect is fed with messages and the time and answers with a `Reaction`; it knows no socket, clock or task. One
instance serves all successive connections of a socket, `on_open` begins anew.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Final

import msgspec

from bridge.gateways.gist import Gist, plain
from bridge.gateways.retry import Ending

NEVER: Final = math.inf


class Reaction(msgspec.Struct):
    """What follows from messages or from time. frames: for the intake. send: text messages. drop: end the connection."""

    frames: list[bytes] = []
    send: list[str] = []
    drop: Ending | None = None


class Dialect(ABC):
    """Base of the dialects. Times are seconds of a monotonic clock."""

    #: Whether HTTP 404 to the handshake means that there is no such stream, rather than a wrong `url`.
    absent: bool = False
    #: When `on_timer` wants to be called next.
    due: float = NEVER
    #: Frames flow: connected, greeted, subscribed.
    up: bool = False
    #: Healthy data has come over this connection, so the next pause may be short again.
    healthy: bool = False

    @abstractmethod
    def url(self) -> str:
        """Return the URL of the next connection. It may hold the key: never log it."""

    @abstractmethod
    def headers(self) -> dict[str, str]:
        """Return the headers of the handshake. They may hold the key."""

    @abstractmethod
    def on_open(self, now: float) -> Reaction:
        """A connection is open: forget the last one."""

    @abstractmethod
    def on_messages(self, messages: list[bytes], now: float) -> Reaction:
        """Messages have arrived, at least one."""

    @abstractmethod
    def renew(self) -> Dialect:
        """Return another for the same stream, for a connection beside this one."""

    def gist(self, raw: bytes) -> Gist:
        """Return what a frame says, whichever connection brought it."""
        return plain(raw)

    def on_hurry(self, now: float) -> None:  # noqa: B027 - most peers can't be asked
        """Have `due` come at once, to ask something that a peer which is still there answers."""

    def on_timer(self, now: float) -> Reaction:  # noqa: ARG002 - the default has nothing to do
        """`due` is reached."""
        self.due = NEVER
        return Reaction()

    def on_resume(self, now: float) -> None:  # noqa: B027 - most have no deadline to move
        """Reading goes on after the journal was full: what did not come meanwhile is nobody's fault."""
