"""No key, token or password leaves the process: not in a log line, page, metric, topic, file or error (promise 7).

Every secret of the configuration holds a marker. The bridge goes through all that makes it talk: faults, refusals,
reconnects, servers that quote the key back, services that refuse; at log level debug. Then everything is searched.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from bridge.sim import Key, PredictStreetSim, Simulator, TickTockSim
from bridge.sim.keys import PREDICTSTREET_SCOPES, TICKTOCK_SCOPES
from tests.audit import collect
from tests.collector import Collector
from tests.kafka.conftest import Kafka, Registry
from tests.running import BridgeProcess, configuration, predictstreet, ticktock, until
from tests.servers.rabbitmq import PASSWORD as AMQP_PASSWORD
from tests.servers.rabbitmq import RabbitMQ

pytestmark = pytest.mark.timeout(300)

MARKER = "XqZjWvKy"
FAULTS = {"duplicate": 0.1, "malformed": 0.05, "wrong_type": 0.05, "unknown_type": 0.05, "collision": 0.05}
#: With characters that URLs, JSON and shells write in another way.
CS2_KEY = f'ttk_live_{MARKER}+/="one'
MARKETS_KEY = f"ps_test_0123456789abcdef_{MARKER}{'x' * 37}"
KAFKA_PASSWORD = f"{MARKER}-kafka&p%ss"
REGISTRY_PASSWORD = f"{MARKER}-registry:p@ss"
OTLP_TOKEN = f"{MARKER}-otlp/token="
SECRETS = (CS2_KEY, MARKETS_KEY, KAFKA_PASSWORD, REGISTRY_PASSWORD, AMQP_PASSWORD, OTLP_TOKEN)
#: The password is a secret wherever it stands; the marker itself would not show in base64.
FORMS = (
    MARKER,
    quote(MARKER),
    AMQP_PASSWORD,
    quote(AMQP_PASSWORD, safe=""),
    *(base64.b64encode(f"{pad}{secret}".encode())[4:-4].decode() for secret in SECRETS for pad in ("", "x", "xx")),
    base64.b64encode(f"bridge:{REGISTRY_PASSWORD}".encode()).decode(),
    base64.b64encode(f"bridge:{quote_plus(REGISTRY_PASSWORD)}".encode()).decode(),
)


def leaks(places: Mapping[str, bytes]) -> list[str]:
    """Where a secret stands, in any spelling."""
    found = []
    for name, content in places.items():
        for form in FORMS:
            at = content.lower().find(form.lower().encode()) if form == MARKER else content.find(form.encode())
            if at >= 0:
                found.append(f"{name}: …{content[max(0, at - 80) : at + 40]!r}…")
                break
    return found


def test_the_search_finds_a_secret_in_every_spelling() -> None:
    """Else it would prove nothing."""
    basic = base64.b64encode(f"bridge:{REGISTRY_PASSWORD}".encode())
    spellings = (
        *(f"text {secret} text".encode() for secret in SECRETS),
        *(quote(secret, safe="").encode() for secret in SECRETS),
        json.dumps({"key": CS2_KEY}).encode(),
        b"Authorization: Basic " + basic,
        b"x" + base64.b64encode(f"longer {KAFKA_PASSWORD} text".encode()),
        CS2_KEY.lower().encode(),
    )
    for spelling in spellings:
        assert leaks({"place": b"before " + spelling + b" after"}), spelling
    assert not leaks({"place": b"nothing to see, not even the base64 of something else, Zm9vYmFyYmF6"})


@pytest.fixture
def collector() -> Iterator[Collector]:
    """One that lets nobody in, so that each request has something to be told of."""
    with Collector() as found:
        found.status = 401
        yield found


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RabbitMQ]:
    """One that is TickTock's."""
    with RabbitMQ(tmp_path / "rabbitmq") as found:
        found.start()
        yield found


async def test_nothing_tells_a_secret(
    kafka: Kafka, registry: Registry, broker: RabbitMQ, *, collector: Collector, topic_prefix: str, tmp_path: Path
) -> None:
    """A run with everything that may go wrong, and every command that shows something, at log level debug.

    It begins at level info; a signal makes it debug while it runs.
    """
    cs2_key = Key(token=CS2_KEY, scopes=TICKTOCK_SCOPES)
    markets_key = Key(token=MARKETS_KEY, scopes=PREDICTSTREET_SCOPES)
    places: dict[str, bytes] = {}
    async with (
        TickTockSim(seed=1, rate=200, faults=FAULTS, keys=[cs2_key], amqp=broker.url, exchange="x") as cs2,
        PredictStreetSim(seed=1, rate=200, faults=FAULTS, keys=[markets_key]) as markets,
    ):
        scheme, _, address = registry.url.partition("://")
        wishes = [{"channel": "no_such_channel", "ids": ["1"]}, {"channel": "token_book", "ids": ["nonsense"]}]
        config = configuration(
            {
                "cs2": ticktock(
                    cs2,
                    matches="live",
                    live_interval="1s",
                    rest={"url": cs2.rest_url},
                    recovery={"amqp": {"url": broker.url, "exchange": "x", "patience": "5s"}},
                ),
                "markets": predictstreet(
                    markets,
                    rest={"url": markets.rest_url},
                    subscribe=[*predictstreet(markets)["subscribe"], *wishes],
                ),
            },
            kafka=kafka.bootstrap,
            prefix=topic_prefix,
        )
        config["kafka"] |= {
            "sasl.mechanism": "PLAIN",
            "sasl.username": "bridge",
            "sasl.password": KAFKA_PASSWORD,
            "ssl.key.password": KAFKA_PASSWORD,
            "debug": "all",
        }
        config["registry"] = {
            "url": f"{scheme}://bridge:{quote(REGISTRY_PASSWORD, safe='')}@{address}",
            "register": True,
        }
        config["telemetry"] = {
            "otlp": {"endpoint": collector.url, "interval": "1s", "headers": {"Authorization": f"Bearer {OTLP_TOKEN}"}}
        }
        async with BridgeProcess(config, tmp_path / "bridge", level="info") as bridge:
            await bridge.ready()
            assert "debug" not in {event["level"] for event in bridge.events()}
            await more_talkative(bridge)
            await bridge.received(300, gateway="cs2")
            await bridge.received(300, gateway="markets")
            places |= await pages(bridge, "at first")
            places |= {f"{name} beside it": text for name, text in (await commands(bridge, *COMMANDS)).items()}
            for sim, key in ((cs2, CS2_KEY), (markets, MARKETS_KEY)):
                await quoting(sim, key)
            places |= await pages(bridge, "in trouble")
            await bridge.until(lambda status: all(each["connected"] for each in status["gateways"]), what="all again")
            # One gateway loses its key for good, then the other: the process ends with an error.
            await markets.revoke()
            await bridge.until(lambda status: status["gateways"][1]["refused"], what="markets refused")
            places |= await pages(bridge, "refused")
            await cs2.revoke()
            assert await bridge.end() == 77
            places["output"] = bridge.output().encode()
    assert collector.requests[0][1]["authorization"] == f"Bearer {OTLP_TOKEN}"
    assert b"telemetry_failing" in places["output"]
    for name in ("journal", "."):
        for file in (bridge.folder / name).iterdir():
            if file.is_file() and file != bridge.file:
                places[f"file {file.name}"] = file.read_bytes()
    published = await asyncio.to_thread(collect, kafka.bootstrap, topic_prefix)
    assert {one.topic.rpartition(".")[2] for one in published} >= {"ledger", "gaps", "dead-letters", "unknown"}
    for one in published:
        headers = b"".join(name.encode() + (value or b"") for name, value in one.headers)
        places[f"{one.topic}/{one.partition}@{one.offset}"] = b"\n".join((one.key or b"", one.value, headers))
    # What a gateway says in a frame of data is the customer's own: it is published as it came, key and all.
    quoted = {name for name, content in places.items() if b'"message": "key ' in content}
    assert leaks({name: content for name, content in places.items() if name not in quoted}) == []
    assert all("dead-letters" in name or "unknown" in name or name.endswith(".log") for name in quoted)


@pytest.mark.parametrize("broken", ["kafka", "registry", "registry url", "value"])
async def test_an_error_at_the_start_tells_no_secret(
    kafka: Kafka, registry: Registry, topic_prefix: str, tmp_path: Path, broken: str
) -> None:
    """Where Kafka wants no password, or no registry answers, or the file itself is wrong."""
    async with TickTockSim(keys=[Key(token=CS2_KEY, scopes=TICKTOCK_SCOPES)]) as sim:
        config = configuration(
            {"cs2": ticktock(sim)}, kafka=kafka.bootstrap, prefix=topic_prefix, registry=registry.url
        )
        config["registry"]["basic"] = {"username": "bridge", "password": REGISTRY_PASSWORD}
        config["kafka"]["sasl.password"] = KAFKA_PASSWORD
        what = "kafka: "
        if broken == "kafka":
            config["kafka"] |= {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": "b"}
        elif broken == "registry":
            # A server that is no registry, and answers 404 to everything.
            config["registry"]["url"], what = sim.rest_url, "registry"
        elif broken == "registry url":
            password = quote(REGISTRY_PASSWORD, safe="")
            config["registry"] = {"url": f"http://bridge:{password}@127.0.0.1:1", "register": True}
            what = "registry"
        else:
            config["kafka"]["socket.timeout.ms"], what = KAFKA_PASSWORD, "kafka"
        async with BridgeProcess(config, tmp_path / "bridge", level="debug") as bridge:
            await until(lambda: bridge.ended() or told(bridge, what), what=f"an error about {what}")
            ended = bridge.ended()
            places = {} if ended else await pages(bridge, "waiting")
            if not ended:
                await bridge.stop()
            places |= {"output": bridge.output().encode(), **await commands(bridge, ("config", "show"), ("check",))}
    assert what.encode() in places["output"]
    assert leaks(places) == []


async def more_talkative(bridge: BridgeProcess) -> None:
    """Change the level of the log while it runs; return when a line of level debug came."""
    config = json.loads(bridge.file.read_text(encoding="utf-8"))
    config["log"]["level"] = "debug"
    bridge.file.write_text(json.dumps(config), encoding="utf-8")
    os.kill(bridge.pid, signal.SIGHUP)
    await until(lambda: any(event["level"] == "debug" for event in bridge.events()), what="a debug line")


async def quoting(sim: Simulator, key: str) -> None:
    """A server that quotes the key: in frames, in close frames, in what it answers to handshakes; and a cut line."""
    sim.send(json.dumps({"type": "error", "code": "x", "message": f"key {key}"}).encode())
    for end, refusal in (
        ({"code": 1011, "reason": f"bad {key}"}, {"status": 503, "reason": f"not now, {key}"}),
        ({"abort": True}, {"code": 1013, "reason": f"slow down, {key}"}),
    ):
        refused = sim.refused
        sim.refuse(**refusal)  # type: ignore[arg-type]
        await sim.drop(**end)
        await more_than(refused, lambda: sim.refused, sim)
        sim.accept()
        await more_than(sim.accepted, lambda: sim.accepted, sim)


async def more_than(before: int, count: Callable[[], int], sim: Simulator) -> None:
    """Return when something has happened once more."""
    await sim.wait(lambda _: count() > before, seconds=90)


def told(bridge: BridgeProcess, what: str) -> bool:
    """Whether the log has a warning or an error about something."""
    return any(event["level"] in {"warning", "error"} and what in json.dumps(event) for event in bridge.events())


async def pages(bridge: BridgeProcess, when: str) -> dict[str, bytes]:
    """All that the bridge shows over HTTP."""
    paths = ("/", "/api/status", "/metrics", "/healthz", "/readyz")
    return {f"{path} {when}": (await bridge.get(path))[1] for path in paths}


#: Those that show something of the configuration, or of what it names.
COMMANDS = (
    ("config", "show"),
    ("check",),
    ("schemas", "check"),
    ("status", "--json"),
)


async def commands(bridge: BridgeProcess, *lines: Sequence[str]) -> dict[str, bytes]:
    """Output of commands with the bridge's configuration, at log level debug."""
    outputs = await asyncio.gather(*(command(bridge, *words) for words in lines))
    return dict(zip(map(" ".join, lines), outputs, strict=True))


async def command(bridge: BridgeProcess, *words: str) -> bytes:
    """Output and errors of one command with the bridge's configuration."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bridge.cli",
        *words,
        "-c",
        str(bridge.file),
        "--log-level",
        "debug",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    output, _ = await asyncio.wait_for(process.communicate(), 120)
    assert output
    return output
