"""A Kafka and a registry that ask who comes, over TLS: every way to log in, and one clear line for every way to fail."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from bridge.catalog import Catalog
from bridge.cli import main
from bridge.errors import BridgeError, Refused, Unreachable
from bridge.kafka import Admin
from bridge.ops import logs
from bridge.properties import typed
from bridge.registry import Registry
from bridge.sim import TickTockSim
from bridge.topics import TopicPlan, plan
from tests.installation import installation
from tests.kafka.conftest import Registry as Server
from tests.running import BridgeHere, BridgeProcess, configuration, ticktock
from tests.servers.certificates import Authority
from tests.servers.guard import Guard
from tests.servers.reading import read_topics
from tests.servers.secured import CLIENT_SECRET, PASSWORD, SecuredKafka, basic, bindings

pytestmark = pytest.mark.timeout(240)

MECHANISMS: Final = ("SCRAM-SHA-512", "PLAIN", "OAUTHBEARER", "MTLS")
WRONG: Final = "XqZjWvKy-wrong"
#: Secrets as they could be told: plain, in the forms of PLAIN and of the token endpoint, and tokens themselves.
TOLD: Final = (
    "XqZjWvKy",
    base64.b64encode(f"\0feedbridge\0{PASSWORD}".encode()).decode(),
    base64.b64encode(f"feedbridge:{CLIENT_SECRET}".encode()).decode(),
    base64.b64encode(b'{"alg": "RS256"').decode().rstrip("=")[:-1],
)
Properties = dict[str, Any]


def granted(secured: SecuredKafka, prefix: str) -> None:
    """Everything on what begins so, and on the installation's transactional ids."""
    operations = ["Read", "Write", "Create", "Alter", "DescribeConfigs"]
    rows = (("topic", prefix, operations), ("transactionalId", prefix, ["Write"]))
    secured.grant(bindings({"resource": kind, "name": name, "pattern": "prefixed", "operations": o} for kind, name, o in rows))  # fmt: skip


async def test_a_bridge_publishes_and_tells_no_secret(secured: SecuredKafka, topic_prefix: str, tmp_path: Path) -> None:
    """By each way to log in, all configured through librdkafka's properties; at log level debug, client included."""
    granted(secured, topic_prefix)
    said = await asyncio.gather(
        *(published(secured, f"{topic_prefix}{each.lower()}.", tmp_path / each, each) for each in MECHANISMS)
    )
    for mechanism, text in zip(MECHANISMS, said, strict=True):
        assert "sasl" in text.lower() or mechanism == "MTLS", mechanism
        assert [form for form in TOLD if form in text] == [], mechanism


async def published(secured: SecuredKafka, prefix: str, folder: Path, mechanism: str) -> str:
    """Have a bridge publish; returns all that it has said."""
    async with TickTockSim(seed=1, rate=100) as sim:
        config = configuration({"cs2": ticktock(sim)}, kafka="", prefix=prefix, topics={"layout": ["gateway"]})
        config["kafka"] = secured.properties(mechanism, debug="security,broker")
        async with BridgeProcess(config, folder, level="debug") as bridge:
            await bridge.ready()
            await bridge.received(100, gateway="cs2")
            status = json.dumps(await bridge.status())
            assert await bridge.stop() == 0, bridge.last_words()
            output = bridge.output()
    assert len(read_topics(secured.cluster.bootstrap, f"{prefix}cs2")) > 0
    return output + status


def test_the_search_finds_secrets() -> None:
    """Else the test above would prove nothing."""
    token = base64.urlsafe_b64encode(json.dumps({"alg": "RS256", "typ": "JWT"}).encode()).decode()
    for text in (PASSWORD, CLIENT_SECRET, f"Bearer {token}", base64.b64encode(f"\0feedbridge\0{PASSWORD}".encode()).decode()):  # fmt: skip
        assert any(form in text for form in TOLD)


#: Name → the properties, the exit code of a command that needs Kafka, and what its one line must say.
FAULTS: Final[dict[str, tuple[Callable[[SecuredKafka], Properties], int, tuple[str, ...]]]] = {
    "password": (
        lambda it: it.properties(sasl_password=WRONG),
        77,
        ("invalid credentials", "check sasl.username and sasl.password"),
    ),
    "password-plain": (
        lambda it: it.properties("PLAIN", sasl_password=WRONG),
        77,
        ("Invalid username or password", "check sasl.username and sasl.password"),
    ),
    "client-secret": (
        lambda it: it.properties("OAUTHBEARER", sasl_oauthbearer_client_secret=WRONG),
        77,
        ("invalid_client", "sasl.oauthbearer.client.id"),
    ),
    "no-token-server": (
        lambda it: it.properties("OAUTHBEARER", sasl_oauthbearer_token_endpoint_url="http://127.0.0.1:9/token"),
        69,
        ("127.0.0.1:9", "sasl.oauthbearer.token.endpoint.url"),
    ),
    "mechanism": (lambda it: it.properties("SCRAM-SHA-256"), 77, ("SCRAM-SHA-512,PLAIN", "set kafka: sasl.mechanism")),
    "expired": (lambda it: it.properties(listener="EXPIRED"), 69, ("out of date", "certificate has expired", "renew")),
    "other-host": (
        lambda it: it.properties(listener="ELSEWHERE"),
        69,
        ("for another host", "use a name that the certificate holds"),
    ),
    "unknown-ca": (
        lambda it: it.properties(ssl_ca_location=str(it.stranger.ca)),
        69,
        ("unknown CA", "set kafka: ssl.ca.location"),
    ),
    "own-certificate-expired": (
        lambda it: it.properties("MTLS") | pair(it.authority, expired=True),
        77,
        ("refused our TLS certificate", "ssl.certificate.location", "in date"),
    ),
    "own-certificate-strange": (
        lambda it: it.properties("MTLS") | pair(it.stranger),
        77,
        ("refused our TLS certificate", "ssl.certificate.location"),
    ),
    "no-certificate": (
        lambda it: it.properties("MTLS") | dict.fromkeys(("ssl.certificate.location", "ssl.key.location"), ""),
        77,
        ("refused our TLS certificate", "ssl.certificate.location"),
    ),
    "no-ca-file": (lambda it: it.properties(ssl_ca_location="/no/such/file"), 78, ("ssl.ca.location failed",)),
}


def pair(authority: Authority, *, expired: bool = False) -> Properties:
    """A client's certificate and key."""
    made = authority.issue("feedbridge-other", expired=expired)
    return {"ssl.certificate.location": str(made.certificate), "ssl.key.location": str(made.key)}


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Commands in this process leave its logging alone."""
    monkeypatch.setattr(logs, "configure", lambda _: None)
    logger = logging.getLogger("bridge.kafka")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_and_the_right_code(
    secured: SecuredKafka, tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    """Both where a command needs Kafka, and in `check`, which goes on to the rest and ends with 1."""
    properties, code, words = FAULTS[fault]
    config = configuration(
        {"cs2": {"kind": "ticktock", "url": "ws://127.0.0.1:9", "api_key": "k"}}, kafka="", prefix="fault."
    )
    config["kafka"] = properties(secured)
    file = tmp_path / "feedbridge.yaml"
    file.write_text(json.dumps(config))
    ended, out, err = command(capsys, "topics", "plan", "-c", str(file))
    assert (ended, out) == (code, "")
    assert err.startswith("feedbridge: kafka: ")
    assert err.count("\n") == 1
    assert all(word in err for word in words), err
    ended, out, more = command(capsys, "check", "-c", str(file), "--json")
    assert ended == 1
    (said,) = [each["text"] for each in json.loads(out) if each["name"] == "kafka"]
    assert all(word in said for word in words), said
    assert more.count("\n") == 1
    assert "XqZjWvKy" not in out + err + more


def command(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit code and output of a command in this process."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert isinstance(ended.value.code, int)
    return ended.value.code, *capsys.readouterr()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"security.protocol": "SASL_PLAINTEXT"}, "speaks TLS.*SASL_SSL"),
        ({"security.protocol": "SSL"}, "gives no answer.*whether it wants SASL_SSL"),
        ({"bootstrap.servers": "plain"}, "does not speak TLS.*SASL_PLAINTEXT"),
    ],
    ids=["no-tls", "no-sasl", "no-tls-there"],
)
def test_the_wrong_protocol_is_told(secured: SecuredKafka, change: Properties, words: str) -> None:
    """librdkafka has only a time-out for it."""
    properties = secured.properties("PLAIN") | change
    if "bootstrap.servers" in change:
        properties["bootstrap.servers"] = secured.cluster.bootstrap
    config = installation(kafka={name: typed(name, value) for name, value in properties.items()})
    with pytest.raises(Unreachable, match=words):
        Admin(config, timeout=1.0).metadata()


async def test_a_run_with_a_wrong_password_ends(secured: SecuredKafka, topic_prefix: str, tmp_path: Path) -> None:
    """With 77 and a last line that says what to do: nothing else would mend it."""
    async with TickTockSim(seed=1, rate=50) as sim:
        config = configuration({"cs2": ticktock(sim)}, kafka="", prefix=topic_prefix)
        config["kafka"] = secured.properties(sasl_password=WRONG)
        async with BridgeProcess(config, tmp_path / "bridge", level="debug") as bridge:
            assert await bridge.end() == 77
            last = bridge.output().splitlines()[-1]
    assert last.startswith("feedbridge: kafka: ")
    assert "check sasl.username and sasl.password" in last
    assert "XqZjWvKy" not in bridge.output()


async def test_a_run_waits_until_a_certificate_is_mended(
    secured: SecuredKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """Frames go into the journal meanwhile, and the status says why; with the right CA in the file it goes on by itself."""
    granted(secured, topic_prefix)
    ca = tmp_path / "ca.crt"
    ca.write_bytes(secured.stranger.ca.read_bytes())
    async with TickTockSim(seed=1, rate=200) as sim:
        config = configuration({"cs2": ticktock(sim)}, kafka="", prefix=topic_prefix)
        config["kafka"] = secured.properties("PLAIN", ssl_ca_location=str(ca))
        async with BridgeHere(config, tmp_path / "bridge") as bridge:
            status = await bridge.until(
                lambda status: "unknown CA" in str(status["reason"]) and status["journal"]["frames"] > 100,
                what="the reason",
            )
            assert "set kafka: ssl.ca.location" in status["reason"]
            ca.write_bytes(secured.authority.ca.read_bytes())
            await bridge.ready()
            await bridge.drained()


# The registry


@pytest.fixture
def topics(topic_prefix: str) -> list[TopicPlan]:
    """One topic's plan: enough for a registry."""
    return plan(installation(prefix=topic_prefix), Catalog.load())[:1]


BASIC: Final = basic("feedbridge", PASSWORD)


@pytest.mark.parametrize("way", ["basic", "url", "bearer", "certificate"])
def test_every_way_to_a_registry(secured: SecuredKafka, registry: Server, topics: list[TopicPlan], way: str) -> None:
    """Password, token or certificate, over TLS with a CA of one's own: schemas are registered and found."""
    own = secured.authority.issue("feedbridge")
    guard = Guard(
        registry.url,
        secured.authority.issue("registry"),
        accepted=() if way == "certificate" else (BASIC, f"Bearer {PASSWORD}"),
        clients=secured.authority.ca if way == "certificate" else None,
    )
    with guard as front:
        given: dict[str, Any] = {"url": front.url, "ca": secured.authority.ca}
        more: dict[str, dict[str, Any]] = {
            "basic": {"basic": {"username": "feedbridge", "password": PASSWORD}},
            "url": {"url": front.url.replace("://", f"://feedbridge:{PASSWORD}@")},
            "bearer": {"bearer": PASSWORD},
            "certificate": {"certificate": own.certificate, "key": own.key},
        }
        done = registered(given | more[way], topics)
    assert [each.what for each in done] == ["new subject"]
    assert front.passed > 0
    assert front.refused == 0


def registered(given: dict[str, Any], topics: list[TopicPlan]) -> Any:
    """What comes of registering, with these settings; or the error."""
    settings = installation(registry=given).registry
    assert settings is not None
    with Registry(settings) as client:
        return client.register(topics)


@pytest.mark.parametrize(
    ("fault", "expected", "words"),
    [
        ("password", Refused, "credentials refused.*check basic, bearer or certificate under registry"),
        ("token", Refused, "credentials refused.*check basic, bearer or certificate under registry"),
        ("nothing", Refused, "credentials refused.*check basic"),
        ("no-certificate", Refused, "refused our TLS certificate.*registry.certificate"),
        ("expired-certificate", Refused, "refused our TLS certificate.*registry.certificate"),
        ("expired", Unreachable, "not trusted: certificate has expired.*renew"),
        ("other-host", Unreachable, "not trusted: .*not valid for.*use a name that it holds in registry.url"),
        ("unknown-ca", Unreachable, "not trusted: .*set registry.ca"),
    ],
)
def test_a_registry_that_refuses_is_one_line(
    secured: SecuredKafka,
    registry: Server,
    topics: list[TopicPlan],
    *,
    fault: str,
    expected: type[BridgeError],
    words: str,
) -> None:
    """What failed, where, what to do; never the password."""
    names = ("elsewhere.example",) if fault == "other-host" else ("127.0.0.1",)
    guard = Guard(
        registry.url,
        secured.authority.issue("registry", names=names, expired=fault == "expired"),
        accepted=() if "certificate" in fault else (BASIC,),
        clients=secured.authority.ca if "certificate" in fault else None,
    )
    old = secured.authority.issue("feedbridge-old", expired=True)
    with guard as front:
        given: dict[str, Any] = {"url": front.url, "ca": secured.authority.ca, "timeout": 5}
        more: dict[str, dict[str, Any]] = {
            "password": {"basic": {"username": "feedbridge", "password": WRONG}},
            "token": {"bearer": WRONG},
            "expired-certificate": {"certificate": old.certificate, "key": old.key},
            "unknown-ca": {"ca": secured.stranger.ca},
        }
        with pytest.raises(expected, match=words) as caught:
            registered(given | more.get(fault, {}), topics)
    assert "XqZjWvKy" not in str(caught.value)
    assert front.url.removesuffix("/apis/ccompat/v7") in str(caught.value)
