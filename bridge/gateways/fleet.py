"""All sockets of one gateway: opened, closed and seen as one."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

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
from bridge.gateways.socket import Socket
from bridge.ops.redaction import redactor

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from bridge.ops.metrics import Metrics


class Fleet:
    """The sockets of the gateway `name`; what they share, and what they amount to.

    idle: it is all right to have no socket, nothing is on. note: what the operator should know beside what the sockets
    say. rejected: subscriptions that were not accepted. apart: each socket has a subject of its own, so one that is
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
    ) -> None:
        """Hold no socket yet."""
        self.name = name
        self.intake = intake
        self.metrics = metrics
        self.outside = outside or Outside()
        self.log: FilteringBoundLogger = (log or structlog.get_logger(__name__)).bind(gateway=name)
        self.idle = False
        self.note: str | None = None
        self.rejected: list[RejectedSubscription] = []
        self._apart = apart
        self._kind = kind
        self._settings = settings
        self._tls = tls
        self._sockets: dict[str, Socket] = {}
        self._tasks: dict[str, asyncio.Task[object]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._stopped = False
        self._was_live = False
        self._refused: str | None = None
        metrics.gateway_connected.labels(name).set(0)

    @asynccontextmanager
    async def sail(self) -> AsyncIterator[asyncio.TaskGroup]:
        """Run sockets, and tasks of the gateway beside them, until the block is left."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                yield group
        finally:
            self._stopped = True
            self._changed()

    def socket(self, name: str, dialect: Dialect, *, hint: str | None = None) -> Socket:
        """Return a socket that is not part of the fleet, for a probe."""
        return Socket(
            self.name,
            name,
            dialect,
            settings=self._settings,
            intake=self.intake,
            log=self.log,
            metrics=self.metrics,
            outside=self.outside,
            hint=hint,
            tls=self._context(),
            on_change=self._changed,
        )

    def open(self, name: str, dialect: Dialect, *, hint: str | None = None) -> None:
        """Add a socket and start it."""
        if self._group is None:
            raise RuntimeError("the fleet does not sail")
        socket = self._sockets[name] = self.socket(name, dialect, hint=hint)
        self._tasks[name] = self._group.create_task(socket.run(), name=f"{self.name} {name}")

    async def close(self, name: str) -> None:
        """End a socket whose stream is over, which is no gap."""
        socket, task = self._sockets.pop(name), self._tasks.pop(name)
        socket.dismiss()
        task.cancel()
        await asyncio.wait([task])
        self._changed()

    def nudge(self, name: str) -> None:
        """Have a socket look at its dialect's `due` now."""
        self._sockets[name].nudge()

    def state(self, name: str) -> State | None:
        """Return the state of a socket; None where there is none of that name."""
        socket = self._sockets.get(name)
        return None if socket is None else socket.state

    def refuse(self, reason: str) -> None:
        """The key is refused, by something else than a socket."""
        self._refused = redactor.text(reason)
        self.log.error("gateway_refused", reason=self._refused)
        self._changed()

    @property
    def refused(self) -> str | None:
        """Why the key is refused; None where it is not. One refusal is enough to open nothing new with this key."""
        if self._refused is None:
            for socket in self._sockets.values():
                if socket.state == REFUSED:
                    return socket.status().detail
        return self._refused

    def status(self) -> GatewayStatus:
        """Return how the gateway stands."""
        connections = [socket.status() for socket in self._sockets.values()]
        states = {each.state for each in connections}
        frames = [each.last_frame for each in connections if each.last_frame is not None]
        trouble = next((each.detail for each in connections if each.detail and each.state != ABSENT), None)
        absent = next((each.detail for each in connections if each.detail), None)
        state = self._state(states)
        return GatewayStatus(
            name=self.name,
            kind=self._kind,
            state=state,
            connected=state == LIVE,
            refused=state == REFUSED,
            last_frame=max(frames, default=None),
            detail=self._refused or trouble or self.note or absent,
            connections=connections,
            rejected=list(self.rejected),
        )

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
        states = {socket.state for socket in self._sockets.values()}
        live = self._state(states) == LIVE
        self._was_live = self._was_live or LIVE in states
        self.metrics.gateway_connected.labels(self.name).set(int(live))
        refused = sum(socket.state == REFUSED for socket in self._sockets.values())
        self.metrics.connections_refused.labels(self.name).set(refused)

    def _context(self) -> ssl.SSLContext | None:
        """Return the one TLS context of the gateway: making one reads all certificates of the machine."""
        if self._tls is None and self._settings.url.scheme == "wss":
            self._tls = ssl.create_default_context()
        return self._tls
