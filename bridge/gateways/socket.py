"""The life of one connection: connect, watch, hand on, lose, wait, connect again.

A `Socket` is the I/O shell around a `Dialect`. It holds what is the same for every gateway: time-outs, the silence
watchdog, backoff, back-pressure, the events that become gap records. What ends a connection is judged in
`bridge.gateways.retry`, bytes are the business of `bridge.gateways.transport`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from msgspec.structs import replace

from bridge.frame import STREAM, Frame
from bridge.gateways.dialect import NEVER, Dialect, Reaction
from bridge.gateways.gateway import (
    ABSENT,
    CONNECTING,
    LIVE,
    RECONNECTING,
    REFUSED,
    STOPPED,
    ConnectionStatus,
    GatewaySettings,
    Intake,
    Outside,
    State,
)
from bridge.gateways.retry import (
    DISCONNECT,
    JOURNAL_FULL,
    SILENCE,
    Backoff,
    Ending,
    Verdict,
    of_close,
    of_error,
    of_status,
)
from bridge.gateways.retry import STOPPED as STOPPED_CAUSE
from bridge.gateways.transport import Closed, Connect, Declined, Transport, connect
from bridge.ops.redaction import redactor

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from bridge.ops.metrics import Metrics

#: Seconds that sending may block; only a peer that reads nothing takes so long.
_SEND_TIMEOUT: Final = 10.0
#: Seconds after a stop in which a lost connection is put down to the stop.
_STALL_GRACE: Final = 5.0
#: Seconds; the event loop takes no infinite ones, and ringing in vain does no harm.
_LONGEST_ALARM: Final = 3600.0


class Socket:
    """One connection of a gateway, and all that follow it.

    gateway, name: as in `Frame`. hint: the entity key that all its frames belong to, if there is one. on_change: called
    whenever the state has changed.
    """

    def __init__(
        self,
        gateway: str,
        name: str,
        dialect: Dialect,
        *,
        settings: GatewaySettings,
        intake: Intake,
        log: FilteringBoundLogger,
        metrics: Metrics,
        outside: Outside,
        hint: str | None = None,
        tls: ssl.SSLContext | None = None,
        on_change: Callable[[], None] = lambda: None,
        connect: Connect = connect,
    ) -> None:
        """Nothing is opened before `run` or `probe`."""
        self.name = name
        self.dialect = dialect
        self._gateway = gateway
        self._settings = settings
        self._intake = intake
        self._log = log.bind(gateway=gateway, connection=name)
        self._metrics = metrics
        self._outside = outside
        self._hint = hint
        self._tls = tls
        self._on_change = on_change
        self._connect = connect
        self._backoff = Backoff(outside.chance)
        self._state: State = CONNECTING
        self._detail: str | None = None
        self._since = self._began = outside.wall()
        self._last_frame: int | None = None
        self._frames = 0
        self._connections = 0
        #: When the last message came, of whatever kind; ms since the epoch.
        self._heard: int | None = None
        #: The last event that the intake knows of.
        self._event: str | None = None
        self._ended_by: str | None = None
        #: Since it was up last: connections that failed, and (cause, text) of the one that was logged last.
        self._failed = 0
        self._told: tuple[str, str] | None = None
        #: Of the present connection: frames flow; the next pause may be short; an end until then is the journal's doing.
        self._up = False
        self._healthy = False
        self._stalled_until = 0.0
        self._rang = False
        self._alarm: asyncio.TimerHandle | None = None
        self._transport: Transport | None = None
        #: Monotonic seconds: when the present connection was opened and came up, and when its last message came.
        self.opened = self.risen = NEVER
        self.heard = -NEVER
        #: Why the last connection ended.
        self.ending: Ending | None = None
        #: Asked first when a connection has ended; True: a successor has taken over, and nothing is missed.
        self.relief: Callable[[Ending], bool] = lambda _: False

    async def run(self) -> Ending:
        """Keep the connection up until cancelled. Returns only where nothing is left to try."""
        try:
            while True:
                self.ending = ending = await self._connection(self._hand_on)
                if self.relief(ending):
                    return ending
                self._lost(ending)
                if ending.verdict is Verdict.FINAL:
                    return ending
                await self._outside.sleep(self._pause(ending))
        except asyncio.CancelledError:
            self._report_down(STOPPED_CAUSE)
            self._become(STOPPED, None)
            raise

    def dismiss(self) -> None:
        """The stream is over and misses nothing: to be called before `run` is cancelled on purpose."""
        self._report_gone()

    def nudge(self) -> None:
        """The dialect's `due` was moved from outside: look at it now, if there is a connection."""
        self._ring()

    # Changing hands; see `bridge.gateways.relay`

    def feed(self, intake: Intake) -> None:
        """Hand frames and events to another intake from now on."""
        self._intake = intake

    def configure(self, settings: GatewaySettings) -> None:
        """Go by other settings from the next connection on."""
        self._settings = settings

    def follow(self, other: Socket) -> None:
        """Go on where a socket of the same name ends: what the intake knows of the one is true of this one."""
        self._frames += other._frames
        # A connection that took over from one that was up is no reconnect.
        self._connections += other._connections - int(self._up and not other.down)
        self._last_frame = max(
            (each for each in (self._last_frame, other._last_frame) if each is not None), default=None
        )
        if self._heard is None:
            self._heard, self._began = other._heard, other._began
        if not self._up:
            self._event = other._event

    def retire(self) -> None:
        """Say nothing more of the connection: another socket speaks for it."""
        self._event = "gone"

    def cut(self, cause: str) -> None:
        """Report the connection as down before it is ended on purpose, with nothing to take over yet."""
        self._report_down(cause)

    def hurry(self) -> None:
        """Ask the peer for a sign of life now, where the dialect can."""
        self.dialect.on_hurry(self._outside.monotonic())
        self._ring()

    def _ring(self) -> None:
        if self._transport is not None:
            self._rang = True
            self._transport.wake()

    @property
    def down(self) -> bool:
        """Whether the intake knows the connection as not receiving."""
        return self._event in {"down", "unread"}

    @property
    def hint(self) -> str | None:
        """The entity key that all its frames belong to."""
        return self._hint

    @property
    def heard_at(self) -> int:
        """When the last message came, or the socket began; ms since the epoch."""
        return self._began if self._heard is None else self._heard

    async def probe(self, seconds: float) -> Ending | None:
        """Connect once, wait until the dialect is up, close; for `check`. None where it came up, else why not."""

        def until_up(_: Reaction) -> Ending | None:
            return _UP if self.dialect.up else None

        try:
            async with asyncio.timeout(seconds):
                ending = await self._connection(until_up)
        except TimeoutError:
            return Ending(Verdict.RETRY, SILENCE, f"connected, but nothing came within {seconds:g} s")
        return None if ending is _UP else replace(ending, text=self._blamed(ending))

    @property
    def state(self) -> State:
        """The state alone; see `status`."""
        return self._state

    def status(self) -> ConnectionStatus:
        """Return how the connection stands."""
        return ConnectionStatus(
            name=self.name,
            state=self._state,
            since=self._since,
            last_frame=self._last_frame,
            frames=self._frames,
            reconnects=max(0, self._connections - 1),
            detail=self._detail,
        )

    # One connection

    async def _connection(self, hand_on: _HandOn) -> Ending:
        """Open a connection and read it to its end."""
        url = self.dialect.url()
        host = urlsplit(url).netloc.rpartition("@")[2]
        try:
            transport = await self._connect(
                url,
                headers=self.dialect.headers(),
                open_timeout=self._settings.connect_timeout,
                max_size=self._settings.max_frame,
                tls=self._tls,
            )
        except Declined as declined:
            return of_status(declined, now=self._outside.wall() / 1000, absent=self.dialect.absent)
        except Exception as error:  # `of_error` says which of all that a handshake may raise are endings
            ending = of_error(error, host=host)  # what it does not know by name is a bug and goes on
            if ending is None:
                raise
            return ending
        self._opened()
        self._transport = transport
        try:
            return await self._read(transport, hand_on)
        except Closed as closed:
            return self._judged(of_close(closed, absent=self.dialect.absent))
        finally:
            self._transport = None
            if self._alarm is not None:
                self._alarm.cancel()
                self._alarm = None
            self._transport = None
            await transport.close()

    async def _read(self, transport: Transport, hand_on: _HandOn) -> Ending:
        """Read until the connection ends (raises `Closed`) or is given up (returns why).

        One turn of the loop takes all messages that have arrived. The alarm is set anew only when it rings: a busy
        connection costs no timer per message.
        """
        monotonic, dialect, intake, silence = (
            self._outside.monotonic, self.dialect, self._intake, self._settings.silence,
        )  # fmt: skip
        heard, partial = monotonic(), 0
        ending = await self._act(transport, dialect.on_open(heard), hand_on)
        armed = self._arm(transport, min(heard + silence, dialect.due))
        while ending is None:
            messages = await transport.receive()
            now = monotonic()
            if messages:
                heard = self.heard = now
                self._heard = self._outside.wall()
                ending = await self._act(transport, dialect.on_messages(messages, now), hand_on)
                self._frames += len(messages)
                if intake.full:
                    heard = await self._wait_for_room(heard)
            if self._rang:
                self._rang, armed = False, NEVER
                now = monotonic()
                if transport.partial != partial:
                    partial, heard = transport.partial, now
                if now >= heard + silence and transport.waiting:
                    return Ending(Verdict.RETRY, SILENCE, f"nothing came for {silence:g} s")
                if ending is None and now >= dialect.due and transport.waiting:
                    ending = await self._act(transport, dialect.on_timer(now), hand_on)
            wanted = min(heard + silence, dialect.due)
            if wanted < armed:
                armed = self._arm(transport, wanted)
        return ending

    async def _act(self, transport: Transport, reaction: Reaction, hand_on: _HandOn) -> Ending | None:
        ending = hand_on(reaction)
        for text in reaction.send:
            try:
                async with asyncio.timeout(_SEND_TIMEOUT):
                    await transport.send(text)
            except TimeoutError:
                return Ending(Verdict.RETRY, DISCONNECT, f"the server took nothing for {_SEND_TIMEOUT:g} s")
        return ending or reaction.drop

    def _hand_on(self, reaction: Reaction) -> None:
        """Give frames to the intake; see that it learns first that they flow again."""
        dialect = self.dialect
        if not self._up and dialect.up:
            self._risen()
        if not self._healthy and dialect.healthy:
            self._healthy = True
            self._backoff.reset()
        if reaction.frames:
            self._last_frame = received = self._heard or self._outside.wall()
            if self._event == "unread":
                self._event = "read"
                self._intake.event(self._gateway, self.name, "read")
            gateway, name, hint, put = self._gateway, self.name, self._hint, self._intake.put
            for raw in reaction.frames:
                put(Frame(gateway, name, received, STREAM, raw, hint))

    async def _wait_for_room(self, heard: float) -> float:
        """Read no more until the journal takes frames; return when the silence watchdog counts from."""
        # What this turn of the loop brought is written at its end, which may be all that is needed.
        await asyncio.sleep(0)
        if not self._intake.full:
            return heard
        self._become(self._state, "not read: the journal is full")
        self._log.warning("gateway_not_read", reason="the journal is full")
        if self._intake.stalled and self._event in {"up", "read"}:
            # What the server sends while nobody reads, it may drop without a word.
            self._event = "unread"
            self._intake.event(self._gateway, self.name, "unread", since=self._heard or self._began)
        await self._intake.room()
        self._become(self._state, None)
        self._log.info("gateway_read_again")
        now = self._outside.monotonic()
        self._stalled_until = now + _STALL_GRACE
        self.dialect.on_resume(now)
        return now

    def _arm(self, transport: Transport, due: float) -> float:
        """Have `transport` wake us at `due`; return it."""
        if self._alarm is not None:
            self._alarm.cancel()

        def ring() -> None:
            self._rang = True
            transport.wake()

        wait = max(0.0, due - self._outside.monotonic())
        self._alarm = asyncio.get_running_loop().call_later(min(wait, _LONGEST_ALARM), ring)
        return due

    # What became of it

    def _opened(self) -> None:
        self._up = self._healthy = self._rang = False
        self._stalled_until = 0.0
        self._connections += 1
        self.opened, self.risen = self._outside.monotonic(), NEVER
        if self._ended_by is not None:
            self._metrics.reconnects.labels(self._gateway, self._ended_by).inc()
            self._ended_by = None

    def _risen(self) -> None:
        self._up = True
        self.risen = self._outside.monotonic()
        self._event = "up"
        self._intake.event(self._gateway, self.name, "up")
        self._become(LIVE, None)
        self._log.info("gateway_connected", **({"failed_before": self._failed} if self._failed else {}))
        self._failed, self._told = 0, None

    def _judged(self, ending: Ending) -> Ending:
        """Blame the journal where the server gave up on a reader that did not read."""
        if ending.cause == DISCONNECT and self._outside.monotonic() < self._stalled_until:
            return Ending(ending.verdict, JOURNAL_FULL, f"{ending.text}, after the journal was full", ending.after)
        return ending

    def _blamed(self, ending: Ending) -> str:
        return self._settings.blamed(self._gateway, ending.text) if ending.key else ending.text

    def _lost(self, ending: Ending) -> None:
        text = redactor.text(self._blamed(ending))
        if self._connections and self._ended_by is None:
            self._ended_by = ending.cause
        if ending.verdict is Verdict.FINAL:
            self._report_down(ending.cause)
            self._become(REFUSED, text)
            self._log.error("gateway_refused", reason=text)
        elif ending.verdict is Verdict.ABSENT:
            self._report_gone()
            self._become(ABSENT, text)
        else:
            self._report_down(ending.cause)
            self._become(RECONNECTING if self._connections else CONNECTING, text)

    def _pause(self, ending: Ending) -> float:
        pause = self._backoff.pause(ending)
        self._failed += 1
        why = ending.cause, redactor.text(ending.text)
        # What is away for a night is one line, not one for each try.
        say = self._log.debug if why == self._told else self._log.warning
        self._told = why
        say("gateway_disconnected", cause=why[0], reason=why[1], retry_in=round(pause, 1), failed=self._failed)
        return pause

    def _report_down(self, cause: str) -> None:
        if self._event not in {"down", "gone"}:
            self._event = "down"
            since = self._began if self._heard is None else self._heard
            self._intake.event(self._gateway, self.name, "down", cause=cause, since=since)

    def _report_gone(self) -> None:
        if self._event not in {None, "gone"}:
            self._intake.event(self._gateway, self.name, "gone")
        self._event = "gone"

    def _become(self, state: State, detail: str | None) -> None:
        if state != self._state:
            self._since = self._outside.wall()
        self._state, self._detail = state, detail
        self._on_change()


_HandOn = Callable[[Reaction], Ending | None]
#: What a probe ends with when the dialect is up.
_UP: Final = Ending(Verdict.RETRY, "up", "up")
