"""The configuration file as settings, its errors, its schema and its reference."""

from __future__ import annotations

import json
import random
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import jsonschema
import pytest
import yaml
from pydantic import Field, model_validator

from bridge import config as configuration
from bridge.config import Config, Kinds, json_schema, known_kinds, load, masked, parse, reference
from bridge.errors import ConfigError
from bridge.gateways.gateway import GatewaySettings
from bridge.gateways.predictstreet import PredictStreetUserSettings
from bridge.ops.redaction import redactor
from bridge.properties import KNOWN, REFUSED, secret
from bridge.settings import RestSettings, Secret, Settings, Token, secrets

MARKER = "HUNTER2HUNTER2"
ENVIRON = {"TICKTOCK_API_KEY": f"{MARKER}-1", "PREDICTSTREET_API_KEY": f"{MARKER}-2"}

#: The example of the design, with a secret in every place for one.
EXAMPLE = """\
name: main                          # required
gateways:
  cs2:                              # your name for it
    kind: ticktock
    url: wss://ticktock.bet         # scheme and host
    api_key: ${TICKTOCK_API_KEY}
    matches: all                    # live: a detail socket for each live match
    rest: {url: https://ticktock.bet}
    recovery: {amqp: {url: "amqps://user:HUNTER2HUNTER2-3@host:5671/vhost", exchange: ttfeed}}
  markets:
    kind: outcomes
    url: wss://host
    api_key: ${PREDICTSTREET_API_KEY}
    rest: {url: https://host}
    protocol: auto
    subscribe:
      - {channel: token_trades, ids: ["123"]}
      - {channel: system, ids: [platform_status]}
kafka:                              # librdkafka's own property names
  bootstrap.servers: localhost:9092
  sasl.password: HUNTER2HUNTER2-4
  ssl.key.password: HUNTER2HUNTER2-5
  sasl.oauthbearer.client.secret: HUNTER2HUNTER2-6
  sasl.oauthbearer.token.endpoint.url: https://u:HUNTER2HUNTER2-7@host/token
topics: {prefix: "", layout: [type], partitions: 6, replication_factor: null, create: true, config: {}}
registry: {url: "http://localhost:8081/?token=HUNTER2HUNTER2-8", register: false, bearer: HUNTER2HUNTER2-9}
dedupe: {window: 6h, max_identities: 2000000, unchanged: drop, seq_scope: global}
journal: {path: ./journal, max_bytes: 2GiB, fsync: false}
standby: {takeover_after: 1.5s}
shutdown: {timeout: 15s}
lanes: {count: 1, own: all}         # own: all, or a list
http: {listen: 127.0.0.1:8080}      # off: null
log: {level: info, format: auto}    # auto: console on a terminal
"""


#: The design's own, its elided ids completed.
DESIGN = """\
name: main
gateways:
  cs2:
    kind: ticktock
    url: wss://ticktock.bet
    api_key: ${TICKTOCK_API_KEY}
    matches: all
    rest: {url: https://ticktock.bet}
    recovery: {amqp: {url: amqps://user:pass@host:5671/vhost, exchange: ttfeed}}
  markets:
    kind: predictstreet-market
    url: wss://host
    api_key: ${PREDICTSTREET_API_KEY}
    rest: {url: https://host}
    protocol: auto
    subscribe:
      - {channel: token_trades, ids: ["123"]}
      - {channel: system, ids: [platform_status]}
  wallet:
    kind: predictstreet-user
    url: wss://host
    api_key: ${PREDICTSTREET_API_KEY}
    wallets: ["0xabababababababababababababababababababab"]
    subscribe: [{channel: user_activity}]
kafka:
  bootstrap.servers: localhost:9092
topics: {prefix: "", layout: [type], partitions: 6, replication_factor: null, create: true, config: {}}
registry: {url: http://localhost:8081, register: false}
dedupe: {window: 6h, max_identities: 2000000, unchanged: drop, seq_scope: global}
journal: {path: ./journal, max_bytes: 2GiB, fsync: false}
standby: {takeover_after: 1.5s}
shutdown: {timeout: 15s}
lanes: {count: 1, own: all}
http: {listen: 127.0.0.1:8080}
log: {level: info, format: auto}
"""


class Subscription(Settings):
    """One subscription."""

    channel: str
    ids: tuple[str, ...] = ()


class Outcomes(GatewaySettings):
    """A kind of gateway that only these tests know, with all that a gateway may have."""

    kind: Literal["outcomes"]
    api_key: Token | None = None
    bearer: Token | None = None
    rest: RestSettings | None = None
    protocol: Literal["auto", 1, 2] = "auto"
    depth: int = Field(default=10, ge=1)
    subscribe: tuple[Subscription, ...] = ()

    @model_validator(mode="after")
    def _one(self) -> Outcomes:
        if (self.api_key is None) == (self.bearer is None):
            raise ValueError("needs api_key or bearer; give one of the two")
        return self


KINDS: Kinds = {**known_kinds(), "predictstreet-user": PredictStreetUserSettings, "outcomes": Outcomes}

MINIMAL = """\
name: main
gateways:
  markets: {kind: outcomes, url: wss://host, bearer: b}
kafka: {bootstrap.servers: "localhost:9092"}
"""


def parsed(text: str, environ: dict[str, str] | None = None) -> Config:
    """Parse a text with the kinds of these tests."""
    return parse(text, where="f.yaml", environ=ENVIRON if environ is None else environ, folder=Path(), kinds=KINDS)


def test_a_key_that_is_refused_is_named_by_its_setting_and_variable() -> None:
    """Whoever is told so must know what to change, and nothing that is shown of it holds the key."""
    text = MINIMAL.replace("bearer: b", 'bearer: "${PS_KEY}"')
    gateway = parsed(text, {"PS_KEY": "the-very-key"}).gateways["markets"]
    told = gateway.blamed("markets", "HTTP 403: no")
    assert told == "HTTP 403: no; the key is gateways.markets.bearer, from ${PS_KEY}"
    assert redactor.text(told) == told
    assert parsed(MINIMAL).gateways["markets"].blamed("markets", "no") == "no; the key is gateways.markets.bearer"


def everything(error: BaseException) -> str:
    """Return all that may be shown of an error: its text, its notes, its traceback with what it came from."""
    texts = [str(error), repr(error), *getattr(error, "__notes__", ()), *traceback.format_exception(error)]
    chain: BaseException | None = error
    while chain is not None:
        texts += [str(chain), repr(chain), repr(chain.args)]
        chain = chain.__cause__ or chain.__context__
    return "\n".join(texts)


def faults(text: str, environ: dict[str, str] | None = None) -> list[str]:
    """Return every fault of a file, a line each, and check that none holds a secret."""
    with pytest.raises(ConfigError) as caught:
        parsed(text, environ)
    assert "HUNTER" not in everything(caught.value)
    first, more = str(caught.value), list(getattr(caught.value, "__notes__", ()))
    assert "\n" not in first
    if more:
        first = first.removesuffix(f" (and {len(more)} more: `feedbridge config show --log-level debug` tells all)")
        assert first != str(caught.value)
    return [first, *more]


def changed(old: str, new: str, text: str = EXAMPLE) -> str:
    """Return a text with one place changed."""
    assert text.count(old) >= 1, old
    return text.replace(old, new, 1)


def test_the_example_is_read() -> None:
    """Every key of the design arrives with its type."""
    config = parsed(EXAMPLE)
    assert config.name == "main"
    assert [(name, gateway.kind) for name, gateway in config.gateways.items()] == [
        ("cs2", "ticktock"),
        ("markets", "outcomes"),
    ]
    markets = config.gateways["markets"]
    assert isinstance(markets, Outcomes)
    assert markets.api_key == Secret(ENVIRON["PREDICTSTREET_API_KEY"])
    assert markets.subscribe[1] == Subscription(channel="system", ids=("platform_status",))
    assert config.kafka["bootstrap.servers"] == "localhost:9092"
    assert config.kafka["sasl.password"] == Secret(f"{MARKER}-4")
    assert config.registry is not None
    assert (config.registry.register, config.registry.url[0].host) == (False, "localhost")
    assert (config.dedupe.window, config.journal.max_bytes) == (21600.0, 2 << 30)


def test_the_design_is_read_by_the_real_gateways(schema: dict[str, Any]) -> None:
    """With every kind of gateway and every key that the design shows."""
    config = parsed(DESIGN)
    assert [gateway.kind for gateway in config.gateways.values()] == [
        "ticktock",
        "predictstreet-market",
        "predictstreet-user",
    ]
    assert invalid(schema, DESIGN) == []
    shown = masked(config)
    assert shown["gateways"]["cs2"]["recovery"]["amqp"]["url"] == "amqps://***@host:5671/vhost"
    assert "HUNTER" not in repr(config) + json.dumps(shown)


def test_what_is_left_out_is_what_the_example_shows() -> None:
    """The design's example shows the defaults."""
    short, full = parsed(MINIMAL), parsed(EXAMPLE)
    for section in ("topics", "dedupe", "journal", "standby", "shutdown", "lanes", "http", "log"):
        assert getattr(short, section) == getattr(full, section), section
    assert short.registry is None


def test_json_is_read_too() -> None:
    """JSON is YAML."""
    plain = yaml.safe_load(EXAMPLE)
    assert parsed(json.dumps(plain)) == parsed(json.dumps(plain, indent=2)) == parsed(EXAMPLE)


def test_a_file_is_loaded_with_the_real_kinds(tmp_path: Path) -> None:
    """Secrets are mounted beside the file; the kinds are those of the package."""
    (tmp_path / "key").write_text(f"{MARKER}\n")
    file = tmp_path / "f.yaml"
    file.write_text(
        "name: main\ngateways: {cs2: {kind: ticktock, url: wss://h, api_key: '${file:key}'}}\nkafka: {bootstrap.servers: h}\n"
    )
    config = load(file, environ={})
    assert list(secrets(config)) == [MARKER]
    with pytest.raises(ConfigError, match=r"absent: can't be read: No such file"):
        load(tmp_path / "absent", environ={})


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("name: main", "nam: main", "f.yaml:1: nam: unknown key; did you mean `name`?"),
        ("name: main", "name: 1st", "f.yaml:1: name: expected a name of lower-case letters, digits and dashes that starts with a letter"),
        ("name: main", "name: [main]", "f.yaml:1: name: expected text, found a list"),
        ("name: main", "name:", "f.yaml:1: name: expected text, found nothing"),
        ("    kind: outcomes", "    kind: outcome", "f.yaml:11: gateways.markets.kind: there is no such kind of gateway; did you mean `outcomes`?"),
        ("    kind: outcomes", "    knd: outcomes", "f.yaml:10: gateways.markets.kind: missing; add one of "),
        ("  cs2:", "  feedbridge:", "f.yaml:3: gateways.feedbridge: no gateway can be called feedbridge: its topics would be the bridge's own"),
        ("  cs2:", "  cs_2:", "f.yaml:3: gateways.cs_2: expected a name of lower-case letters"),
        ("wss://host", "https://HUNTER2@host", "f.yaml:12: gateways.markets.url: expected a URL that starts with wss:// or ws://"),
        ("    protocol: auto", "    protocol: 3", "f.yaml:15: gateways.markets.protocol: expected `auto`, `1` or `2`, found a number"),
        ("    protocol: auto", "    protocol: auto\n    depth: 0", "f.yaml:16: gateways.markets.depth: must be at least 1"),
        ("    protocol: auto", "    bearer: HUNTER2", "f.yaml:10: gateways.markets: needs api_key or bearer; give one of the two"),
        ("    matches: all", "    matches: HUNTER2", "f.yaml:7: gateways.cs2.matches: expected `all`, `live` or a list, found text"),
        ("    matches: all", "    matches: [1, true]", "f.yaml:7: gateways.cs2.matches[1]: expected text, found true or false"),
        ("{channel: system,", "{chanel: system,", "f.yaml:18: gateways.markets.subscribe[1].chanel: unknown key; did you mean `channel`?"),
        ("    subscribe:\n", "    subscribe:\n      - HUNTER2\n", "f.yaml:17: gateways.markets.subscribe[0]: expected a mapping (`key: value`), found text"),
        ("  bootstrap.servers", "  bootstrap.server", "f.yaml:20: kafka.bootstrap.server: librdkafka has no such property; did you mean `bootstrap.servers`?"),
        ("  bootstrap.servers:", "  acks: all\n  bootstrap.servers:", "f.yaml:20: kafka.acks: can't be set: every record waits for all in-sync replicas"),
        ("  bootstrap.servers:", "  retries: [1]\n  bootstrap.servers:", "f.yaml:20: kafka.retries: expected text, a number, true or false, found a list"),
        ("kafka: ", "kafka: HUNTER2\njournl: ", "f.yaml:19: kafka: expected a mapping (`key: value`), found text"),
        ("partitions: 6", "partitions: HUNTER2", "f.yaml:25: topics.partitions: expected a whole number, found text"),
        ("partitions: 6", "partitions: 1.5", "f.yaml:25: topics.partitions: expected a whole number, found a number"),
        ("partitions: 6", "partitions: yes", "f.yaml:25: topics.partitions: expected a whole number, found text"),
        ("partitions: 6", "partitions: true", "f.yaml:25: topics.partitions: expected a whole number, found true or false"),
        ("create: true", "create: HUNTER2", "f.yaml:25: topics.create: expected true or false, found text"),
        ("layout: [type]", "layout: [typ]", "f.yaml:25: topics.layout[0]: expected `type` or `gateway`, found text"),
        ("layout: [type]", "layout: []", "f.yaml:25: topics.layout: needs at least 1"),
        ("layout: [type]", "layout: [type, type]", "f.yaml:25: topics.layout: names one twice"),
        ("register: false", "basic: {username: u, password: HUNTER2}", "f.yaml:26: registry: has both basic and bearer; keep one"),
        ("register: false", "key: k.pem", "f.yaml:26: registry: certificate and key need each other; give both"),
        ("register: false", "ids: {s: 0}", "f.yaml:26: registry.ids.s: must be at least 1"),
        ("register: false", "ids: {s: HUNTER2}", "f.yaml:26: registry.ids.s: expected a whole number, found text"),
        ("window: 6h", "window: HUNTER2", "f.yaml:27: dedupe.window: expected a duration such as 250ms, 1.5s or 6h"),
        ("window: 6h", "window: 0", "f.yaml:27: dedupe.window: must be more than 0"),
        ("max_bytes: 2GiB", "max_bytes: 2Gx", "f.yaml:28: journal.max_bytes: expected a size such as 512KiB, 64MiB or 2GiB"),
        ("takeover_after: 1.5s", "takeover_after: 100ms", "f.yaml:29: standby.takeover_after: must be at least 1"),
        ("own: all", "own: [0, 1]", "f.yaml:31: lanes.own: names a lane beyond count; with 1 the last is 0"),
        ("count: 1, own: all", "count: 2, own: [1, 1]", "f.yaml:31: lanes.own: names a lane twice"),
        ("own: all", "own: []", "f.yaml:31: lanes.own: needs at least 1"),
        ("own: all", "own: [true]", "f.yaml:31: lanes.own[0]: expected the number of a lane, found true or false"),
        ("own: all", "own: HUNTER2", "f.yaml:31: lanes.own: expected `all`, `ordinal` or a list, found text"),
        ("own: all", "cover: [1]", "f.yaml:31: lanes.cover: names a lane beyond count; with 1 the last is 0"),
        ("127.0.0.1:8080", "8080", "f.yaml:32: http.listen: expected host:port, or :port for all addresses, found a number"),
        ("127.0.0.1:8080", "h:65536", "f.yaml:32: http.listen: expected a port up to 65535"),
        ("level: info", "level: inf", "f.yaml:33: log.level: expected `debug`, `info`, `warning` or `error`, found text"),
        ("log: {level: info, format: auto}", "log: {level: info}\nname: x", "f.yaml:34: name: duplicate key, first in line 1; remove one of the two"),
    ],
)  # fmt: skip
def test_a_fault_is_told_with_line_key_and_what_to_do(old: str, new: str, expected: str) -> None:
    """In the words of the file's author, never with a value."""
    assert faults(changed(old, new))[0].startswith(expected)


def test_all_faults_are_told_at_once() -> None:
    """The first in the line, the others as notes, in the order of the file; what is missing last."""
    text = changed("name: main", "nme: main", changed("6h", "6x", changed("${TICKTOCK_API_KEY}", "${NOT_SET}")))
    assert faults(text) == [
        "f.yaml:1: nme: unknown key; did you mean `name`?",
        "f.yaml:6: gateways.cs2.api_key: the environment variable NOT_SET is not set; set it, or write ${NOT_SET:-default}",
        "f.yaml:27: dedupe.window: expected a duration such as 250ms, 1.5s or 6h",
        "f.yaml:1: name: missing; add it",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "f.yaml:1: is empty"),
        ("# only a comment\n", "f.yaml:1: is empty"),
        ("~", "f.yaml:1: is empty"),
        ("- name: main", "f.yaml:1: expected a mapping (`key: value`)"),
        (f"\n{MARKER}", "f.yaml:2: expected a mapping (`key: value`)"),
        (f"name: main\n\tx: {MARKER}", "f.yaml:2: a tab where YAML takes only spaces; indent with spaces"),
        (f"name: main\napi_key:{MARKER}", "f.yaml:2: a line without `:`"),
        ("{}", "f.yaml:1: gateways: missing; add it"),
        ("name: main\ngateways: {}\nkafka: {bootstrap.servers: h}", "f.yaml:2: gateways: needs at least 1"),
        (
            f"gateways: {{x: {{api_key:{MARKER}}}}}",
            "f.yaml:1: gateways.x: text without `: `; within {…} put text with ",
        ),
        (
            f"kafka: {{sasl.password: a,{MARKER}}}",
            "f.yaml:1: kafka: text without `: `; within {…} put text with commas",
        ),
    ],
)
def test_a_file_that_is_none_is_told(text: str, expected: str) -> None:
    """Empty, no mapping, no YAML."""
    assert faults(text)[0].startswith(expected)


def test_a_bad_value_from_the_environment_names_the_variable() -> None:
    """The file is right and the variable is wrong: the error says so, without the value."""
    text = changed("{window: 6h, max_identities: 2000000,", '{window: "${WINDOW}", max_identities: "${MAX:-1000}",')
    assert parsed(text, {**ENVIRON, "WINDOW": "5m"}).dedupe.window == 300
    assert parsed(text, {**ENVIRON, "WINDOW": "5m"}).dedupe.max_identities == 1000
    assert faults(text, {**ENVIRON, "WINDOW": MARKER}) == [
        "f.yaml:27: dedupe.window: expected a duration such as 250ms, 1.5s or 6h; the text comes from ${WINDOW}"
    ]
    assert faults(EXAMPLE, {**ENVIRON, "TICKTOCK_API_KEY": ""}) == [
        "f.yaml:6: gateways.cs2.api_key: is empty; the text comes from ${TICKTOCK_API_KEY}"
    ]
    assert "header" in faults(EXAMPLE, {**ENVIRON, "TICKTOCK_API_KEY": f"{MARKER} {MARKER}"})[0]


def test_one_or_a_list_is_taken_where_several_may_be() -> None:
    """`layout: type` is `layout: [type]`, and the registry's URL likewise."""
    config = parsed(changed("layout: [type]", "layout: gateway"))
    assert config.topics.layout == ("gateway",)
    text = changed('url: "http://localhost:8081/?token=HUNTER2HUNTER2-8"', "url: [http://a:1, http://b:2]")
    registry = parsed(text).registry
    assert registry is not None
    assert [str(url) for url in registry.url] == ["http://a:1", "http://b:2"]


def test_http_is_turned_off_with_null() -> None:
    """As a whole or by its one key."""
    for text in ("http: null", "http: {listen: null}"):
        assert parsed(MINIMAL + text).http.listen is None


def test_topic_settings_are_text_as_kafka_spells_it() -> None:
    """True and numbers of YAML become Kafka's text."""
    config = parsed(f"{MINIMAL}topics: {{config: {{retention.ms: 5, unclean.leader.election.enable: false, x: 0.5}}}}")
    assert config.topics.config == {"retention.ms": "5", "unclean.leader.election.enable": "false", "x": "0.5"}


def test_lanes_are_owned_within_count() -> None:
    """All, or those named."""
    assert parsed(f"{MINIMAL}lanes: {{count: 3}}").lanes.owned("host") == (0, 1, 2)
    assert parsed(f'{MINIMAL}lanes: {{count: 3, own: ["${{N}}"]}}', {"N": "2"}).lanes.owned("host") == (2,)


def test_the_lane_of_a_pod_is_that_of_its_number() -> None:
    """More pods than lanes: the others are standbys. A host without a number is told so."""
    lanes = parsed(f"{MINIMAL}lanes: {{count: 3, own: ordinal, cover: all}}").lanes
    assert [lanes.owned(f"feedbridge-{number}") for number in range(4)] == [(0,), (1,), (2,), (0,)]
    assert lanes.owned("feedbridge-1.feeds.svc.cluster.local") == (1,)
    assert lanes.covered("feedbridge-1") == (0, 2)
    with pytest.raises(ConfigError, match="the host's name, web1, does not end in a number"):
        lanes.owned("web1")


def test_what_is_owned_is_not_covered() -> None:
    """Cover says what else to stand by for."""
    assert parsed(f"{MINIMAL}lanes: {{count: 2}}").lanes.covered("host") == ()
    assert parsed(f"{MINIMAL}lanes: {{count: 3, own: [1], cover: [0, 1]}}").lanes.covered("host") == (0,)


def test_masked_shows_all_that_is_in_force() -> None:
    """Defaults and all, with units, and readable again but for the secrets."""
    shown = masked(parsed(EXAMPLE))
    assert shown["gateways"]["cs2"]["api_key"] == "***"
    assert shown["gateways"]["markets"]["subscribe"][0] == {"channel": "token_trades", "ids": ["123"]}
    assert shown["kafka"]["sasl.password"] == "***"
    assert shown["kafka"]["bootstrap.servers"] == "localhost:9092"
    assert shown["registry"]["register"] is False
    assert (shown["dedupe"]["window"], shown["journal"]["max_bytes"]) == ("6h", "2GiB")
    again = parsed(yaml.safe_dump({**masked(parsed(MINIMAL))}))
    assert masked(again) == masked(parsed(MINIMAL))


def test_no_view_of_settings_holds_a_secret() -> None:
    """A marker in every place for a secret is in no repr, text or dump, and all of them are known for redaction."""
    config = parsed(EXAMPLE)
    views = [
        repr(config),
        str(config),
        f"{config}",
        json.dumps(masked(config)),
        config.model_dump_json(),
        str(config.model_dump()),
    ]
    views += [repr(gateway) for gateway in config.gateways.values()] + [repr(config.kafka), str(config.registry)]
    assert not any("HUNTER" in view for view in views)
    known = " ".join(secrets(config))
    assert all(f"{MARKER}-{number}" in known for number in range(1, 10))


@pytest.mark.parametrize("name", sorted(name for name in KNOWN - REFUSED.keys() if secret(name)))
def test_every_credential_of_librdkafka_is_masked(name: str) -> None:
    """In every view of the settings."""
    config = parsed(MINIMAL.replace("kafka: {", f"kafka: {{{name}: {MARKER}, "))
    assert MARKER not in repr(config) + json.dumps(masked(config)) + config.model_dump_json()
    assert MARKER in list(secrets(config))


def mutations(text: str, *, seed: int, count: int) -> Iterator[str]:
    """Yield a text with what fingers do to it: characters lost, doubled, typed beside; lines lost or indented."""
    chance = random.Random(seed)
    for _ in range(count):
        at = chance.randrange(len(text))
        match chance.randrange(6):
            case 0:
                yield text[:at] + text[at + 1 :]
            case 1:
                yield text[:at] + text[at] + text[at:]
            case 2:
                yield text[:at] + chance.choice("\"'{}[]&*!|>%@`#-?,:\\$\t\n ") + text[at:]
            case 3:
                yield text[:at] + chance.choice("\"'{}[]&*!|>%@`#-?,:\\$\t\n x") + text[at + 1 :]
            case 4:
                lines = text.splitlines(keepends=True)
                del lines[chance.randrange(len(lines))]
                yield "".join(lines)
            case _:
                lines = text.splitlines(keepends=True)
                line = chance.randrange(len(lines))
                lines[line] = chance.choice(["  ", " ", "\t", "- ", "# "]) + lines[line]
                yield "".join(lines)


def outcome(text: str) -> Config | ConfigError:
    """Return what a text comes to."""
    try:
        return parsed(text)
    except ConfigError as error:
        return error


def test_no_error_holds_a_secret_whatever_is_wrong_with_the_file() -> None:
    """Hundreds of broken files with secrets in all places: no error, note, cause or context repeats one."""
    failed = 0
    plain = EXAMPLE.replace("${TICKTOCK_API_KEY}", f"{MARKER}-1").replace("${PREDICTSTREET_API_KEY}", f"{MARKER}-2")
    for text in mutations(plain, seed=7, count=500):
        found = outcome(text)
        if isinstance(found, ConfigError):
            failed += 1
            assert str(found).startswith("f.yaml:")
            assert "HUNTER" not in everything(found), text
        else:
            assert "HUNTER" not in json.dumps(masked(found)) + repr(found), text
    assert failed > 100


@pytest.mark.parametrize(
    "place",
    [
        "name: {}",
        "gateways: {}",
        "gateways: {{m: {}}}",
        "gateways: {{m: {{kind: {}}}}}",
        "gateways: {{m: {{kind: outcomes, url: {}}}}}",
        "gateways: {{m: {{kind: outcomes, url: wss://h, api_key: {}, bearer: {}}}}}",
        "gateways: {{m: {{kind: outcomes, url: wss://h, rest: {{url: {}}}}}}}",
        "gateways: {{m: {{kind: ticktock, url: wss://h, api_key: {}, matches: {}, recovery: {{amqp: {{url: {}}}}}}}}}",
        "kafka: {}",
        "kafka: {{bootstrap.servers: {}, ssl.key.password: {}, security.protocol: {}, linger.ms: {}, nonsense: {}}}",
        "topics: {{prefix: {}, layout: {}, partitions: {}, create: {}, config: {}}}",
        "registry: {}",
        "registry: {{url: {}, basic: {}, bearer: {}, timeout: {}, ids: {}}}",
        "registry: {{url: [{}], basic: {{username: {}, password: {}}}, ids: {{a: {}}}}}",
        "dedupe: {{window: {}, unchanged: {}}}",
        "lanes: {{count: {}, own: {}}}",
        "http: {{listen: {}}}",
        "log: {{level: {}}}",
    ],
)
def test_no_error_repeats_a_value_of_the_wrong_form(place: str) -> None:
    """A secret in the wrong place, as text, in a list, in a mapping, or from the environment."""
    for value in (
        f"{MARKER} x",
        f"[{MARKER} x]",
        f"{{a: {MARKER} x}}",
        f"'{MARKER}\n\n{MARKER}'",
        '"${X}"',
        f"[[{MARKER}\\]]",
    ):
        faults(place.replace("{}", value).replace("{{", "{").replace("}}", "}"), {"X": f"{MARKER}:{MARKER}"})


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """The JSON Schema with the kinds of these tests."""
    return json_schema(KINDS)


def invalid(schema: dict[str, Any], text: str) -> list[str]:
    """Return what an editor would underline."""
    return [fault.message for fault in jsonschema.Draft202012Validator(schema).iter_errors(yaml.safe_load(text))]


def test_the_json_schema_is_one(schema: dict[str, Any]) -> None:
    """Draft 2020-12, and every reference in it leads somewhere."""
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"].endswith("2020-12/schema")
    text = json.dumps(schema)
    for name in schema["$defs"]:
        assert f'"#/$defs/{name}"' in text


def test_the_json_schema_takes_what_is_read(schema: dict[str, Any]) -> None:
    """The example, the shortest file, and the other ways to write a value."""
    assert invalid(schema, EXAMPLE) == []
    assert invalid(schema, MINIMAL) == []
    for more in (
        "topics: {layout: gateway, partitions: '${N}', create: '${C:-true}', config: {retention.ms: 5}}",
        "registry: {url: [http://a, 'http://${HOST}'], basic: {username: u, password: '${HOST}'}}",
        "registry: null",
        "http: null",
        "dedupe: {window: 90, unchanged: '${U}'}",
        "journal: {max_bytes: 1000000, fsync: '${F}'}",
        "lanes: {count: 2, own: [0]}",
        "lanes: {count: 2, own: ['${N}']}",
    ):
        assert invalid(schema, MINIMAL + more) == [], more
        parsed(MINIMAL + more, {"N": "1", "C": "true", "HOST": "h", "U": "keep", "F": "yes"})


@pytest.mark.parametrize(
    "text",
    [
        changed("name: main", "nam: main", MINIMAL),
        changed("kind: outcomes", "kind: nonsense", MINIMAL),
        changed("kind: outcomes, ", "", MINIMAL),
        changed("bearer: b", "bearr: b", MINIMAL),
        changed("markets:", "Markets:", MINIMAL),
        changed("wss:", "https:", MINIMAL),
        changed("bootstrap.servers", "client.id", MINIMAL),
        changed('"localhost:9092"', '"localhost:9092", acks: 1', MINIMAL),
        f"{MINIMAL}topics: {{partitions: six}}",
        f"{MINIMAL}topics: {{layout: [typ]}}",
        f"{MINIMAL}dedupe: {{window: 6 hours}}",
        f"{MINIMAL}log: {{level: loud}}",
        f"{MINIMAL}http: {{listen: nowhere}}",
    ],
)
def test_the_json_schema_refuses_what_is_refused(schema: dict[str, Any], text: str) -> None:
    """An editor underlines what would not be read."""
    assert invalid(schema, text)
    faults(text)


def test_the_json_schema_shows_defaults_with_their_units(schema: dict[str, Any]) -> None:
    """As they would be written."""
    window = schema["$defs"]["DedupeSettings"]["properties"]["window"]
    assert window["default"] == "6h"
    assert window["description"]


def test_a_new_kind_needs_nothing_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the gateways' package lists is in file, schema and reference."""
    monkeypatch.setattr(configuration, "known_kinds", lambda: {"outcomes": Outcomes})
    config = Config.model_validate(
        {
            "name": "m",
            "gateways": {"a": {"kind": "outcomes", "url": "wss://h", "bearer": "b"}},
            "kafka": {"bootstrap.servers": "h"},
        }
    )
    assert isinstance(config.gateways["a"], Outcomes)
    assert "gateway.outcomes" in json_schema()["$defs"]
    assert "kind `outcomes`" in reference()


def test_every_key_has_a_meaning() -> None:
    """The reference lists every key of the bridge and of the real gateways, with what it means."""
    page = reference()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) > 60
    assert [row for row in rows if row.endswith("|  |")] == []
    for name in REFUSED:
        assert f"| `{name}` | " in page
    for word in ("`takeover_after`", "duration, at least 1s", "`6h`", "`2GiB`", "secret text", "`registry.basic`"):
        assert word in page
