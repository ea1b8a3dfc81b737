"""Requests to a running bridge, in the topic ``<prefix>feedbridge.<name>.requests``.

A command that wants something published never fences a running bridge: it writes a request, and the active carries it out. Each
lane takes each request once: the offset behind it stands in the lane's ledger entry that opens the gap, or that publishes the last
of the dead letters (`bridge.cursors`). What came of dead letters stands in the same topic, see `bridge.receipt`.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog
from confluent_kafka import KafkaException, TopicPartition

from bridge import kafka, topics
from bridge.cursors import REPLAYS, REQUESTS
from bridge.errors import BadData, BridgeError, Unreachable
from bridge.ledger import Gap
from bridge.receipt import is_receipt
from bridge.topics import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from confluent_kafka import Consumer, KafkaError, Message

    from bridge.config import Config

#: Longest wait (s) for a request, and between tries while Kafka does not answer.
POLL: Final = 0.5
RETRY: Final = 5.0
#: Longest single call to Kafka (s).
CALL: Final = 15.0
#: An unread request is worth nothing after a week (ms): who asked has asked again, or done without.
WORTH: Final = 7 * 24 * 3_600_000
#: A request is short; what is longer is none.
_LONGEST: Final = 64 << 10

log = structlog.get_logger(__name__)


class Request(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What is to be filled: a gap that is recorded, as its last record says; or a span (ms since the epoch) of a gateway.

    Or which dead letters of the gateway are to be published: partition → offsets. They are named and not held, whoever carries
    the request out reads them: so it stays short, and what is private stays in its topic. older: see `bridge.witness`.
    """

    gateway: str
    gap: Gap | None = None
    since: int = 0
    until: int = 0
    letters: dict[int, list[int]] = {}
    older: bool = False


def decode(raw: bytes) -> Request:
    """Read a request. Raises BadData for what is none."""
    if len(raw) > _LONGEST:
        raise BadData("longer than any request", where="requests")
    try:
        request = msgspec.json.decode(raw, type=Request)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadData(f"is no request: {error}", where="requests") from None
    if not request.letters and request.gap is None and not 0 < request.since < request.until:
        raise BadData("is no request: neither a gap nor a span nor dead letters", where="requests")
    return request


def send(config: Config, request: Request) -> int:
    """Write a request; returns its offset. Blocking. Raises what Kafka's refusal means."""
    name = f"{topics.own_name(config, Role.REQUESTS)}-{uuid.uuid4().hex}"
    reports = kafka.Reports()
    offsets: list[int] = []
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            failed.append(error)
        else:
            offsets.append(message.offset() or 0)

    producer = kafka.producer(config, transactional_id=name)
    topic = topics.own_name(config, Role.REQUESTS)
    try:
        producer.init_transactions(CALL)
        producer.begin_transaction()
        producer.produce(
            topic, msgspec.json.encode(request), request.gateway.encode(), partition=0, on_delivery=delivered
        )
        producer.commit_transaction(CALL)
    except KafkaException as error:
        raise reports.classify(failed[0] if failed else error, name=topic) from error
    return offsets[0]


class Requests:
    """Reads the requests while a lane of this process is active. handle: called on the event loop with (offset, request)."""

    def __init__(
        self,
        config: Config,
        handle: Callable[[int, Request], None],
        *,
        now: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """Nothing is read before a lane is active. now: ms since the epoch."""
        self._now = now
        self._config = config
        self._handle = handle
        self._from: int | None = None
        #: Gaps that were asked for before have been opened.
        self._gaps_from: int | None = None
        self._wanted = asyncio.Event()
        self._stopped = False

    def active(self, lane: int, cursors: Mapping[str, str]) -> None:  # noqa: ARG002 - one reader for all lanes
        """A lane has become active: requests are read (again) from where it stands."""
        gaps, replays = (int(cursors.get(name, "0")) for name in (REQUESTS, REPLAYS))
        self._gaps_from = gaps if self._gaps_from is None else min(self._gaps_from, gaps)
        begin = min(gaps, replays)
        self._from = begin if self._from is None else min(self._from, begin)
        self._wanted.set()

    async def run(self) -> None:
        """Read until cancelled."""
        await self._wanted.wait()
        trouble = None
        while not self._stopped:
            try:
                await asyncio.to_thread(self._read, asyncio.get_running_loop())
            except BridgeError as error:
                if str(error) != trouble:
                    trouble = str(error)
                    log.warning("requests_not_read", reason=trouble)
                await asyncio.sleep(RETRY)

    def stop(self) -> None:
        """End the thread that reads."""
        self._stopped = True

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read in a thread of its own, until stopped. Raises the error that says why it can't go on."""
        reports = kafka.Reports()
        consumer = kafka.consumer(self._config, role="requests", reports=reports)
        place = topics.own_name(self._config, Role.REQUESTS)
        next_offset = 0
        try:
            while not self._stopped:
                if self._from is not None:
                    next_offset, self._from = self._from, None
                    _assign(consumer, place, next_offset)
                message = consumer.poll(POLL)
                if message is None:
                    continue
                error = message.error()
                if error is not None:
                    if error.code() in kafka.HARMLESS_TO_READERS:
                        continue
                    verdict = reports.classify(error, name=place)
                    if error.code() == error._PARTITION_EOF or error.retriable() or isinstance(verdict, Unreachable):  # noqa: SLF001
                        continue
                    raise verdict
                next_offset = (message.offset() or 0) + 1
                self._take(loop, message)
        except KafkaException as error:
            raise reports.classify(error, name=place) from error
        finally:
            if self._from is None:
                self._from = next_offset
            consumer.close()

    def _take(self, loop: asyncio.AbstractEventLoop, message: Message) -> None:
        offset, value = message.offset() or 0, message.value()
        if is_receipt(message.headers()) or message.timestamp()[1] < self._now() - WORTH:
            return
        try:
            request = decode(value if isinstance(value, bytes) else b"")
        except BadData as error:
            log.warning("request_refused", offset=offset, reason=str(error))
            return
        if not self._stopped and (request.letters or offset >= (self._gaps_from or 0)):
            loop.call_soon_threadsafe(self._handle, offset, request)


def facts(request: Request) -> dict[str, Any]:
    """A request as an event of the journal has it."""
    found: dict[str, Any] = msgspec.to_builtins(request)
    return found


def _assign(consumer: Consumer, topic: str, offset: int) -> None:
    """Read on from an offset, or from the oldest there is where that is younger."""
    low, high = consumer.get_watermark_offsets(TopicPartition(topic, 0), CALL, cached=False)
    consumer.assign([TopicPartition(topic, 0, min(max(offset, low), high))])
