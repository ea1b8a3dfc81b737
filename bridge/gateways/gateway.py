"""What every gateway is: settings, a life, a status, a check; and what it needs from outside.

A gateway receives frames and hands them to the intake. It knows no Kafka, no schema and no journal.
"""

from __future__ import annotations

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, Protocol

import msgspec
from pydantic import Field

from bridge.finding import Finding
from bridge.settings import MIB, Duration, Secret, Settings, Size, WebSocketUrl

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    from structlog.typing import FilteringBoundLogger

    from bridge.frame import Frame
    from bridge.gateways.hole import Recoverer
    from bridge.ops.metrics import Metrics

#: States of a gateway and of each of its connections. ``absent``, only of a connection: there is no such stream.
CONNECTING: Final = "connecting"
LIVE: Final = "live"
RECONNECTING: Final = "reconnecting"
REFUSED: Final = "refused"
STOPPED: Final = "stopped"
ABSENT: Final = "absent"
State = Literal["connecting", "live", "reconnecting", "refused", "stopped", "absent"]


class GatewaySettings(Settings):
    """What all gateways have in the configuration; `kind` chooses the rest."""

    kind: str = Field(description="The vendor and its interface.")
    url: WebSocketUrl = Field(description="Scheme and host of the WebSocket interface; the paths are the gateway's.")
    silence: Duration = Field(30.0, gt=0, description="A connection without any frame for so long is made anew.")
    connect_timeout: Duration = Field(10.0, gt=0, description="Time for TCP, TLS and the handshake together.")
    max_frame: Size = Field(
        16 * MIB, ge=64 * 1024, description="A longer frame ends the connection and is recorded as a gap (oversize)."
    )
    max_age: Annotated[Duration, Field(ge=1)] | None = Field(
        None,
        description="A connection gives way to a new one before it is so old, without a gap: a random part of up to a fifth "
        "earlier, so that not all turn at once. For servers and proxies that close connections after some hours.",
    )
    max_connections: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="How many connections the gateway lets the key hold. Where a second one beside the first would be too "
        "many, the first is closed before the second is opened, and the gap is recorded.",
    )

    def blamed(self, name: str, text: str) -> str:
        """What to say where the key of a gateway, called `name`, is refused with a text: also which setting holds it."""
        for field, value in self:
            if isinstance(value, Secret):
                origin = f", from {value.origin}" if value.origin else ""
                return f"{text}; the key is gateways.{name}.{field}{origin}"
        return text


class Gateway(ABC):
    """One entry of `gateways` at work.

    A refusal is a state of the gateway, never an exception; `run` raises only what is a bug.
    """

    kind: ClassVar[str]
    Settings: ClassVar[type[GatewaySettings]]
    #: Whether its frames are a customer's own: topics, dead letters and status are kept apart.
    private: ClassVar[bool] = False
    #: Where another package's gateway has its schemas: a folder with one named after `kind`. None: feedbridge's own.
    schemas: ClassVar[Path | None] = None
    #: Types of frames that are part of the protocol and never published.
    control: ClassVar[frozenset[str]] = frozenset()

    @staticmethod
    def owner(connection: str) -> str:  # noqa: ARG004 - most have one owner
        """Return whose frames come over a connection of that name, where several have each their own; else "".

        It is part of what makes two private frames the same where the frames themselves do not tell.
        """
        return ""

    @abstractmethod
    def __init__(
        self,
        name: str,
        settings: Any,
        *,
        intake: Intake,
        metrics: Metrics,
        log: FilteringBoundLogger | None = None,
        outside: Outside | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Open nothing yet.

        name: the user's. settings: an instance of `Settings`. log, outside: this process's where None. tls: the
        default context where None.
        """

    @property
    @abstractmethod
    def name(self) -> str:
        """The user's name for it."""

    #: Settings that may change while it runs, see `configure`; none: it takes no others.
    reloadable: ClassVar[frozenset[str]] = frozenset()

    def configure(self, settings: Any) -> None:
        """Go by other settings from now on: they differ in nothing but what is `reloadable`. Must not fail."""
        raise NotImplementedError(f"{type(self).__name__} takes no other settings while it runs")

    @property
    def recoverer(self) -> Recoverer | None:
        """Who can be asked for what is missing; None where nothing is configured that could be."""
        return None

    @abstractmethod
    async def run(self) -> None:
        """Hold the sockets until cancelled."""

    @abstractmethod
    def status(self) -> GatewayStatus:
        """Return how things stand."""

    @abstractmethod
    async def check(self) -> list[Finding]:
        """Connect, authenticate, subscribe, close; say in plain words what was found. Feeds nothing to the intake."""


class GatewayStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a gateway stands.

    connected: all its connections are up, those apart whose stream does not exist, or whose wallet is refused while
    others go on. last_frame: ms since the epoch.
    refused: its key is, and will not be tried again. sees: what the key may see, as far as the gateway has said; lacks: what
    of all there is it may not.
    """

    name: str
    kind: str
    state: State
    connected: bool
    refused: bool
    last_frame: int | None
    detail: str | None
    connections: list[ConnectionStatus]
    rejected: list[RejectedSubscription]
    sees: list[str] | None = None
    lacks: list[str] = []


class ConnectionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How one connection stands. since, last_frame: ms since the epoch. reconnects: since the start of the process.

    turns: how often another one took over without a gap. turning: what holds up the one that is to take over now.
    """

    name: str
    state: State
    since: int
    last_frame: int | None
    frames: int
    reconnects: int
    detail: str | None
    turns: int = 0
    turning: str | None = None


class RejectedSubscription(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription that the gateway did not accept; the others go on. code: the gateway's. connection: over which."""

    channel: str
    ids: list[str]
    code: str
    message: str
    connection: str | None = None


class Intake(Protocol):
    """What gateways feed; see `bridge.intake`."""

    @property
    def full(self) -> bool:
        """Whether no socket must be read until `room` returns."""

    @property
    def stalled(self) -> bool:
        """Whether that is the journal's doing: it is full, or its disk refuses; not just many frames at once."""

    async def room(self) -> None:
        """Wait until frames are taken again."""

    def put(self, frame: Frame) -> None:
        """Hand in one frame. O(1)."""

    def mark(self) -> Any:
        """Return a mark behind all that was handed in so far, for `committed`."""

    def committed(self, mark: Any) -> bool:
        """Whether all that lies before a mark is disposed of in Kafka."""

    def event(self, gateway: str, connection: str, event: str, **facts: Any) -> None:
        """Hand in what happened to a connection, see `bridge.recovery`: ``down`` (cause, since), ``up`` and so on."""

    def learn(self, gateway: str, pairs: dict[str, str]) -> None:
        """Hand in ids found over REST: token id → condition id."""

    def known(self, gateway: str, key: str) -> str | None:
        """What is known of an id."""


def wall_clock() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class Outside:
    """Time and chance. wall: ms since the epoch. monotonic: s. sleep: takes s. chance: uniform in [0, 1)."""

    wall: Callable[[], int] = wall_clock
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random
