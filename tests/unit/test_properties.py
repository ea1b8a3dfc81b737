"""librdkafka's properties: which may be set."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from bridge import kafka
from bridge.properties import KNOWN, LIMITS, REFUSED, Plain, faults, secret, typed
from bridge.settings import Secret

MARKER = "HUNTER2"


def fault(name: str, value: Plain) -> tuple[str, str | None] | None:
    """Return what is wrong with one property beside the required one."""
    found = {key: (what, mend) for key, what, mend in faults({"bootstrap.servers": "host:9092", name: value})}
    assert MARKER not in str(found.values())
    return found.get(name)


def test_every_known_name_is_librdkafkas() -> None:
    """The table of names for near misses holds no name that would be refused as unknown."""
    for name in KNOWN - REFUSED.keys():
        told = fault(name, MARKER)
        assert told is None or "no such property" not in told[0], name


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_would_break_a_promise_is_refused_with_the_reason(name: str) -> None:
    """Whatever the value, the text says why, and what to do."""
    for value in (MARKER, "all", 1, True):
        assert fault(name, value) == (f"can't be set: {REFUSED[name]}", "remove it")


def test_what_the_clients_set_against_the_file_is_refused_in_the_file() -> None:
    """A property that a client would overrule silently must not be taken first."""

    def made(**given: Plain) -> dict[str, object]:
        config = SimpleNamespace(name="main", kafka={"bootstrap.servers": "host:1", **given})
        return kafka.consumer_config(config) | kafka.producer_config(config, transactional_id="own")

    overruled = {name for name in made() if made(**{name: "12345"})[name] not in {"12345", 12345}}
    assert overruled
    assert overruled <= REFUSED.keys()


@pytest.mark.parametrize(
    "name", ["error_cb", "opaque", "interceptors", "ssl_certificate", "ssl.certificate.verify_cb", "oauth_cb"]
)
def test_hooks_are_no_settings(name: str) -> None:
    """A function can't be written in a file."""
    told = fault(name, "x")
    assert told is not None
    assert "hook" in told[0]


@pytest.mark.parametrize("name", sorted(LIMITS))
def test_limits_are_kept(name: str) -> None:
    """The bounds themselves pass, the numbers beyond don't, and the text says why."""
    low, high, why = LIMITS[name]
    assert fault(name, low) is None
    assert fault(name, str(low)) is None
    bad: list[Plain] = [low - 1, "", MARKER, True]
    if high is not None:
        assert fault(name, high) is None
        bad.append(high + 1)
    for value in bad:
        told = fault(name, value)
        assert told is not None
        assert why in told[0]


def test_a_record_is_not_retried_beyond_its_transaction() -> None:
    """Both names of the time-out, against the limit of the file or the default."""
    base: dict[str, Plain] = {"bootstrap.servers": "host:9092"}
    for name in ("message.timeout.ms", "delivery.timeout.ms"):
        assert [key for key, _, _ in faults({**base, name: 60_000})] == [name]
        assert not list(faults({**base, name: 60_000, "transaction.timeout.ms": 60_001}))
        assert [key for key, _, _ in faults({**base, name: 30_000, "transaction.timeout.ms": "30000"})] == [name]


def test_a_typing_mistake_names_the_nearest_property() -> None:
    """But never one that is refused anyway."""
    assert fault("linger.mss", 5) == ("librdkafka has no such property", "did you mean `linger.ms`?")
    told = fault("partitione", 5)
    assert told is not None
    assert "partitioner" not in str(told[1])


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("topic.metadata.refresh.interval.ms", 99_999_999, "must be between -1 and 3600000"),
        ("socket.keepalive.enable", MARKER, "expected true or false"),
        ("linger.ms", MARKER, "librdkafka does not take this value"),
        ("security.protocol", MARKER, "librdkafka does not take this value"),
    ],
)
def test_a_bad_value_is_told_without_repeating_it(name: str, value: Plain, words: str) -> None:
    """librdkafka's own text quotes the value."""
    told = fault(name, value)
    assert told is not None
    assert words in told[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [("linger.ms", 0.5), ("socket.keepalive.enable", True), ("compression.type", "zstd"), ("retries", 3)],
)
def test_good_values_pass(name: str, value: Plain) -> None:
    """Text, numbers, true and false, as librdkafka takes them."""
    assert fault(name, value) is None


@pytest.mark.parametrize("url", [MARKER, f"https:/u:{MARKER}@h", f"https://u:{MARKER}", f"ftp://u:{MARKER}@h", 5])
def test_a_url_among_the_properties_is_one(url: Plain) -> None:
    """What is no URL could not be masked as one."""
    told = fault("sasl.oauthbearer.token.endpoint.url", url)
    assert told is not None
    assert "expected a URL" in told[0]
    assert fault("sasl.oauthbearer.token.endpoint.url", f"https://u:{MARKER}@host/token") is None


@pytest.mark.parametrize("servers", ["h:9092", "h", "10.0.0.1:9092, [::1]:9092", "SASL_SSL://h:9093,b_c.d:1"])
def test_brokers_are_hosts_with_ports(servers: str) -> None:
    """One or several, as librdkafka takes them."""
    assert not list(faults({"bootstrap.servers": servers}))


@pytest.mark.parametrize("servers", ["", "::", f"u:{MARKER}@h:1", "h:x", "h:1,,", 9092, "a b"])
def test_what_is_no_broker_is_refused(servers: Plain) -> None:
    """librdkafka would take it and never connect."""
    ((name, what, _),) = faults({"bootstrap.servers": servers})
    assert name == "bootstrap.servers"
    assert MARKER not in what


def test_brokers_are_required() -> None:
    """Without them there is nothing to connect to."""
    assert [name for name, _, _ in faults({})] == ["bootstrap.servers"]


def test_credentials_are_secrets() -> None:
    """Every property of librdkafka that holds one, and any URL with userinfo or query."""
    names = {
        "sasl.password",
        "ssl.key.password",
        "ssl.key.pem",
        "ssl.keystore.password",
        "sasl.oauthbearer.config",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.client.credentials.client.secret",
        "sasl.oauthbearer.assertion.private.key.pem",
        "sasl.oauthbearer.assertion.private.key.passphrase",
    }
    assert names <= {name for name in KNOWN if secret(name)}
    assert not any(secret(name) for name in ("sasl.username", "ssl.ca.location", "ssl.key.location", "client.id"))
    assert typed("sasl.oauthbearer.token.endpoint.url", f"https://u:{MARKER}@h/") == Secret(f"https://u:{MARKER}@h/")
    assert typed("sasl.oauthbearer.token.endpoint.url", "https://h/token") == "https://h/token"
    assert typed("sasl.password", 1234) == Secret("1234")
