"""librdkafka's properties in the configuration file: which exist, which would break a promise, which are secret.

The names are librdkafka's own. Whether a property exists and takes a value is asked of librdkafka itself, so a newer one
brings its own; the tables here are what this program adds: `REFUSED`, `LIMITS` and the near names for a typing mistake.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from confluent_kafka import KafkaException, Producer

from bridge.settings import Secret, Url
from bridge.source import nearest

#: A value as the file has it.
Plain = str | int | float | bool

_RECORDS_SAFE: Final = "every record waits for all in-sync replicas, or a failed broker could lose it"
_KEYS: Final = "keys must land where Java clients put them (murmur2_random)"
_POSITIONS: Final = "the ledger holds the positions, not a consumer group"
_MEMBER: Final = "readers assign their partitions themselves and join no group"
_ORDER: Final = "records of one key must keep their order"
_CALLBACK: Final = "it is a hook for programs, not a setting"

#: Properties that the bridge sets itself or that would break a promise, and why.
REFUSED: Final[Mapping[str, str]] = {
    "acks": _RECORDS_SAFE,
    "request.required.acks": _RECORDS_SAFE,
    "enable.idempotence": "exactly once rests on it",
    "transactional.id": "it is made of topics.prefix, name and lane, and decides who publishes",
    "partitioner": _KEYS,
    "isolation.level": "records of aborted transactions must never be read",
    "enable.auto.commit": _POSITIONS,
    "auto.commit.enable": _POSITIONS,
    "auto.commit.interval.ms": _POSITIONS,
    "enable.auto.offset.store": _POSITIONS,
    "offset.store.method": _POSITIONS,
    "offset.store.path": _POSITIONS,
    "offset.store.sync.interval.ms": _POSITIONS,
    "auto.offset.reset": "a ledger that is not read from its start would let duplicates pass",
    "enable.partition.eof": "readers must know where a partition ends",
    "group.id": _MEMBER,
    "group.instance.id": _MEMBER,
    "group.protocol": _MEMBER,
    "group.protocol.type": _MEMBER,
    "group.remote.assignor": _MEMBER,
    "partition.assignment.strategy": _MEMBER,
    "share.acknowledgement.mode": _MEMBER,
    "queuing.strategy": _ORDER,
    "delivery.report.only.error": "which reports of the producer count is the bridge's own",
    "allow.auto.create.topics": "topics are made with the settings of `feedbridge topics plan`",
    "metadata.broker.list": "it is another name of bootstrap.servers, and two lists could differ",
    "test.mock.num.brokers": "the stand-in broker keeps no promise; `feedbridge demo` uses it",
    "test.mock.broker.rtt": "the stand-in broker keeps no promise; `feedbridge demo` uses it",
    "plugin.library.paths": "foreign code could change or drop records",
    "internal.termination.signal": "signals are the bridge's own",
    "enabled_events": _CALLBACK,
    "log.queue": "the client's log would be lost",
    "logger": _CALLBACK,
    "on_delivery": _CALLBACK,
    "on_commit": _CALLBACK,
    "default.topic.config": "write the properties of topics beside the others",
}

#: Properties that keep the promises only within limits: the smallest value, the largest or None, and why.
LIMITS: Final[Mapping[str, tuple[int, int | None, str]]] = {
    "max.in.flight.requests.per.connection": (1, 5, "with more, retries could change the order of records"),
    "max.in.flight": (1, 5, "with more, retries could change the order of records"),
    "message.send.max.retries": (1, None, "exactly once rests on retries"),
    "retries": (1, None, "exactly once rests on retries"),
    "message.timeout.ms": (1, None, "a record must not be retried beyond the end of its transaction"),
    "delivery.timeout.ms": (1, None, "a record must not be retried beyond the end of its transaction"),
    "transaction.timeout.ms": (
        10_000,
        900_000,
        "less would end good transactions, and no broker allows more by itself",
    ),
}

#: ``transaction.timeout.ms`` where the file does not set it, as `bridge.kafka` does.
TRANSACTION_TIMEOUT_MS: Final = 60_000


def secret(name: str) -> bool:
    """Whether a property's value is a credential."""
    return _SECRET.search(name) is not None


def typed(name: str, value: Plain) -> Plain | Secret:
    """Return a value as settings keep it: credentials, and URLs that may hold some, as `Secret`."""
    if secret(name) or (isinstance(value, str) and _CREDENTIALS_IN_URL.search(value)):
        return Secret(str(value))
    return value


def faults(given: Mapping[str, Plain]) -> Iterator[tuple[str, str, str | None]]:
    """Yield (name, what, mend) for each property that can't be used. No text holds a value."""
    for name, value in given.items():
        fault = _fault(name, value)
        if fault:
            yield name, *fault
    servers = given.get("bootstrap.servers")
    if servers is None:
        yield "bootstrap.servers", "missing", "add it: host:port, or several with commas between"
    elif not isinstance(servers, str) or not _SERVERS.fullmatch(servers):
        yield "bootstrap.servers", "expected host:port, or several with commas between", None
    limit = _whole(given.get("transaction.timeout.ms")) or TRANSACTION_TIMEOUT_MS
    for name in ("message.timeout.ms", "delivery.timeout.ms"):
        timeout = _whole(given.get(name))
        if timeout is not None and timeout >= limit:
            why = "a record must not be retried beyond the end of its transaction"
            yield name, f"must be below transaction.timeout.ms ({limit}): {why}", None


def _fault(name: str, value: Plain) -> tuple[str, str | None] | None:
    reason = REFUSED.get(name) or (_CALLBACK if _HOOK.search(name) else None)
    if reason:
        return f"can't be set: {reason}", "remove it"
    if name in LIMITS:
        low, high, why = LIMITS[name]
        number = _whole(value)
        if number is None or number < low or (high is not None and number > high):
            bounds = f"at least {low}" if high is None else f"between {low} and {high}"
            return f"must be {bounds}: {why}", None
    if name.endswith(".url") and not _is_url(value):
        # Not left to librdkafka: what is no URL can't be masked as one, and may hold a password.
        return "expected a URL with scheme and host, such as https://host", None
    answer = _ask(name, value)
    if answer == f'No such configuration property: "{name}"':
        return "librdkafka has no such property", nearest(name, set(KNOWN) - REFUSED.keys())
    if "must be set through" in answer or "not settable" in answer:
        return f"can't be set: {_CALLBACK}", "remove it"
    allowed = re.search(r"outside allowed range (-?\d+)\.\.(-?\d+)", answer)
    if allowed:
        return f"must be between {allowed[1]} and {allowed[2]}", None
    if answer.startswith("Expected bool"):
        return "expected true or false", None
    if answer != _ACCEPTED:
        return "librdkafka does not take this value", "see CONFIGURATION.md of librdkafka"
    return None


def _ask(name: str, value: Plain) -> str:
    """Return what librdkafka says to a property.

    Properties are taken in order and the first bad one ends it, so the one that does not exist, put last, both proves
    that `name` was accepted and keeps a client from being made.
    """
    text = str(value).lower() if isinstance(value, bool) else str(value)
    try:
        Producer({name: text, _NOWHERE: ""})
    except KafkaException as error:
        return str(error.args[0].str())
    except (TypeError, AttributeError):  # hooks of the Python client
        return "not settable"
    return _ACCEPTED


def _is_url(value: Plain) -> bool:
    try:
        return Url(str(value)).scheme in {"http", "https"}
    except ValueError:
        return False


def _whole(value: Plain | None) -> int | None:
    try:
        return None if value is None or isinstance(value, bool) else int(value)
    except ValueError:
        return None


_NOWHERE: Final = "feedbridge.no.such.property"
_ACCEPTED: Final = f'No such configuration property: "{_NOWHERE}"'
_SECRET: Final = re.compile(r"password|passphrase|secret|\.key\.pem$|^sasl\.oauthbearer\.config$|extensions$")
_CREDENTIALS_IN_URL: Final = re.compile(r"://[^/?#]*@|://[^#]*\?")
_HOOK: Final = re.compile(r"_cb$|^(ssl_|opaque$|interceptors$|msg_order_cmp$|default_topic_conf$|enable_sasl_queue$)")
_SERVER: Final = r"\s*(?:[A-Za-z_]+://)?(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::[0-9]{1,5})?\s*"
_SERVERS: Final = re.compile(rf"{_SERVER}(?:,{_SERVER})*")

#: The names of librdkafka 2.16, to advise on typing mistakes and for editors; what is accepted is librdkafka's to say.
KNOWN: Final = frozenset(
    """
    acks allow.auto.create.topics api.version.fallback.ms api.version.request api.version.request.timeout.ms
    auto.commit.enable auto.commit.interval.ms auto.offset.reset batch.num.messages batch.size bootstrap.servers
    broker.address.family broker.address.ttl broker.version.fallback check.crcs client.dns.lookup client.id
    client.rack compression.codec compression.level compression.type connections.max.idle.ms
    consume.callback.max.messages coordinator.query.interval.ms debug delivery.report.only.error
    delivery.timeout.ms enable.auto.commit enable.auto.offset.store enable.gapless.guarantee enable.idempotence
    enable.metrics.push enable.partition.eof enable.random.seed enable.sasl.oauthbearer.unsecure.jwt
    enable.ssl.certificate.verification enabled_events fetch.error.backoff.ms fetch.max.bytes
    fetch.message.max.bytes fetch.min.bytes fetch.queue.backoff.ms fetch.wait.max.ms group.id group.instance.id
    group.protocol group.protocol.type group.remote.assignor heartbeat.interval.ms https.ca.location
    https.ca.pem internal.termination.signal isolation.level linger.ms log.connection.close log.queue
    log.thread.name log_level max.in.flight max.in.flight.requests.per.connection max.partition.fetch.bytes
    max.poll.interval.ms max.poll.records message.copy.max.bytes message.max.bytes message.send.max.retries
    message.timeout.ms metadata.broker.list metadata.max.age.ms metadata.recovery.rebootstrap.trigger.ms
    metadata.recovery.strategy offset.store.method offset.store.path offset.store.sync.interval.ms
    partition.assignment.strategy partitioner plugin.library.paths produce.offset.report
    queue.buffering.backpressure.threshold queue.buffering.max.kbytes queue.buffering.max.messages
    queue.buffering.max.ms queued.max.messages.kbytes queued.min.messages queuing.strategy
    receive.message.max.bytes reconnect.backoff.jitter.ms reconnect.backoff.max.ms reconnect.backoff.ms
    request.required.acks request.timeout.ms retries retry.backoff.max.ms retry.backoff.ms sasl.kerberos.keytab
    sasl.kerberos.kinit.cmd sasl.kerberos.min.time.before.relogin sasl.kerberos.principal
    sasl.kerberos.service.name sasl.mechanism sasl.mechanisms sasl.oauthbearer.assertion.algorithm
    sasl.oauthbearer.assertion.claim.aud sasl.oauthbearer.assertion.claim.exp.seconds
    sasl.oauthbearer.assertion.claim.iss sasl.oauthbearer.assertion.claim.jti.include
    sasl.oauthbearer.assertion.claim.nbf.seconds sasl.oauthbearer.assertion.claim.sub
    sasl.oauthbearer.assertion.file sasl.oauthbearer.assertion.jwt.template.file
    sasl.oauthbearer.assertion.private.key.file sasl.oauthbearer.assertion.private.key.passphrase
    sasl.oauthbearer.assertion.private.key.pem sasl.oauthbearer.client.credentials.client.id
    sasl.oauthbearer.client.credentials.client.secret sasl.oauthbearer.client.id sasl.oauthbearer.client.secret
    sasl.oauthbearer.config sasl.oauthbearer.extensions sasl.oauthbearer.grant.type
    sasl.oauthbearer.metadata.authentication.type sasl.oauthbearer.method sasl.oauthbearer.scope
    sasl.oauthbearer.sub.claim.name sasl.oauthbearer.token.endpoint.url sasl.password sasl.username
    security.protocol session.timeout.ms share.acknowledgement.mode socket.blocking.max.ms
    socket.connection.setup.timeout.ms socket.keepalive.enable socket.max.fails socket.nagle.disable
    socket.receive.buffer.bytes socket.send.buffer.bytes socket.timeout.ms ssl.ca.certificate.stores
    ssl.ca.location ssl.ca.pem ssl.certificate.location ssl.certificate.pem ssl.cipher.suites ssl.crl.location
    ssl.curves.list ssl.endpoint.identification.algorithm ssl.engine.id ssl.engine.location ssl.key.location
    ssl.key.password ssl.key.pem ssl.keystore.location ssl.keystore.password ssl.providers ssl.sigalgs.list
    statistics.interval.ms sticky.partitioning.linger.ms topic.blacklist topic.metadata.propagation.max.ms
    topic.metadata.refresh.fast.cnt topic.metadata.refresh.fast.interval.ms topic.metadata.refresh.interval.ms
    topic.metadata.refresh.sparse transaction.timeout.ms transactional.id
    """.split()  # noqa: SIM905 - one name a line would be half of this file
)
