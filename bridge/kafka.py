"""Kafka clients: what librdkafka is told, and what its errors mean.

The properties of `config.kafka` are librdkafka's own and pass through as they are. Three kinds of keys are added here:
what the promises rest on (`bridge.properties` refuses them in the file, and here they win), what a bridge of small, frequent transactions
needs (may be set by hand), and what every client gets (name, log, memory of errors).

librdkafka reports most failures to connect from its own threads, and the call that was made ends in a bare time-out.
`Reports` keeps what those threads said, so that an error can name the cause.
"""

from __future__ import annotations

import contextlib
import logging
import re
import time
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from bridge import advice, handshake
from bridge.errors import BadData, BridgeError, ConfigError, Fenced, Refused, Unreachable
from bridge.properties import TRANSACTION_TIMEOUT_MS
from bridge.settings import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from concurrent.futures import Future

    from confluent_kafka import Message
    from confluent_kafka.admin import ClusterMetadata

_T = TypeVar("_T")

#: Bytes of the largest batch of records that our topics take (``max.message.bytes``), where the broker lets us.
TOPIC_BYTES: Final = 16 * 1024 * 1024
#: Bytes of the largest record that the producer takes: below `TOPIC_BYTES`, so that what the client lets pass the
#: broker takes too, with key, headers and framing. A refusal by the broker would cost the whole transaction.
MESSAGE_BYTES: Final = TOPIC_BYTES - 64 * 1024
#: A broker that starts anew is given so long (s) to take connections again before somebody is told that none does.
CLOSED: Final = 1.5
#: librdkafka's default of ``batch.size``.
BATCH_SIZE: Final = 1_000_000
#: A reader assigns its partitions itself and commits nothing. librdkafka still looks for the group's coordinator;
#: that a key may not see the group is no error for us.
HARMLESS_TO_READERS: Final = frozenset({KafkaError.GROUP_AUTHORIZATION_FAILED})


class Settings(Protocol):
    """What is needed of `bridge.config.Config`."""

    @property
    def name(self) -> str:
        """The installation's name."""

    @property
    def kafka(self) -> Mapping[str, Any]:
        """librdkafka properties; secrets as `Secret`."""


def producer_config(config: Settings, *, transactional_id: str) -> dict[str, Any]:
    """Properties of a lane's transactional producer.

    A record that the client still retries must not outlive its transaction: ``message.timeout.ms`` follows
    ``transaction.timeout.ms`` where only that is set.
    """
    given = _given(config, but=_CONSUMERS)
    timeout = int(given.get("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS))
    return {
        **_base(config, role="producer"),
        "message.max.bytes": MESSAGE_BYTES,
        "compression.type": "lz4",
        # A commit waits for nothing; of a transaction that is still growing, few large requests are better than many.
        "linger.ms": 100,
        # A bridge that was cut off for a while should not wait much longer once the broker is back.
        "reconnect.backoff.max.ms": 2_000,
        "message.timeout.ms": timeout * 3 // 4,
        **given,
        "transactional.id": transactional_id,
        "transaction.timeout.ms": timeout,
        "enable.idempotence": True,
        "acks": "all",
        "partitioner": "murmur2_random",
        "allow.auto.create.topics": False,
    }


def consumer_config(config: Settings, *, role: str = "reader") -> dict[str, Any]:
    """Properties of a consumer that sees committed records only and assigns its partitions itself.

    It never commits. ``group.id`` is only there because the client insists on one.
    """
    return {
        **_base(config, role=role),
        "group.id": f"feedbridge.{config.name}.{role}",
        # At the end of a partition a fetch waits this long; the default of half a second is what a take-over would cost.
        "fetch.wait.max.ms": 25,
        "fetch.error.backoff.ms": 100,
        "reconnect.backoff.max.ms": 2_000,
        # What is read ahead is memory; the default is 64 MiB.
        "queued.max.messages.kbytes": 16_384,
        **_given(config, but=_PRODUCERS),
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "enable.partition.eof": True,
        "allow.auto.create.topics": False,
    }


def producer(
    config: Settings,
    *,
    transactional_id: str,
    lane: int | None = None,
    reports: Reports | None = None,
    largest: int | None = None,
) -> Producer:
    """Make a transactional producer; nothing is sent yet. Raises ConfigError for properties that librdkafka refuses.

    lane: that its log lines name. reports: also keeps which records of a transaction were refused: a commit only says that one was.
    largest: bytes of records that may go in one batch; None: librdkafka's default.
    """
    properties = producer_config(config, transactional_id=transactional_id)
    if reports is not None:
        properties |= {"on_delivery": reports.delivered, "delivery.report.only.error": True}
    if largest is not None:
        # A batch that is larger than its topic takes is refused whole, however small its records are.
        properties["batch.size"] = max(min(largest, int(properties.get("batch.size", BATCH_SIZE))), 1)
    return _make(Producer, config, properties, reports, lane=lane)


def consumer(
    config: Settings, *, role: str = "reader", lane: int | None = None, reports: Reports | None = None
) -> Consumer:
    """Make a reader, see `consumer_config`. Raises ConfigError for properties that librdkafka refuses.

    lane: that its log lines name.
    """
    return _make(Consumer, config, consumer_config(config, role=role), reports, lane=lane)


class Reports:
    """What a client's own threads have reported: the cause behind a bare time-out. Give it as ``error_cb``."""

    def __init__(self) -> None:
        """Nothing reported so far."""
        self._telling: KafkaError | None = None
        self._down = False
        self._undelivered: list[tuple[KafkaError, Message]] = []

    def delivered(self, error: KafkaError | None, message: Message) -> None:
        """A delivery report (librdkafka's ``on_delivery``): keep each failure that is not just an abort's purge."""
        if error is not None and error.code() not in _PURGED:
            self._undelivered.append((error, message))

    def failed(self, codes: Collection[int]) -> bool:
        """Whether a record was not delivered for one of these reasons since `undelivered` was asked."""
        return any(error.code() in codes for error, _ in self._undelivered)

    def undelivered(self) -> list[tuple[KafkaError, Message]]:
        """The records that were not delivered since the last call, each with the reason; forgotten then."""
        undelivered, self._undelivered = self._undelivered, []
        return undelivered

    def __call__(self, error: KafkaError) -> None:
        """Keep the most telling error: a refused password says more than the closed connection that follows.

        Of those that tell as much the first is kept, so that the words stay the same while brokers fail in turns.
        """
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001
            self._down = True
        if self._telling is None or _weight(error) > _weight(self._telling):
            self._telling = error

    @property
    def telling(self) -> KafkaError | None:
        """The most telling error since `forget`."""
        return self._telling

    @property
    def final(self) -> bool:
        """Whether trying again soon is no use: the other side refuses us, or is not who it should be."""
        return self._telling is not None and _weight(self._telling) >= _FINAL

    def enough(self, seconds: float) -> bool:
        """Whether somebody who has tried for so long should be told: it is `final`, or no broker even takes a connection.

        What is merely silent may still answer.
        """
        if self.final:
            return True
        told = self._telling is not None and (
            self._telling.code() == KafkaError._RESOLVE or "refused" in self._telling.str()  # noqa: SLF001
        )
        return told and self._down and seconds >= CLOSED

    def forget(self) -> None:
        """A call succeeded: what was reported before explains no later failure."""
        self._telling = None
        self._down = False

    def classify(self, error: KafkaError | KafkaException, *, name: str | None = None) -> BridgeError:
        """`classify`, with the reported cause in place of a bare time-out."""
        cause = _error(error)
        if cause.code() in _BARE and self._telling is not None and _weight(self._telling) > 0:
            cause = self._telling
        return classify(cause, name=name)


class Admin:
    """An admin client whose every failure is a `BridgeError` that names its cause.

    timeout: seconds for each request.
    """

    def __init__(self, config: Settings, *, timeout: float = 15.0) -> None:
        """Make the client; nothing is sent yet. Raises ConfigError for properties that librdkafka refuses."""
        self.timeout = timeout
        self._reports = Reports()
        properties = {
            **_base(config, role="admin"),
            "reconnect.backoff.max.ms": 2_000,
            **_given(config, but=f"{_PRODUCERS}|{_CONSUMERS}"),
        }
        self._ca, self._ca_pem = properties.get("ssl.ca.location"), properties.get("ssl.ca.pem")
        self._servers = str(properties.get("bootstrap.servers", ""))
        self._protocol = str(properties.get("security.protocol", "plaintext"))
        self.client: AdminClient = _make(AdminClient, config, properties, self._reports)

    def metadata(self) -> ClusterMetadata:
        """Brokers and all visible topics. Raises Unreachable or Refused.

        Credentials or certificates that are refused end it at once, and soon where no broker takes a connection: librdkafka
        itself would try on to the time-out.
        """
        began = time.monotonic()
        while True:
            try:
                return self.call(lambda: self.client.list_topics(timeout=min(_SLICE, self.timeout)))
            except BridgeError as error:
                tried = time.monotonic() - began
                if not isinstance(error, Unreachable) or self._reports.enough(tried):
                    raise
                if tried >= self.timeout:
                    raise (handshake.mismatch(self._servers, self._protocol) or error) from error

    def result(self, future: Future[_T], *, name: str | None = None) -> _T:
        """Wait for one answer of a request. name: the topic or other resource to blame in the error's text."""
        return self.call(lambda: future.result(timeout=self.timeout + 5), name=name)

    def call(self, request: Callable[[], _T], *, name: str | None = None) -> _T:
        """Run a request and turn its failure into the error that says why."""
        try:
            answer = request()
        except KafkaException as error:
            raise self._explain(_error(error), name) from error
        except TimeoutError as error:
            raise self._explain(KafkaError(KafkaError._TIMED_OUT), name) from error  # noqa: SLF001
        self._reports.forget()
        return answer

    def _explain(self, error: KafkaError, name: str | None) -> BridgeError:
        hear(self.client)
        verdict = self._reports.classify(error, name=name)
        if isinstance(verdict, Unreachable) and "verify failed" in verdict.what:
            return handshake.untrusted(verdict.what, ca=self._ca, ca_pem=self._ca_pem) or verdict
        return verdict


def hear(client: AdminClient | Consumer | Producer, *, wait: float = 0.0) -> None:
    """Let the client's threads say what they have to say, to its `Reports`. wait: seconds. Not for an assigned consumer.

    After a fatal error `poll` raises it, beside all reports; whoever made the failed call knows it already.
    """
    with contextlib.suppress(KafkaException, SystemError):
        client.poll(wait)


def classify(error: KafkaError | KafkaException, *, name: str | None = None) -> BridgeError:
    """Which of our errors a Kafka error is, with one line for a person. Callers raise it.

    name: topic, transactional id or other resource that was asked for.
    """
    cause = _error(error)
    code, text = cause.code(), _clean(cause.str())
    named = f" {name!r}" if name else ""
    if code in _FENCED:
        return Fenced(f"a newer producer of the transactional id{named} exists", where="kafka")
    if code in _AUTHENTICATION:
        return advice.authentication(text)
    if code == KafkaError._SSL or "SSL alert" in text:  # noqa: SLF001
        return advice.tls(text)
    if code in _AUTHORIZATION:
        kind, right = _AUTHORIZATION[code]
        return Refused(f"not authorized for {kind}{named}: {text}", where="kafka", mend=f"grant the user {right}")
    if code in _MISSING_TOPIC:
        return ConfigError(f"topic{named} does not exist", where="kafka", mend="run `feedbridge topics apply`")
    if code in _CONFIG:
        return ConfigError(f"{name}: {text}" if name else text, where="kafka")
    if code in _TOO_LARGE:
        return BadData(f"{name}: {text}" if name else text, where="kafka")
    if code in _UNREACHABLE or cause.retriable():
        return Unreachable(text, where="kafka", mend=advice.connection(text))
    return BridgeError(f"{name}: {text}" if name else text, where="kafka")


def _codes(*names: str) -> frozenset[int]:
    return frozenset(getattr(KafkaError, name) for name in names)


_FENCED: Final = _codes("_FENCED", "PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH")
_AUTHENTICATION: Final = _codes(
    "_AUTHENTICATION",
    "SASL_AUTHENTICATION_FAILED",
    "UNSUPPORTED_SASL_MECHANISM",
    "ILLEGAL_SASL_STATE",
    "DELEGATION_TOKEN_EXPIRED",
)
_AUTHORIZATION: Final[Mapping[int, tuple[str, str]]] = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: ("topic", "what `feedbridge topics acls` prints"),
    KafkaError.GROUP_AUTHORIZATION_FAILED: ("consumer group", "Read on it"),
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: ("the cluster", "Create, or make the topics beforehand"),
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: ("transactional id", "Write on it, see `feedbridge topics acls`"),
}
_MISSING_TOPIC: Final = _codes("UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION")
_CONFIG: Final = _codes(
    "_INVALID_ARG",
    "_CONFLICT",
    "_UNSUPPORTED_FEATURE",
    "UNSUPPORTED_VERSION",
    "INVALID_CONFIG",
    "INVALID_PARTITIONS",
    "INVALID_REPLICATION_FACTOR",
    "INVALID_TRANSACTION_TIMEOUT",
    "POLICY_VIOLATION",
    "TOPIC_EXCEPTION",
    "SECURITY_DISABLED",
)
_PURGED: Final = _codes("_PURGE_QUEUE", "_PURGE_INFLIGHT")
_TOO_LARGE: Final = _codes("MSG_SIZE_TOO_LARGE", "RECORD_LIST_TOO_LARGE")
#: Errors that only say that no answer came, not why.
_BARE: Final = _codes("_TIMED_OUT", "_TRANSPORT", "_ALL_BROKERS_DOWN", "_TIMED_OUT_QUEUE", "_MSG_TIMED_OUT")
_UNREACHABLE: Final = _BARE | _codes(
    "_RESOLVE",
    "_RETRY",
    "_WAIT_COORD",
    "_ISR_INSUFF",
    "REQUEST_TIMED_OUT",
    "NETWORK_EXCEPTION",
    "BROKER_NOT_AVAILABLE",
    "LEADER_NOT_AVAILABLE",
    "NOT_LEADER_FOR_PARTITION",
    "COORDINATOR_NOT_AVAILABLE",
    "COORDINATOR_LOAD_IN_PROGRESS",
    "NOT_COORDINATOR",
    "NOT_CONTROLLER",
    "NOT_ENOUGH_REPLICAS",
    "NOT_ENOUGH_REPLICAS_AFTER_APPEND",
    "KAFKA_STORAGE_ERROR",
    "THROTTLING_QUOTA_EXCEEDED",
)

#: Seconds of one try to get the metadata.
_SLICE: Final = 1.0
#: From this weight on a report is `Reports.final`.
_FINAL: Final = 3
#: How telling a report is; later reports replace those of the same weight.
_WEIGHTS: Final[Mapping[int, int]] = {
    **dict.fromkeys(_AUTHENTICATION, 4),
    KafkaError._SSL: 3,  # noqa: SLF001
    KafkaError._RESOLVE: 2,  # noqa: SLF001
    KafkaError._TRANSPORT: 1,  # noqa: SLF001
}

#: A client warns of each property that is another kind of client's, and so would the log of each of ours.
_PRODUCERS: Final = (
    r"linger\.ms|compression\.|batch\.|queue\.buffering\.|message\.(timeout|send)|delivery\.|retries$|transaction\."
    r"|sticky\.|request\.timeout\.ms$|enable\.gapless"
)
_CONSUMERS: Final = r"fetch\.|queued\.|session\.|heartbeat\.|max\.(poll|partition)\.|check\.crcs|coordinator\."


class Likeness(logging.Filter):
    """Marks librdkafka's lines for `bridge.ops.repeats`: while a broker is away it says the same 20 times a second.

    Its counters and thread names do not make a line another one, and one of a kind is told at once.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Let all pass."""
        record.likeness = _HANDLE.sub("", _clean(record.getMessage()))
        record.burst = 1
        return True


_LOG: Final = logging.getLogger("bridge.kafka")
_LOG.addFilter(Likeness())


def _base(config: Settings, *, role: str) -> dict[str, Any]:
    return {
        "client.id": f"feedbridge-{config.name}-{role}",
        "socket.keepalive.enable": True,
        "socket.connection.setup.timeout.ms": 10_000,
        "statistics.interval.ms": 0,
        # Brokers close connections that idle; a line for each would hide the disconnects that matter.
        "log.connection.close": False,
    }


def _given(config: Settings, *, but: str) -> dict[str, Any]:
    """The user's properties as librdkafka takes them, but for those of another kind of client."""
    given = {key: value for key, value in config.kafka.items() if not re.match(but, key)}
    plain = {key: value.reveal() if isinstance(value, Secret) else value for key, value in given.items()}
    return {key: str(value).lower() if isinstance(value, bool) else value for key, value in plain.items()}


def _make(
    client: Callable[..., _T],
    config: Settings,
    properties: dict[str, Any],
    reports: Reports | None,
    *,
    lane: int | None = None,
) -> _T:
    said = {"client": properties["client.id"]} | ({} if lane is None else {"lane": lane})
    try:
        return client({**properties, "error_cb": reports or Reports()}, logger=logging.LoggerAdapter(_LOG, said))
    except (KafkaException, ValueError, TypeError) as error:
        cause = error.args[0] if error.args else error
        text = cause.str() if isinstance(cause, KafkaError) else str(cause)
        # From None: librdkafka quotes values it can't use, and a value may be a secret.
        raise ConfigError(
            _masked(_clean(text), config.kafka.values()),
            where="kafka",
            mend="the properties are librdkafka's, see its CONFIGURATION.md",
        ) from None


def _masked(text: str, values: Iterable[Any]) -> str:
    for value in values:
        if isinstance(value, Secret) and value.reveal():
            text = text.replace(value.reveal(), "***")
    return text


def _error(error: KafkaError | KafkaException) -> KafkaError:
    if isinstance(error, KafkaError):
        return error
    cause = error.args[0] if error.args else None
    return cause if isinstance(cause, KafkaError) else KafkaError(KafkaError.UNKNOWN, str(error))


def _weight(error: KafkaError) -> int:
    if "SSL alert" in error.str():
        return _WEIGHTS[KafkaError._SSL]  # noqa: SLF001
    return _WEIGHTS.get(error.code(), 0)


_HANDLE: Final = re.compile(r"\[[^]]*#(?:producer|consumer)-\d+] |\[thrd:[^]]*]:? ")
_NOISE: Final = re.compile(
    r" \(after \d+ms in state [A-Z_]+(?:, \d+ identical error\(s\) suppressed)?\)|/bootstrap(?=:)"
)


def _clean(text: str) -> str:
    """librdkafka's text in one line, without its bookkeeping."""
    return " ".join(_NOISE.sub("", text).split())
