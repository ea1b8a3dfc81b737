"""TickTock's side of the AMQP broker: answers recovery requests by publishing to its exchange (contract, section 4)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Final

import aio_pika
from aio_pika import DeliveryMode, ExchangeType
from aio_pika.abc import AbstractExchange, HeadersType
from aio_pika.exceptions import CONNECTION_EXCEPTIONS

from bridge.sim.cs2 import Cs2World
from bridge.sim.feed import FeedKnobs, Message, alive, replay

#: Messages published at a time; then the broker's word is waited for.
_CHUNK: Final = 250
#: Seconds between tries while the broker is away, and between heartbeats.
_PAUSE: Final = 0.2
_ALIVE_EVERY: Final = 10.0


class FeedPublisher:
    """Publishes for a world to the exchange at `url`.

    knobs: may be set anew at any time, for the next replay. clock: ms since the epoch. `sent` is what the broker has
    confirmed, in order.
    """

    def __init__(self, world: Cs2World, url: str, *, exchange: str, knobs: FeedKnobs, clock: Callable[[], int]) -> None:
        """Connect to nothing yet."""
        self.knobs = knobs
        self.sent: list[Message] = []
        self._world = world
        self._url = url
        self._exchange = exchange
        self._clock = clock
        self._turn = asyncio.Lock()

    @property
    def idle(self) -> bool:
        """Whether no replay is being published."""
        return not self._turn.locked()

    async def declare(self) -> None:
        """Make the exchange."""
        connection = await aio_pika.connect(self._url)
        async with connection:
            channel = await connection.channel()
            await channel.declare_exchange(self._exchange, ExchangeType.TOPIC, durable=True)

    async def replay(self, after: int, request_id: str) -> None:
        """Publish the answer to a request, however often the broker goes away meanwhile."""
        knobs = self.knobs
        async with self._turn:
            messages = list(
                replay(self._world, after=after, request_id=request_id, now=self._clock(), knobs=knobs)
            )  # fmt: skip
            await self._publish(iter(messages), persistent=knobs.persistent)

    async def alives(self) -> None:
        """Publish a heartbeat every 10 s, until cancelled."""
        while True:
            await self._publish(iter([alive(self._clock())]), persistent=False)
            await asyncio.sleep(_ALIVE_EVERY)

    async def _publish(self, messages: Iterator[Message], *, persistent: bool) -> None:
        chunk: list[Message] = list(islice(messages, _CHUNK))
        while chunk:
            with suppress(*CONNECTION_EXCEPTIONS, TimeoutError):
                connection = await aio_pika.connect(self._url, timeout=5.0)
                async with connection:
                    channel = await connection.channel()
                    exchange = await channel.declare_exchange(self._exchange, ExchangeType.TOPIC, durable=True)
                    while chunk:
                        await self._send(exchange, chunk, persistent=persistent)
                        self.sent += chunk
                        chunk = list(islice(messages, _CHUNK))
            if chunk:  # what was not confirmed goes again: at least once, as any publisher
                await asyncio.sleep(_PAUSE)

    async def _send(self, exchange: AbstractExchange, chunk: list[Message], *, persistent: bool) -> None:
        mode = DeliveryMode.PERSISTENT if persistent else DeliveryMode.NOT_PERSISTENT
        publishing = []
        for message in chunk:
            recovery: HeadersType = {"recovery": 1} if message.key.startswith("lo.") else {}
            body = aio_pika.Message(
                message.body, content_type="application/xml", delivery_mode=mode, headers=recovery
            )  # fmt: skip
            publishing.append(exchange.publish(body, message.key, mandatory=False))
        for result in await asyncio.gather(*publishing, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
