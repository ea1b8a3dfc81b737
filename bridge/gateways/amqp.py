"""TickTock's replay over AMQP: the shell around `bridge.gateways.replay` (contract, sections 3.4, 3.5 and 4).

A queue of our own is bound before the replay is asked for over REST, so that nothing of it is missed. Each message goes
the way of any frame: into the journal, and from there to Kafka. It is acknowledged only when it is committed there, so
that a bridge that is killed gets it again, and the window knows it. No more than `PREFETCH` messages are here without
being acknowledged: that, and the journal's limit, is what keeps memory flat.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import aio_pika
from aio_pika import DeliveryMode
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import (
    CONNECTION_EXCEPTIONS,
    AMQPError,
    AuthenticationError,
    ChannelClosed,
    ChannelNotFoundEntity,
    InvalidFrameError,
    ProbableAuthenticationError,
)
from aiormq.exceptions import ChannelAccessRefused, ConnectionNotAllowed
from yarl import URL

from bridge.errors import BadData, BridgeError, ConfigError, Refused, Unreachable
from bridge.finding import Finding
from bridge.frame import AMQP, Frame
from bridge.gateways.gateway import Intake, Outside
from bridge.gateways.replay import Outcome, Replay
from bridge.gateways.rest import Rest
from bridge.gateways.retry import DISCONNECT, Backoff, Ending, Verdict, of_error, one_line

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from bridge.gateways.ticktock import AmqpSettings

#: `Frame.connection` of what comes over AMQP.
CONNECTION: Final = "amqp"
#: Messages that are here and not acknowledged.
PREFETCH: Final = 500
#: Seconds between looks at what is committed, while something is not.
TICK: Final = 0.02
#: A queue that nobody uses is deleted after so many ms. It must be less than `dedupe.window`: what is delivered again
#: later would not be known as published.
QUEUE_EXPIRES: Final = 3_600_000
#: Seconds between heartbeats of the connection, where the URL says nothing else.
HEARTBEAT: Final = 10
#: Live messages come on keys with ``hi``, replayed ones with ``lo``, the end of a replay perhaps on ``-`` (contract 4.2).
BINDING: Final = "#"
_REQUEST: Final = "/cs2/v1/recovery/initiate_request"


class AmqpReplay:
    """Replays for the gateway `name`, one after the other. rest: where they are asked for; None: they can't be.

    connect_timeout: s.
    """

    def __init__(
        self,
        name: str,
        settings: AmqpSettings,
        *,
        rest: Rest | None,
        intake: Intake,
        outside: Outside,
        log: FilteringBoundLogger,
        connect_timeout: float,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Open nothing yet. tls: the default context where None."""
        self._name = name
        self._settings = settings
        self._rest = rest
        self._intake = intake
        self._outside = outside
        self._log = log
        self._connect_timeout = connect_timeout
        self._tls = tls
        self._turn = asyncio.Lock()
        self._connection_name = CONNECTION

    async def replay(self, since: int, *, connection: str = CONNECTION) -> Outcome:
        """Have everything published again that happened since `since` (ms since the epoch), and wait for its end.

        connection: of the frames. Returns when it is complete and committed, or has failed: see `Outcome`. Raises only what is a bug.
        """
        async with self._turn:
            self._connection_name = connection
            replay = Replay(
                since,
                wall=self._outside.wall(),
                now=self._outside.monotonic(),
                patience=self._settings.patience,
                chance=self._outside.chance,
            )
            if replay.after > since:
                self._log.warning("replay_clipped", since=since, after=replay.after, reason="the gateway keeps 3 days")
            outcome = await self._see_through(replay)
        facts = {"requests": outcome.requests, "messages": outcome.messages}
        if outcome.complete:
            self._log.info("replay_complete", **facts)
        else:
            self._log.error("replay_incomplete", reason=outcome.reason, **facts)
        return outcome

    async def check(self) -> list[Finding]:
        """Connect, look for the exchange, make and bind a queue that goes with the connection."""
        if self._rest is None:
            text = "AMQP: a replay is asked for over REST; set `rest`"
            return [Finding(self._name, ok=False, text=text)]
        settings = self._settings
        try:
            async with self._connection() as connection:
                channel = await connection.channel(publisher_confirms=False)
                if settings.queue is not None:
                    await channel.declare_queue(settings.queue, passive=True)
                    found = f"the queue {settings.queue} exists"
                else:
                    queue = await channel.declare_queue(exclusive=True, auto_delete=True)
                    await queue.bind(settings.exchange, BINDING)
                    found = f"the exchange {settings.exchange} exists, a queue may be made and bound"
        except BridgeError as error:
            return [Finding(self._name, ok=False, text=f"AMQP: {error}")]
        secure = "over TLS" if settings.url.scheme == "amqps" else "without TLS"
        return [Finding(self._name, ok=True, text=f"AMQP: connected to {settings.url.host} {secure}; {found}")]

    async def _see_through(self, replay: Replay) -> Outcome:
        """Make connections until the replay has ended."""
        if self._rest is None:
            return replay.outcome("a replay is asked for over REST, which is not configured")
        backoff = Backoff(self._outside.chance)
        handed = _Handed(self._intake)
        again = True
        while again:
            messages = replay.messages
            try:
                async with self._connection() as connection:
                    again = await self._session(connection, replay, handed, self._rest)
            except (Refused, ConfigError, BadData) as error:
                return replay.outcome(str(error))
            except Unreachable as error:
                if replay.complete:
                    break
                if self._outside.monotonic() >= replay.until:
                    return replay.outcome(str(error))
                self._log.warning("replay_interrupted", reason=str(error), messages=replay.messages)
                if replay.messages > messages:
                    backoff.reset()
                await self._outside.sleep(backoff.pause(Ending(Verdict.RETRY, DISCONNECT, "")))
        await handed.committed(self._outside)
        return replay.outcome()

    async def _session(self, connection: AbstractConnection, replay: Replay, handed: _Handed, rest: Rest) -> bool:
        """Receive over one connection; returns whether another is worth it. Raises Refused, ConfigError, Unreachable."""
        inbox: asyncio.Queue[AbstractIncomingMessage | None] = asyncio.Queue()

        async def deliver(message: AbstractIncomingMessage) -> None:
            inbox.put_nowait(message)

        channel = await connection.channel(publisher_confirms=False)
        await channel.set_qos(prefetch_count=PREFETCH)
        queue, kept = await self._queue(connection, channel)
        channel.close_callbacks.add(lambda *_: inbox.put_nowait(None))
        queue.close_callbacks.add(lambda *_: inbox.put_nowait(None))
        handed.begin()
        tag = await self._consume(queue, deliver)
        replay.connected(queue_kept=kept, now=self._outside.monotonic())
        if replay.wanting:
            await self._ask(replay, rest)
        again = await self._receive(inbox, replay, handed)
        if not again:
            await handed.acknowledge_all(self._outside)
            await queue.cancel(tag)
            if self._settings.queue is None:
                await queue.delete(if_unused=False, if_empty=False)
        return again

    async def _receive(
        self, inbox: asyncio.Queue[AbstractIncomingMessage | None], replay: Replay, handed: _Handed
    ) -> bool:
        """Take messages until the replay has ended; returns whether it is to be asked for again."""
        intake, outside = self._intake, self._outside
        while not replay.complete:
            await handed.acknowledge()
            now = outside.monotonic()
            if len(handed) >= PREFETCH:
                replay.busy(now)
            try:
                async with asyncio.timeout(TICK if handed else max(replay.due - now, TICK)):
                    message = await inbox.get()
            except TimeoutError:
                if outside.monotonic() >= replay.due:
                    again = replay.wait_is_over(outside.monotonic())
                    self._log.warning("replay_silent", request=replay.requests[-1], again=again)
                    return again
                continue
            if message is None:
                raise Unreachable("the connection was cut", where=self._settings.url.host)
            if intake.full:
                await intake.room()
                replay.busy(outside.monotonic())
            wanted = replay.take(
                message.body,
                routing_key=message.routing_key or "",
                persistent=message.delivery_mode == DeliveryMode.PERSISTENT,
                now=outside.monotonic(),
            )
            if wanted:
                intake.put(Frame(self._name, self._connection_name, outside.wall(), AMQP, message.body))
            handed.add(message, wanted=wanted)
        return False

    async def _ask(self, replay: Replay, rest: Rest) -> None:
        """Ask for the replay over REST (contract 3.4). Raises as `Rest.post` does."""
        request = replay.request(wall=self._outside.wall(), now=self._outside.monotonic())
        await rest.post(_REQUEST, after=replay.after, request_id=request)
        self._log.info("replay_requested", request=request, after=replay.after)

    async def _queue(self, connection: AbstractConnection, channel: AbstractChannel) -> tuple[AbstractQueue, bool]:
        """Return the queue, bound, and whether it was there before."""
        settings = self._settings
        name = settings.queue or f"feedbridge.{self._name}"
        try:
            # Asking for what is not there costs the channel it is asked on.
            asking = await connection.channel(publisher_confirms=False)
            await asking.declare_queue(name, passive=True)
            await asking.close()
            kept = True
        except ChannelNotFoundEntity:
            kept = False
        if settings.queue is not None:
            if not kept:
                raise ConfigError(f"there is no queue {name}", where="recovery.amqp.queue", mend="have it made")
            return await channel.declare_queue(name, passive=True), True
        queue = await channel.declare_queue(name, durable=True, arguments={"x-expires": QUEUE_EXPIRES})
        await queue.bind(settings.exchange, BINDING)
        return queue, kept

    async def _consume(self, queue: AbstractQueue, deliver: Any) -> str:
        try:
            # Of two readers each would get a part of the replay.
            return await queue.consume(deliver, exclusive=True)
        except ChannelAccessRefused as error:
            raise Unreachable(f"the queue {queue.name} has another reader", where=self._settings.url.host) from error

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AbstractConnection]:
        """Hold a connection; what goes wrong within is Refused, ConfigError or Unreachable, without a secret."""
        url = URL(self._settings.url.reveal())
        if "heartbeat" not in url.query:
            url = url.update_query(heartbeat=str(HEARTBEAT))
        connection: AbstractConnection | None = None
        try:
            connection = await aio_pika.connect(
                url,
                ssl_context=self._context(),
                timeout=self._connect_timeout,
                client_properties={"connection_name": f"feedbridge {self._name}"},
            )
            yield connection
        except (*CONNECTION_EXCEPTIONS, TimeoutError) as error:
            raise self._named(error) from None
        finally:
            if connection is not None:
                await _close(connection)

    def _named(self, error: BaseException) -> BridgeError:
        """Put what aio-pika raises into our words; it may quote the URL, so only the broker's own words are taken."""
        host = self._settings.url.host
        if isinstance(error, AuthenticationError | ProbableAuthenticationError | ConnectionNotAllowed):
            return Refused("user, password or virtual host refused", where=host, mend="see recovery.amqp.url")
        if isinstance(error, InvalidFrameError) and "OpenOk" in str(error):
            # The broker closes the connection where it is to open the virtual host; aiormq expects no such thing.
            return Refused("virtual host refused", where=host, mend="see recovery.amqp.url")
        if isinstance(error, ChannelClosed):
            said = one_line(str(error.args[-1])) if error.args else type(error).__name__
            return ConfigError(f"the broker says {said}", where=host, mend="see recovery.amqp")
        cause = error.__cause__ if isinstance(error, AMQPError) and error.__cause__ is not None else error
        ending = of_error(cause, host=host) if isinstance(cause, Exception) else None
        return Unreachable(ending.text if ending else f"{host}: {type(error).__name__}")

    def _context(self) -> ssl.SSLContext | None:
        if self._tls is None and self._settings.url.scheme == "amqps":
            self._tls = ssl.create_default_context()
        return self._tls


class _Handed:
    """Messages of one connection that are handed to the intake and not acknowledged yet, oldest first."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._waiting: deque[tuple[AbstractIncomingMessage, Any]] = deque()
        self._mark: Any = None

    def __len__(self) -> int:
        return len(self._waiting)

    def begin(self) -> None:
        """Another connection: what the last one delivered will be delivered again."""
        self._waiting.clear()

    def add(self, message: AbstractIncomingMessage, *, wanted: bool) -> None:
        """Take note of a message. wanted: it went to the intake."""
        if wanted:
            self._mark = self._intake.mark()
        self._waiting.append((message, self._mark))

    async def acknowledge(self) -> None:
        """Acknowledge what is committed: all up to the newest of it at once."""
        last = None
        while self._waiting and self._is_committed(self._waiting[0][1]):
            last, _ = self._waiting.popleft()
        if last is not None:
            await last.ack(multiple=True)

    async def acknowledge_all(self, outside: Outside) -> None:
        """Wait until everything is committed, and acknowledge it."""
        await self.committed(outside)
        await self.acknowledge()

    async def committed(self, outside: Outside) -> None:
        """Wait until everything is committed."""
        while not self._is_committed(self._mark):
            await outside.sleep(TICK)

    def _is_committed(self, mark: Any) -> bool:
        return mark is None or self._intake.committed(mark)


async def _close(connection: AbstractConnection) -> None:
    """Close a connection, whatever state it is in; a broker that does not answer is not waited for."""
    try:
        async with asyncio.timeout(TICK * 50):
            await connection.close()
    except (*CONNECTION_EXCEPTIONS, TimeoutError):
        return
