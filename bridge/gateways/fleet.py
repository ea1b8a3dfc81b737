"""All sockets of one gateway: opened, closed and seen as one."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import structlog
from msgspec import structs

from bridge.errors import BridgeError, Refused
from bridge.gateways.dialect import Dialect
from bridge.gateways.gateway import (
    ABSENT,
    CONNECTING,
    LIVE,
    RECONNECTING,
    REFUSED,
    STOPPED,
    GatewaySettings,
    GatewayStatus,
    Intake,
    Outside,
    RejectedSubscription,
    State,
)
from bridge.gateways.relay import KEY, OPENING, Relay
from bridge.gateways.socket import Socket
from bridge.ops.redaction import redactor

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from bridge.gateways.retry import Ending
    from bridge.ops.metrics import Metrics


#: Settings that `Fleet.configure` takes while it sails.
RELOADABLE: Final = frozenset({"silence", "connect_timeout", "max_frame", "max_age", "max_connections"})


class Fleet:
    """The sockets of the gateway `name`; what they share, and what they amount to.

    idle: it is all right to have no socket, nothing is on. note: what the operator should know beside what the sockets
    say. sees, lacks: see `GatewayStatus`. rejected: subscriptions that were not accepted. apart: each socket has a subject of its own, so one that is
    refused leaves the gateway live with the others.
    """

    def __init__(
        self,
        name: str,
        kind: str,
        settings: GatewaySettings,
        *,
        intake: Intake,
        metrics: Metrics,
        log: FilteringBoundLogger | None = None,
        outside: Outside | None = None,
        tls: ssl.SSLContext | None = None,
        apart: bool = False,
        turned: Callable[[str, Dialect], None] = lambda _name, _dialect: None,
    ) -> None:
        """Hold no socket yet. turned: told of each connection that has a new dialect, see `renew`."""
        self.name = name
        self.intake = intake
        self.metrics = metrics
        self.outside = outside or Outside()
        self.log: FilteringBoundLogger = (log or structlog.get_logger(__name__)).bind(gateway=name)
        self.idle = False
        self.note: str | None = None
        self.sees: list[str] | None = None
        self.lacks: list[str] = []
        self.rejected: list[RejectedSubscription] = []
        self._apart = apart
        self._kind = kind
        self.settings = settings
        self.sockets: dict[str, Socket] = {}
        self.tasks: dict[str, asyncio.Task[Ending]] = {}
        self._turned = turned
        self._relay = Relay(self)
        self._tls = tls
        self._group: asyncio.TaskGroup | None = None
        self._stopped = False
        self._was_live = False
        self._refused: str | None = None
        metrics.gateway_connected.labels(name).set(0)
        metrics.connections_refused.labels(name).set(0)
        metrics.last_frame.labels(name).set_function(self._last_heard)

    @asynccontextmanager
    async def sail(self) -> AsyncIterator[asyncio.TaskGroup]:
        """Run sockets, and tasks of the gateway beside them, until the block is left."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                group.create_task(self._relay.watch(), name=f"{self.name} ages")
                yield group
        finally:
            self._stopped = True
            self._changed()

    @property
    def group(self) -> asyncio.TaskGroup:
        """Where the tasks of this fleet run, while it sails."""
        if self._group is None:
            raise RuntimeError("the fleet does not sail")
        return self._group

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run something of the gateway beside the sockets."""
        return self.group.create_task(work, name=f"{self.name} {name}")

    def socket(
        self,
        name: str,
        dialect: Dialect,
        *,
        hint: str | None = None,
        intake: Intake | None = None,
        successor: bool = False,
    ) -> Socket:
        """Return a socket that is not part of the fleet: for a probe, or to take over. intake: its own, where it has one."""
        return Socket(
            self.name,
            name,
            dialect,
            settings=self.settings,
            intake=self.intake if intake is None else intake,
            log=self.log.bind(successor=True) if successor else self.log,
            metrics=self.metrics,
            outside=self.outside,
            hint=hint,
            tls=self._context(),
            on_change=self._changed,
        )

    def open(self, name: str, dialect: Dialect, *, hint: str | None = None) -> None:
        """Add a socket and start it."""
        socket = self.sockets[name] = self.socket(name, dialect, hint=hint)
        self.tasks[name] = self.group.create_task(socket.run(), name=f"{self.name} {name}")

    async def close(self, name: str) -> None:
        """End a socket whose stream is over, which is no gap."""
        turning = self._relay.leave(name)
        if turning is not None:
            await asyncio.wait([turning])
        socket, task = self.sockets.pop(name), self.tasks.pop(name)
        socket.dismiss()
        task.cancel()
        await asyncio.wait([task])
        self._changed()

    def nudge(self, name: str) -> None:
        """Have a socket look at its dialect's `due` now."""
        self.sockets[name].nudge()

    def configure(self, settings: GatewaySettings) -> None:
        """Go by other settings from now on, each socket from its next connection on."""
        self.settings = settings
        for socket in self.sockets.values():
            socket.configure(settings)

    def renew(self, *names: str, reason: str = KEY) -> None:
        """Have connections (all, or those) taken over by new ones, which are opened with what is now in force."""
        if self._stopped:
            return
        if reason == KEY:
            self._refused = None
        for name in names or tuple(self.sockets):
            self._relay.turn(name, reason)

    def replace(self, socket: Socket, task: asyncio.Task[Ending]) -> None:
        """Another socket is the connection of its name now."""
        socket.configure(self.settings)
        self.sockets[socket.name], self.tasks[socket.name] = socket, task
        self._turned(socket.name, socket.dialect)
        self._changed()

    def state(self, name: str) -> State | None:
        """Return the state of a socket; None where there is none of that name."""
        socket = self.sockets.get(name)
        return None if socket is None else socket.state

    def refuse(self, reason: str) -> None:
        """The key is refused, by something else than a socket."""
        self._refused = redactor.text(self.settings.blamed(self.name, reason))
        self.log.error("gateway_refused", reason=self._refused)
        self._changed()

    def told(self, error: BridgeError) -> str:
        """What to say of an error of a request; where it refuses the key, also which setting holds that."""
        return self.settings.blamed(self.name, str(error)) if isinstance(error, Refused) else str(error)

    @property
    def refused(self) -> str | None:
        """Why the key is refused; None where it is not. One refusal is enough to open nothing new with this key."""
        if self._refused is None:
            for socket in self.sockets.values():
                if self._state_of(socket) == REFUSED:
                    return socket.status().detail
        return self._refused

    def status(self) -> GatewayStatus:
        """Return how the gateway stands."""
        connections = [
            structs.replace(socket.status(), turns=self._relay.turns(name), turning=self._relay.note(name))
            for name, socket in self.sockets.items()
        ]
        states = self._states()
        frames = [each.last_frame for each in connections if each.last_frame is not None]
        trouble = next((each.detail for each in connections if each.detail and each.state != ABSENT), None)
        kept = next(
            (
                f"{each.name} can't turn: {each.turning}"
                for each in connections
                if each.turning != OPENING and each.turning
            ),
            None,
        )
        absent = next((each.detail for each in connections if each.detail), None)
        state = self._state(states)
        return GatewayStatus(
            name=self.name,
            kind=self._kind,
            state=state,
            connected=state == LIVE,
            refused=state == REFUSED,
            last_frame=max(frames, default=None),
            detail=self._refused or trouble or kept or self.note or absent,
            connections=connections,
            rejected=list(self.rejected),
            sees=self.sees,
            lacks=self.lacks,
        )

    def _states(self) -> set[State]:
        return {self._state_of(socket) for socket in self.sockets.values()}

    def _state_of(self, socket: Socket) -> State:
        """Return its state; one whose key is refused while another is tried is not refused yet."""
        return RECONNECTING if socket.state == REFUSED and self._relay.turning(socket.name) else socket.state

    def _state(self, states: set[State]) -> State:
        wanted = states - {ABSENT}
        if self._stopped:
            return STOPPED
        if (wanted and wanted == {REFUSED}) or (self._refused and not wanted - {REFUSED}):
            return REFUSED
        if self._apart:
            wanted = wanted - {REFUSED}
        if wanted == {LIVE} or (self.idle and not states):
            return LIVE
        return RECONNECTING if self._was_live else CONNECTING

    def _changed(self) -> None:
        states = self._states()
        live = self._state(states) == LIVE
        self._was_live = self._was_live or LIVE in states
        self.metrics.gateway_connected.labels(self.name).set(int(live))
        refused = sum(self._state_of(socket) == REFUSED for socket in self.sockets.values())
        self.metrics.connections_refused.labels(self.name).set(refused)

    def _last_heard(self) -> float:
        """When any connection last had a frame (s since the epoch); 0: none ever had."""
        return (self.status().last_frame or 0) / 1000

    def _context(self) -> ssl.SSLContext | None:
        """Return the one TLS context of the gateway: making one reads all certificates of the machine."""
        if self._tls is None and self.settings.url.scheme == "wss":
            self._tls = ssl.create_default_context()
        return self._tls
