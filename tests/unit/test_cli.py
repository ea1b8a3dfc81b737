"""The command line: help that fits, errors in one line, exit codes, output for people and programs."""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Self

import click
import pytest
import yaml

import bridge.check
import bridge.config
import bridge.kafka
import bridge.mortuary
import bridge.proof
import bridge.registry
import bridge.status
import bridge.survey
import bridge.tail
import bridge.topics
from bridge.catalog import Catalog
from bridge.cli import cli, main
from bridge.commands.command import LIBRDKAFKA, Command, Group
from bridge.config import load
from bridge.dedupe import ORDER, TRIPLE
from bridge.errors import BadData, CheckFailed, ConfigError, Locked, Refused, Unreachable
from bridge.evolution import Change
from bridge.finding import Finding
from bridge.frame import REPLAY, Disposition, Frame
from bridge.ledger import ENTRY, Entry
from bridge.ops import logs
from bridge.ops.redaction import redactor
from bridge.proof import Proof
from bridge.receipt import MARGIN, Place, Receipts
from bridge.registry import Difference, Registration
from bridge.rehearsal import ways_of
from bridge.route import Ways
from bridge.survey import Survey
from bridge.tail import Seen
from bridge.topics import TopicState
from bridge.verdict import Kind, Verdict, Violation
from bridge.witness import Laid, Witness
from tests.profiling import profiled

ROOT = Path(__file__).parents[2]
SECRET = "cli-marker-of-a-key"
CONFIG = """
name: main
gateways:
  cs2: {kind: ticktock, url: "wss://gateway.invalid", api_key: "${KEY}"}
kafka: {bootstrap.servers: "127.0.0.1:1"}
registry: {url: "http://127.0.0.1:1"}
"""


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Keep each (level, format) that logging was set up with, and leave logging itself alone."""
    calls: list[tuple[str, str]] = []
    monkeypatch.setattr(logs, "configure", lambda settings: calls.append((settings.level, settings.format)))
    monkeypatch.setenv("KEY", SECRET)
    monkeypatch.delenv("FEEDBRIDGE_CONFIG", raising=False)
    return calls


@pytest.fixture(autouse=True)
def loud() -> Iterator[None]:
    """A command keeps librdkafka's log quiet: put its level back."""
    logger = logging.getLogger(LIBRDKAFKA)
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.fixture
def config(tmp_path: Path) -> str:
    """Return the path of a configuration."""
    path = tmp_path / "feedbridge.yaml"
    path.write_text(CONFIG)
    return str(path)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Return what runs a command: arguments in; exit code, standard output and standard error out."""

    def call(*args: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(args)
        code = ended.value.code
        assert isinstance(code, int)
        out, err = capsys.readouterr()
        return code, out, err

    return call


Run = Callable[..., tuple[int, str, str]]


def commands(group: click.Group = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command with its path."""
    yield path, group
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


EVERY = list(commands())
NAMES = [" ".join(path) or "feedbridge" for path, _ in EVERY]


@pytest.mark.parametrize(("path", "command"), EVERY, ids=NAMES)
def test_help_fits_and_says_what_it_does(path: tuple[str, ...], command: click.Command, run: Run) -> None:
    """Each help fits 80 columns, begins with a sentence, and each command shows an example that can be copied."""
    code, out, _ = run(*path, "--help")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert (command.help or "").strip()
    assert "..." not in "".join(line for line in out.splitlines() if line.startswith("  ") and "TOPIC" not in line)
    if isinstance(command, Command):
        assert command.examples
        assert all(f"  {example}\n" in out for example in command.examples)


@pytest.mark.parametrize(
    "example",
    [example for _, command in EVERY if isinstance(command, Command | Group) for example in command.examples],
)
def test_examples_are_valid(example: str) -> None:
    """What the help shows can be typed: each option and argument exists."""
    words = shlex.split(example.split(" | ", maxsplit=1)[0].split(" > ", maxsplit=1)[0])
    assert words.pop(0) == "feedbridge"
    command: click.Command = cli
    context = click.Context(cli)
    while isinstance(command, click.Group):
        name = words.pop(0)
        command = command.commands[name]
        context = click.Context(command, parent=context, info_name=name)
    command.parse_args(context, words)


def test_all_faults_of_a_file_can_be_seen(run: Run, tmp_path: Path) -> None:
    """An error is one line, of the first; it says how to see the others, and so they are seen."""
    path = tmp_path / "f.yaml"
    path.write_text("name: Main\ngateways: {}\nkafka: {bootstrap.servers: 'x:1', acks: 1}\n")
    code, _, error = run("config", "show", "-c", str(path))
    assert (code, error.count("\n")) == (78, 1)
    assert "(and 2 more: `feedbridge config show --log-level debug` tells all)" in error
    _, _, error = run("config", "show", "-c", str(path), "--log-level", "debug")
    assert "f.yaml:2: gateways: needs at least 1" in error
    assert "f.yaml:3: kafka" in error


def test_help_is_quick() -> None:
    """Help and version import nothing that takes its time."""
    code = (
        "import sys\n"
        "from bridge.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    heavy = {
        "aiohttp", "asyncio", "confluent_kafka", "fastavro", "msgspec", "prometheus_client", "pydantic", "rich",
        "structlog", "websockets", "xxhash", "yaml",
    }  # fmt: skip
    assert not heavy & set(done.stderr.split())


def test_commands_not_built_do_not_appear() -> None:
    """What does nothing yet is not offered."""
    assert {path[0] for path, _ in EVERY if path} == {
        "check", "config", "dead-letters", "demo", "gaps", "profile", "run", "schemas", "simulate", "status", "tail",
        "topics", "verify",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["nonsense"], "feedbridge: no such command 'nonsense'"),
        (["topics", "nonsense"], "feedbridge: topics: no such command 'nonsense'"),
        (["run"], "feedbridge: run: missing option '-c' / '--config'"),
        (["run", "--nonsense"], "feedbridge: run: no such option"),
        (["demo", "--seconds", "x"], "feedbridge: demo: invalid value for '--seconds'"),
        (
            ["simulate", "ticktock", "--fault", "nonsense=1"],
            "feedbridge: simulate ticktock: invalid value: unknown fault",
        ),
        (["simulate", "ticktock", "--fault", "duplicate"], "feedbridge: simulate ticktock: invalid value for --fault"),
        (["simulate", "ticktock", "--fault", "duplicate=much"], "feedbridge: simulate ticktock: invalid value"),
        (
            ["simulate", "ticktock", "--amqp", "amqp://h", "--feed", "nonsense=1"],
            "feedbridge: simulate ticktock: invalid value",
        ),
        (["simulate", "predictstreet", "--amqp", "amqp://h"], "feedbridge: simulate predictstreet: no such option"),
        (["simulate", "predictstreet", "--listen", "8080"], "feedbridge: simulate predictstreet: invalid value"),
        (["schemas", "show", "nonsense"], "feedbridge: schemas show: there is no schema of 'nonsense'"),
        (["schemas", "show", "unknown"], "feedbridge: schemas show: several kinds have a type 'unknown'"),
    ],
)
def test_usage_error_is_one_line_and_2(args: list[str], text: str, run: Run) -> None:
    """A mistake on the command line says where, what, and which help to read."""
    code, out, err = run(*args)
    assert (code, out) == (2, "")
    assert err.startswith(text)
    assert err.count("\n") == 1
    assert "--help`" in err


@pytest.mark.parametrize("args", [[], ["topics"], ["schemas"]])
def test_group_alone_shows_its_help(args: list[str], run: Run) -> None:
    """A group without a command is a usage error that shows the commands."""
    code, _, err = run(*args)
    assert code == 2
    assert "Commands:" in err


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (CheckFailed("found"), 1),
        (BadData("bad"), 65),
        (Unreachable("away"), 69),
        (Refused("no"), 77),
        (ConfigError("wrong"), 78),
        (Locked("held"), 78),
        (RuntimeError("bug"), 70),
    ],
)
def test_exit_codes(error: Exception, expected: int, run: Run, config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each class of error has its code and one line, and no traceback."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(bridge.config, "load", fail)
    code, out, err = run("config", "show", "-c", config)
    assert (code, out) == (expected, "")
    assert err.startswith("feedbridge: ")
    assert err.count("\n") == 1


def test_debug_shows_where(run: Run, config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """--log-level debug adds the traceback, with secrets masked."""
    redactor.add(SECRET)

    def fail(*_: object, **__: object) -> None:
        raise ConfigError(f"wrong {SECRET}")

    monkeypatch.setattr(bridge.config, "load", fail)
    _, _, err = run("config", "show", "-c", config, "--log-level", "debug")
    assert err.startswith("Traceback")
    assert err.endswith("feedbridge: wrong ***\n")
    assert SECRET not in err


def test_closed_pipe_is_no_error() -> None:
    """When nobody reads the output any more the command ends as a shell expects, without a word."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "bridge.cli", "schemas", "show", "match.updated"],
        cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=30, check=False,
    )  # fmt: skip
    os.close(writing)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_version(run: Run) -> None:
    """The version, and nothing else."""
    code, out, _ = run("--version")
    assert code == 0
    assert out == f"feedbridge {bridge.__version__}\n"


# config


@pytest.mark.parametrize("read", [yaml.safe_load, json.loads], ids=["yaml", "json"])
def test_config_show_is_masked_and_whole(read: Callable[[str], Any], run: Run, config: str) -> None:
    """All settings with their defaults, as YAML or JSON; no secret in it."""
    code, out, _ = run("config", "show", "-c", config, *(["--json"] if read is json.loads else []))
    shown = read(out)
    assert code == 0
    assert shown["gateways"]["cs2"]["api_key"] == "***"
    assert shown["dedupe"]["window"] == "6h"
    assert SECRET not in out


def test_config_from_the_environment(run: Run, config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """FEEDBRIDGE_CONFIG stands for -c."""
    monkeypatch.setenv("FEEDBRIDGE_CONFIG", config)
    assert run("config", "show")[0] == 0


def test_loading_tells_the_logs_the_secrets(run: Run, config: str, configured: list[tuple[str, str]]) -> None:
    """From then on the key is masked wherever it turns up; a command logs warnings only, or what is asked for."""
    run("config", "show", "-c", config)
    assert redactor.known(f"x {SECRET} y") == "x *** y"
    run("config", "show", "-c", config, "--log-level", "info")
    assert configured == [("warning", "auto"), ("info", "auto")]


def test_config_schema_is_json(run: Run) -> None:
    """A JSON Schema that names the gateways' settings."""
    code, out, _ = run("config", "schema")
    assert code == 0
    assert json.loads(out)["$schema"].startswith("https://json-schema.org/")


# check, topics


@pytest.mark.parametrize("good", [True, False])
def test_check_prints_findings_and_judges(good: bool, run: Run, config: str, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001
    """A line for each finding; exit 1 and the first bad one on standard error if any is bad."""
    asked: list[str] = []

    async def check(_: Any, __: Any, gateways: Any) -> list[Finding]:
        asked.extend(gateway.name for gateway in gateways)
        return [Finding("config", ok=True, text="fine"), Finding("kafka", ok=good, text="away")]

    monkeypatch.setattr(bridge.check, "check", check)
    code, out, err = run("check", "-c", config)
    assert code == (0 if good else 1)
    assert [line.split()[0] for line in out.splitlines()] == ["ok", "ok" if good else "FAILED"]
    assert err == ("" if good else "feedbridge: 1 of 2 failed, the first: kafka: away\n")
    assert asked == ["cs2"]
    _, out, _ = run("check", "-c", config, "--json")
    assert json.loads(out)[1] == {"name": "kafka", "ok": good, "text": "away"}


def test_topics_plan_offline(run: Run, config: str) -> None:
    """What should be, without asking Kafka: data topics, dead letters and the bridge's own."""
    code, out, _ = run("topics", "plan", "-c", config, "--offline", "--json")
    topics = {topic["topic"]: topic for topic in json.loads(out)}
    assert code == 0
    assert {"cs2.match.updated", "cs2.dead-letters", "feedbridge.main.ledger"} <= topics.keys()
    assert topics["cs2.match.updated"]["state"] == "planned"
    assert topics["cs2.match.updated"]["subjects"] == ["cs2.match.updated-value"]
    _, out, _ = run("topics", "plan", "-c", config, "--offline")
    assert len(out.splitlines()) == len(topics) + 1
    assert not any(topic["private"] for topic in topics.values())


def test_topics_plan_says_what_is_private(run: Run, tmp_path: Path) -> None:
    """For a person and for the program that sets the rights."""
    gateway = "{kind: predictstreet-user, url: 'wss://host', api_key: k, subscribe: [{channel: user_activity}]}"
    config = tmp_path / "user.yaml"
    config.write_text(
        f"name: main\ngateways:\n  wallet: {gateway}\nkafka: {{bootstrap.servers: h}}\n", encoding="utf-8"
    )
    _, out, _ = run("topics", "plan", "-c", str(config), "--offline", "--json")
    assert {topic["topic"] for topic in json.loads(out) if topic["private"]} >= {
        "wallet.user-fill",
        "wallet.dead-letters",
    }
    _, out, _ = run("topics", "plan", "-c", str(config), "--offline")
    head, *rows = out.splitlines()
    assert "private" in head
    assert all(row.split()[3] == "yes" for row in rows if row.startswith("wallet."))


def test_topics_acls_prints_what_a_user_needs(run: Run, config: str) -> None:
    """As commands, as a KafkaUser or as JSON; nothing is asked of Kafka. The user is that of the configuration."""
    file = Path(config)
    file.write_text(file.read_text().replace('"127.0.0.1:1"}', '"127.0.0.1:1", sasl.username: feeds}', 1))
    code, out, err = run("topics", "acls", "-c", config)
    assert (code, err) == (0, "")
    assert "--allow-principal User:feeds" in out
    assert "--topic feedbridge.main.ledger" in out
    _, out, _ = run("topics", "acls", "-c", config, "--format", "strimzi", "--user", "other", "--cluster", "events")
    assert yaml.safe_load(out)["metadata"] == {"name": "other", "labels": {"strimzi.io/cluster": "events"}}
    _, out, _ = run("topics", "acls", "-c", config, "--for", "read", "--group", "odds", "match.updated", "--json")
    assert [(each["resource"], each["name"], each["operations"]) for each in json.loads(out)] == [
        ("topic", "cs2.match.updated", ["Read"]),
        ("group", "odds", ["Read"]),
    ]
    code, _, err = run("topics", "acls", "-c", config, "match.updated")
    assert code == 2
    assert "--for read" in err


@pytest.mark.parametrize("command", [("acls",), ("plan", "--offline")])
def test_what_logs_in_nowhere_needs_no_keys(
    command: tuple[str, ...], run: Run, config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Topics and rights can be looked at where the keys are not; but what names them must be there."""
    monkeypatch.delenv("KEY")
    file = Path(config)
    text = file.read_text().replace('"127.0.0.1:1"}', '"127.0.0.1:1", sasl.password: "${file:/no/such/file}"}', 1)
    file.write_text(text)
    assert run("topics", *command, "-c", config)[0] == 0
    assert run("topics", "plan", "-c", config)[0] == 78
    file.write_text(text + 'topics: {prefix: "${PREFIX}"}\n')
    code, _, err = run("topics", *command, "-c", config)
    assert code == 78
    assert "topics.prefix: the environment variable PREFIX is not set" in err


@pytest.mark.parametrize("unusable", [None, "has no partitions"])
def test_topics_apply_says_what_it_did(
    unusable: str | None, run: Run, config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line for each topic with how it differs; exit 1 if the bridge can't run with one."""

    def apply(_: Any, plan: Any, **_more: Any) -> list[TopicState]:
        return [
            TopicState(plan=plan[0], state="created"),
            TopicState(plan=plan[1], state="differs", differences=("partitions: 3, not 6",), unusable=unusable),
        ]

    monkeypatch.setattr(bridge.kafka, "Admin", lambda _: None)
    monkeypatch.setattr(bridge.topics, "apply", apply)
    code, out, err = run("topics", "apply", "-c", config)
    assert code == (1 if unusable else 0)
    assert "created" in out
    assert "partitions: 3, not 6" in out
    assert err.count("\n") == (1 if unusable else 0)


def test_topics_plan_asks_kafka(run: Run, config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka that is away is exit 69."""

    def compare(*_: object) -> None:
        raise Unreachable("away", where="kafka")

    monkeypatch.setattr(bridge.kafka, "Admin", lambda _: None)
    monkeypatch.setattr(bridge.topics, "compare", compare)
    assert run("topics", "plan", "-c", config) == (69, "", "feedbridge: kafka: away\n")


# the log


def test_what_librdkafka_says_stays_out_of_a_commands_output(run: Run, config: str) -> None:
    """The command's own error tells it; `--log-level` brings the rest back."""
    logger = logging.getLogger(LIBRDKAFKA)
    run("topics", "plan", "--offline", "-c", config, "--log-level", "info")
    assert logger.isEnabledFor(logging.CRITICAL)
    run("topics", "plan", "--offline", "-c", config)
    assert not logger.isEnabledFor(logging.CRITICAL)


# schemas


def test_schemas_list_and_show(run: Run, config: str) -> None:
    """Every published type is listed with a fingerprint, by which, as by its name, it can be shown."""
    _, out, _ = run("schemas", "list", "--json")
    listed = {f"{row['kind']}/{row['type']}": row for row in json.loads(out)}
    assert {"ticktock/match.updated", "predictstreet-market/trade", "ticktock/unknown"} <= listed.keys()
    assert "ticktock/alive" not in listed
    row = listed["ticktock/match.updated"]
    shown = [
        json.loads(run("schemas", "show", what, "--avsc")[1])
        for what in ("match.updated", row["fingerprint"], "ticktock/match.updated")
    ]
    assert shown[0] == shown[1] == shown[2]
    assert shown[0]["name"] == "MatchUpdated"
    assert "bridge" not in shown[0]
    _, out, _ = run("schemas", "list", "-c", config, "--json")
    assert {row["subject"] for row in json.loads(out)} >= {"cs2.match.updated-value"}


class FakeRegistry:
    """A registry that answers what it is told."""

    def __init__(self, _: Any) -> None:
        """Take the settings."""

    def check(self, topics: list[Any]) -> list[Finding]:
        """Find one bad schema."""
        assert topics
        return [Finding("registry", ok=False, text="cs2 match.updated: data.status: removed")]

    def register(self, topics: list[Any]) -> list[Registration]:
        """Register one."""
        assert topics
        return [Registration("cs2.match.updated-value", "match.updated", 7, "new subject")]

    def diff(self, topics: list[Any]) -> list[Difference]:
        """Find one change and one missing subject."""
        assert topics
        change = Change("data.status", "long, was string", "breaks readers")
        return [Difference("a-value", "cs2", "a", 3, (change,)), Difference("b-value", "cs2", "b", None, ())]


def test_schemas_against_the_registry(run: Run, config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """check fails naming type and field; register and diff say what was done and what differs."""
    monkeypatch.setattr(bridge.registry, "Registry", FakeRegistry)
    code, out, err = run("schemas", "check", "-c", config)
    assert code == 1
    assert "match.updated: data.status: removed" in out
    assert "match.updated: data.status: removed" in err
    assert run("schemas", "register", "-c", config)[1].split()[-4:] == [
        "cs2.match.updated-value",
        "7",
        "new",
        "subject",
    ]
    assert json.loads(run("schemas", "register", "-c", config, "--json")[1])[0]["id"] == 7
    assert run("schemas", "diff", "-c", config)[1].splitlines() == [
        "a-value (version 3): data.status: long, was string (breaks readers)",
        "b-value: not registered",
    ]
    assert json.loads(run("schemas", "diff", "-c", config, "--json")[1])[0]["changes"][0]["path"] == "data.status"


def test_schemas_without_a_registry(run: Run, tmp_path: Path) -> None:
    """Where the configuration has none, the commands that need one say so."""
    path = tmp_path / "none.yaml"
    path.write_text(CONFIG.replace('registry: {url: "http://127.0.0.1:1"}', ""))
    code, _, err = run("schemas", "register", "-c", str(path))
    assert code == 78
    assert err.startswith("feedbridge: registry: ")


# tail, dead letters

RECORD = Seen(
    topic="cs2.match.updated", partition=1, offset=12, timestamp=1_800_000_000_000, key=b"m1", headers={"type": "match.updated"},
    value=b"x", schema={"type": "record", "name": "R", "fields": [{"name": "a", "type": "string"}]}, data={"a": "\x9b2J"},
)  # fmt: skip
LETTER = Seen(
    topic="cs2.dead-letters", partition=0, offset=3, timestamp=1_800_000_000_000, key=b"cs2",
    headers={"gateway": "cs2", "reason": "wrong_type", "detail": "expected long", "path": "data.id", "received": "1"},
    value=b'{"no\x1b": \xff}',
)  # fmt: skip


@pytest.fixture
def tailed(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Let `tail` yield one record, or one dead letter where those are asked for; keep what was asked."""
    asked: list[dict[str, Any]] = []

    def tail(_: Any, topics: list[str], __: Any, **options: Any) -> Iterator[Seen]:
        asked.append({"topics": topics, **options})
        yield LETTER if topics[0].endswith("dead-letters") else RECORD

    monkeypatch.setattr(bridge.tail, "tail", tail)
    return asked


def test_tail_prints_records(run: Run, config: str, tailed: list[dict[str, Any]]) -> None:
    """A line for each, JSON for programs; nothing in it steers the terminal."""
    code, out, _ = run("tail", "-c", config, "cs2.match.updated", "--last", "5", "--count", "2", "--no-follow")
    assert code == 0
    assert "cs2.match.updated[1]@12 m1" in out
    assert "\x9b" not in out
    assert tailed[0] == {
        "topics": ["cs2.match.updated"], "start": "end", "last": 5, "count": 2, "follow": False, "skip_missing": False,
    }  # fmt: skip
    line = json.loads(run("tail", "-c", config, "--json", "--from", "beginning")[1])
    assert line["value"] == {"a": "\x9b2J"}
    assert tailed[1]["start"] == "beginning"
    assert tailed[1]["follow"]
    assert "cs2.dead-letters" not in tailed[1]["topics"]


def test_dead_letters_are_listed(run: Run, config: str, tailed: list[dict[str, Any]]) -> None:
    """Place, reason, field and what it is about, then how many of each reason; chosen ones alone, if that is wished."""
    row = json.loads(run("dead-letters", "list", "-c", config, "cs2", "--json")[1])
    assert (row["place"], row["reason"], row["path"], row["key"], row["bytes"]) == (
        "cs2.dead-letters[0]@3",
        "wrong_type",
        "data.id",
        "cs2",
        10,
    )
    assert tailed[0]["topics"] == ["cs2.dead-letters"]
    assert not tailed[0]["follow"]
    out = run("dead-letters", "list", "-c", config)[1]
    assert "data.id: expected long" in out
    assert out.splitlines()[-1] == "1 dead letters: wrong_type 1"
    for words in (("--reason", "not_json"), ("--type", "x"), ("--since", "1h"), ("--gateway", "cs2", "--type", "y")):
        assert run("dead-letters", "list", "-c", config, *words)[1] == "0 dead letters\n"
    assert json.loads(run("dead-letters", "list", "-c", config, "--limit", "5", "--json")[1]) == row
    assert run("dead-letters", "list", "-c", config, "nonsense")[0] == 2


@pytest.fixture
def laid(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let there be that dead letter."""

    class Mortuary:
        entries: ClassVar[list[Entry]] = []
        value = LETTER.value

        def __init__(self, *_: Any, **__: Any) -> None:
            pass

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def letters(self, gateway: str, wanted: dict[int, list[int]]) -> list[Laid]:
            """One at offset 3, nothing elsewhere."""
            [(partition, [offset])] = wanted.items()
            place = Place(gateway, partition, offset)
            value = self.value if offset == 3 else None
            return [Laid(place=place, value=value, key="cs2", headers=LETTER.headers)]

        def receipts(self) -> Receipts:
            """None."""
            return Receipts()

        def witness(self, laid: list[Laid], receipts: Receipts, ways: Ways, *, older: bool) -> Witness:
            """Tells of one ledger entry, where there is one."""
            found = Witness(laid, receipts, ways)
            for entry in self.entries:
                found.take(entry, entry.at)
            found.judge(-MARGIN, older=older)
            return found

    monkeypatch.setattr(bridge.mortuary, "Mortuary", Mortuary)
    monkeypatch.setattr(bridge.topics, "compare", lambda *_: [])
    return Mortuary


@pytest.mark.usefixtures("laid")
def test_a_dead_letter_is_shown(run: Run, config: str) -> None:
    """Why it is one, what would come of it now, and its bytes, which are in no way obeyed; a place without one is bad data."""
    shown = run("dead-letters", "show", "-c", config, "cs2.dead-letters[0]@3")[1].splitlines()
    assert "reason    wrong_type" in shown
    assert "field     data.id" in shown
    assert any(line.startswith("now       still a dead letter: not_json") for line in shown)
    assert shown[-1] == '{"no\\x1b": \\xff}'
    found = json.loads(run("dead-letters", "show", "-c", config, "cs2.dead-letters[0]@3", "--json")[1])
    assert (found["now"]["reason"], found["now"]["topics"]) == ("not_json", [])
    assert base64.b64decode(found["base64"]) == LETTER.value
    for place, wanted in (
        ("cs2.dead-letters[0]@4", "`feedbridge dead-letters list` lists them"),
        (
            "other.dead-letters[0]@3",
            "'other.dead-letters' is no topic of dead letters; give one of this configuration, such as ",
        ),
        (
            "nonsense",
            "'nonsense' is no place of a dead letter; give it as 'cs2.dead-letters[0]@12': topic, partition, offset",
        ),
        ("cs2.dead-letters:0:3", "give it as 'cs2.dead-letters[0]@12': topic, partition, offset"),
    ):
        code, _, error = run("dead-letters", "show", "-c", config, place)
        assert (code, wanted in error) == (65, True), error


def test_showing_a_dead_letter_says_what_a_replay_would(
    run: Run, config: str, laid: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not what the frame alone would be: a newer state may be published; and where that can't be known, it says so."""
    state = {"type": "match.updated", "data": {"id": "m"}, "meta": {"ts": "2026-05-12T18:00:00.000Z", "seq": 1}}
    laid.value = json.dumps(state).encode()
    show = ("dead-letters", "show", "-c", config, "cs2.dead-letters[0]@3")

    def now() -> str:
        return next(line for line in run(*show)[1].splitlines() if line.startswith("now"))[10:]

    assert now() == "would be published to cs2.match.updated"
    sighting = ways_of(load(Path(config), environ={"KEY": SECRET}), Catalog.load(), "cs2").sight(
        Frame("cs2", "", 1, REPLAY, laid.value)
    )
    assert sighting is not None
    newer = Entry(
        kind=ENTRY, instance="i", at=2, codes=bytes([sighting.traits]), orders=ORDER.pack(sighting.order(1) + 1),
        hashes=TRIPLE.pack(1, 2, sighting.entity),
    )  # fmt: skip
    laid.entries = [newer]
    assert now() == "superseded: a newer state of its match or market is published"
    assert json.loads(run(*show, "--json")[1])["replay"] == {"outcome": "superseded", "unsure": None}

    def refused(*_: Any, **__: Any) -> Any:
        raise Refused("the user may not read topic 'l'", where="kafka")

    monkeypatch.setattr(laid, "receipts", refused)
    assert (
        now()
        == "would be published to cs2.match.updated, as far as the frame alone tells: kafka: the user may not read topic 'l'"
    )


@pytest.mark.usefixtures("laid")
def test_dead_letter_byte_for_byte(config: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """--raw writes the original bytes and nothing else."""
    with pytest.raises(SystemExit):
        main(["dead-letters", "show", "-c", config, "cs2.dead-letters[0]@3", "--raw"])
    assert capfdbinary.readouterr().out == LETTER.value


@pytest.mark.parametrize(
    "words",
    [[], ["cs2.dead-letters[0]@3", "--gateway", "cs2"], ["--request", "1", "--dry-run"], ["--request", "1", "x"]],
)
def test_a_replay_must_be_told_what(run: Run, config: str, words: list[str]) -> None:
    """Never all there is by accident, and no two ways of choosing at once."""
    assert run("dead-letters", "replay", "-c", config, *words)[0] == 2


# verify, gaps


def gap(number: int, *, to: int | None, state: str, gateway: str = "cs2") -> dict[str, Any]:
    """A gap record as it is decoded, an hour after that of the number before."""
    begin = datetime(2026, 5, 10, 12, tzinfo=UTC) + timedelta(hours=number)
    return {
        "id": f"{gateway}/list/{number}", "gateway": gateway, "connection": "list", "lane": 0, "instance": "i",
        "entity": None, "from": begin, "to": None if to is None else begin + timedelta(milliseconds=to), "last_seq": None,
        "cause": "disconnect", "state": state, "recovered": 3, "superseded": 0, "how": None,
    }  # fmt: skip


@pytest.fixture
def asked() -> list[dict[str, Any]]:
    """What a command has asked for."""
    return []


@pytest.fixture
def proved(monkeypatch: pytest.MonkeyPatch, asked: list[dict[str, Any]]) -> Proof:
    """What `verify` is told; to be changed."""
    verdict = Verdict(entries=3, records=10, linked=10, keys=2, frames=Counter({Disposition.PUBLISHED: 10}))
    proof = Proof(
        verdict=verdict, begin=None, dead=Counter({("cs2", "not_json"): 2}), gaps=[gap(0, to=None, state="open")]
    )

    def prove(*_: Any, **options: Any) -> Proof:
        asked.append(options)
        return proof

    monkeypatch.setattr(bridge.proof, "prove", prove)
    return proof


@pytest.mark.usefixtures("proved")
def test_verify_says_what_holds(run: Run, config: str, asked: list[dict[str, Any]]) -> None:
    """A line for each promise; gaps and dead letters break none."""
    code, out, err = run("verify", "-c", config, "--since", "1h")
    assert (code, err) == (0, "")
    assert out.count("ok ") == 4
    assert "dead letters of cs2: 2 not_json\n" in out
    assert "open gap: cs2/list/0, disconnect\n" in out
    assert max(map(len, out.splitlines())) <= 80
    [options] = asked
    assert time.time() - options["span"].since / 1000 == pytest.approx(3600, abs=60)
    assert options["span"].until is None


def test_verify_ends_with_1_and_names_what_is_wrong(run: Run, config: str, proved: Proof) -> None:
    """A line for each of the first, and how many more there are; all that is known for programs."""
    for offset in range(12):
        proved.verdict.add(
            Violation(
                kind=Kind.DUPLICATE, topic="cs2.x", partition=1, offset=offset, key=b"k\x1b", text="the same as y"
            )
        )
    proved.verdict.older = 5
    code, out, err = run("verify", "-c", config)
    assert code == 1
    assert err == "feedbridge: verify: a promise is broken: 12 duplicate\n"
    assert "FAILED  each record is published once" in out
    assert out.count("duplicate: cs2.x[1]@") == 10
    assert "duplicate: cs2.x[1]@0 key k\\x1b: the same as y\n" in out
    assert "duplicate: and 2 more\n" in out
    assert "not judged: 5 records from before the ledger begins\n" in out
    code, out, _ = run("verify", "-c", config, "--json")
    facts = json.loads(out)
    assert (code, facts["ok"], facts["broken"]["duplicate"], len(facts["violations"])) == (1, False, 12, 12)
    assert facts["frames"] == {"published": 10}
    assert facts["dead_letters"] == [{"gateway": "cs2", "reason": "not_json", "count": 2}]
    assert facts["gaps"][0]["from"] == 1778414400000


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([], "either a gap's id or --gateway"),
        (["x", "--gateway", "cs2"], "either a gap's id or --gateway"),
        (["x", "--to", "1h"], "--from and --to go with --gateway"),
        (["--gateway", "cs2"], "--from and --to go with --gateway"),
        (["--gateway", "other", "--from", "1h"], "there is no gateway 'other'"),
        (["--gateway", "cs2", "--from", "1h", "--to", "2h"], "--from must be before --to"),
        (["--gateway", "cs2", "--from", "beginning"], "--from must be before --to"),
    ],
)
def test_what_is_to_be_filled_must_be_said(words: list[str], why: str, run: Run, config: str) -> None:
    """Before Kafka is asked for anything."""
    code, _, error = run("gaps", "fill", "-c", config, *words)
    assert (code, why in error) == (2, True), error


def test_gaps_are_listed(run: Run, config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The latest record of each; those that are asked for."""
    records = [
        gap(0, to=None, state="open"), gap(1, to=None, state="open"),
        gap(0, to=125_000, state="partly") | {"how": "settlements over REST; no rounds"},
        gap(2, to=400, state="lost", gateway="other"),
    ]  # fmt: skip
    monkeypatch.setattr(bridge.tail, "tail", lambda *_, **__: (replace(RECORD, data=each) for each in records))
    code, out, _ = run("gaps", "list", "-c", config)
    assert code == 0
    rows = [line.split() for line in out.splitlines()]
    assert rows[0] == ["from", "to", "lasted", "cause", "state", "id"]
    assert rows[1] == ["05-10", "12:00:00", "12:02:05", "2m05s", "disconnect", "partly", "cs2/list/0"]
    assert out.splitlines()[2] == "  3 records published late; settlements over REST; no rounds"
    assert [row[-1] for row in rows[1::2]] == ["cs2/list/0", "cs2/list/1", "other/list/2"]
    found = [json.loads(line) for line in run("gaps", "list", "-c", config, "--json", "--open")[1].splitlines()]
    assert [(each["id"], each["to"]) for each in found] == [("cs2/list/1", None)]
    found = [json.loads(line) for line in run("gaps", "list", "-c", config, "--json", "cs2")[1].splitlines()]
    assert [(each["id"], each["state"]) for each in found] == [("cs2/list/0", "partly"), ("cs2/list/1", "open")]
    assert found[0]["seconds"] == 125.0
    found = [
        json.loads(line)
        for line in run("gaps", "list", "-c", config, "--json", "--since", "2026-05-10T13:30:00Z")[1].splitlines()
    ]
    assert [each["id"] for each in found] == ["cs2/list/1", "other/list/2"]
    assert run("gaps", "list", "-c", config, "nonsense")[0] == 2
    assert run("gaps", "list", "-c", config, "--since", "2027-05-10") == (0, "none of 3 recorded gaps fits\n", "")


def test_that_there_are_no_gaps_is_said(run: Run, config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a sentence for people, by no line for programs; and what can't be read is not passed over."""
    records: list[Seen] = []
    monkeypatch.setattr(bridge.tail, "tail", lambda *_, **__: iter(records))
    assert run("gaps", "list", "-c", config) == (0, "no gaps are recorded\n", "")
    assert run("gaps", "list", "-c", config, "--json") == (0, "", "")
    records.append(replace(RECORD, schema=None, data=None, error="no schema has the id 9"))
    _, _, error = run("gaps", "list", "-c", config)
    assert error == "1 records can't be read, the first is feedbridge.main.gaps[1]@12: no schema has the id 9\n"


# status, run, simulate, demo


# profile


@pytest.fixture
def surveyed(monkeypatch: pytest.MonkeyPatch, asked: list[dict[str, Any]]) -> None:
    """Two matches with members that no schema knows, and a type that has none."""
    frames = [
        {"type": "match.updated", "data": {"id": "m1", "venue": {"city": "K\x1b" + "ö" * 90}, "fee": 1.10}},
        {"type": "match.updated", "data": {"id": "m2", "status": "live", "x" * 60: None}},
        {"type": "map.veto", "data": {"match_id": "m1", "map": "de_nuke"}},
    ]
    profiler = profiled(Catalog.load().kind("ticktock"), [json.dumps(frame).encode() for frame in frames])

    def survey(*given: Any, **options: Any) -> Survey:
        asked.append({"topics": [each.name for each in given[3]], **options})
        return Survey(profiler=profiler, records=3, unreadable=Counter({"cs2.x": 2}), why="no schema")

    monkeypatch.setattr(bridge.survey, "survey", survey)


@pytest.mark.usefixtures("surveyed")
def test_profile_fits_and_says_what_no_schema_knows(run: Run, config: str, asked: list[dict[str, Any]]) -> None:
    """80 columns, whatever was sent; unknown members are marked, and may be asked for alone."""
    code, out, err = run("profile", "-c", config, "match.updated", "--since", "1h")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert "\x1b" not in out
    assert re.search(r"^ +data.status +string +50% +live$", out, re.MULTILINE)
    assert re.search(r"^\+ +data.venue.city +string +0% ", out, re.MULTILINE)
    assert "cs2 map.veto (no schema)\n" in out
    assert "not read: 2 records of cs2.x (no schema)\n" in out
    assert asked[0]["topics"] == ["cs2.match.updated"]
    assert time.time() - asked[0]["span"].since / 1000 == pytest.approx(3600, abs=60)
    _, out, _ = run("profile", "-c", config, "--news")
    assert "data.status" not in out
    _, out, _ = run("profile", "-c", config, "--json")
    [matches] = [each for each in json.loads(out)["types"] if each["type"] == "match.updated"]
    fee = next(each for each in matches["fields"] if each["path"] == "data.fee")
    assert (fee["known"], fee["types"], fee["null_rate"], fee["min"]) == (False, {"number": 1}, 0.5, "1.1")


@pytest.mark.usefixtures("surveyed")
def test_profile_writes_proposals(run: Run, config: str, tmp_path: Path, asked: list[dict[str, Any]]) -> None:
    """A file for each type, what is new in it, and what was left out; 1 where there is nothing to propose."""
    folder = tmp_path / "out"
    propose = ["--propose", "match.updated", "--propose", "map.veto", "-o", str(folder)]
    code, out, err = run("profile", "-c", config, *propose)
    assert (code, err) == (0, "")
    assert asked[0]["topics"] == ["cs2.match.updated", "cs2.unknown"]
    assert {path.name for path in (folder / "ticktock").iterdir()} == {"match.updated.avsc", "map.veto.avsc"}
    assert "map.veto.avsc (a new type)\n" in out
    assert "  data.fee: added, null or string (number)\n" in out
    assert f"left out: MatchUpdatedData.{'x' * 60}: nothing but null was seen" in out
    code, out, _ = run("profile", "-c", config, *propose, "--json")
    assert [(each["name"], each["new_type"]) for each in json.loads(out)["proposals"]] == [
        ("ticktock/match.updated", False), ("ticktock/map.veto", True),
    ]  # fmt: skip
    code, _, err = run("profile", "-c", config, "--propose", "market.updated", "-o", str(folder))
    assert code == 1
    assert err.startswith("feedbridge: profile: nothing to propose for market.updated: no record of this span")


def test_status_asks_the_address_of_the_configuration(run: Run, config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """--url, else http.listen of the file, else the default."""
    asked: list[str] = []

    def fetch(url: str) -> dict[str, Any]:
        asked.append(url)
        return {"name": "main"}

    monkeypatch.setattr(bridge.status, "fetch", fetch)
    assert json.loads(run("status", "--url", "http://h:1", "--json")[1]) == {"name": "main"}
    assert "main" in run("status", "-c", config)[1]
    run("status")
    assert asked == ["http://h:1", "http://127.0.0.1:8080", "http://127.0.0.1:8080"]


@pytest.mark.parametrize(("level", "code"), [("good", 0), ("wait", 1), ("warning", 0), ("bad", 1)])
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_status_ends_with_0_where_all_is_well(
    level: str, code: int, form: tuple[str, ...], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or where there is but a warning; with 1 where not: for scripts. It is no error, so standard error stays empty."""
    monkeypatch.setattr(bridge.status, "fetch", lambda _: {"well": [{"level": level, "text": "so it is"}]})
    found, out, err = run("status", *form)
    assert (found, err) == (code, "")
    assert "so it is" in out


def test_status_of_a_bridge_that_listens_nowhere(run: Run, tmp_path: Path) -> None:
    """`http: null` can't be asked."""
    path = tmp_path / "off.yaml"
    path.write_text(f"{CONFIG}http: null\n")
    assert run("status", "-c", str(path))[0] == 78


#: Runs `feedbridge run` with a service that is told how to end.
FAKE_RUN = """
import asyncio, sys, types
mode = sys.argv[2]
class Service:
    def __init__(self, config):
        from bridge.ops.metrics import Metrics
        self.config, self.metrics = config, Metrics()
    def configure(self, config, change): print("changed", *change.keys, flush=True)
    async def run(self, stop):
        print("up", flush=True)
        if mode == "refused":
            from bridge.errors import Refused
            raise ExceptionGroup("tasks", [Refused("every gateway refused its key", mend="renew the keys")])
        await stop.wait()
        print("stopping", flush=True)
        if mode == "stuck":
            await asyncio.sleep(60)
sys.modules["bridge.service"] = types.SimpleNamespace(Service=Service)
from bridge.cli import main
main(["run", "-c", sys.argv[1]])
"""


def fake_run(config: str, mode: str) -> subprocess.Popen[str]:
    """Start it and wait until it is up."""
    process = subprocess.Popen(
        [sys.executable, "-c", FAKE_RUN, config, mode],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


def test_sighup_reads_the_configuration_again(config: str) -> None:
    """What is new is taken over while it runs; a file that is broken ends nothing."""
    with fake_run(config, "well") as process:
        assert process.stdout is not None
        file = Path(config)
        text = file.read_text(encoding="utf-8")
        for broken in ("name: [", text):
            file.write_text(broken, encoding="utf-8")
            process.send_signal(signal.SIGHUP)
        file.write_text(f"{text}log: {{level: warning}}\n", encoding="utf-8")
        process.send_signal(signal.SIGHUP)
        assert process.stdout.readline() == "changed log.level\n"
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=20)[0] == "stopping\n"
        assert process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_first_signal_ends_run_gracefully(number: signal.Signals, config: str) -> None:
    """The service is asked to stop, and the exit code is 0."""
    with fake_run(config, "well") as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "stopping\n", "")


def test_second_signal_ends_run_at_once(config: str) -> None:
    """Whoever asks twice does not wait."""
    with fake_run(config, "stuck") as process:
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert process.stdout.readline() == "stopping\n"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGTERM


def test_run_ends_in_time_though_stuck(tmp_path: Path) -> None:
    """What does not come to an end within shutdown.timeout is ended, with 0: the journal has the rest."""
    path = tmp_path / "quick.yaml"
    path.write_text(f"{CONFIG}shutdown: {{timeout: 1s}}\n")
    with fake_run(str(path), "stuck") as process:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 0


def test_run_refused_everywhere_is_77(config: str) -> None:
    """Also where the error comes out of a group of tasks."""
    with fake_run(config, "refused") as process:
        _, err = process.communicate(timeout=20)
    assert process.returncode == 77
    assert err == "feedbridge: every gateway refused its key; renew the keys\n"


def test_simulate_names_a_broker_that_is_not_there(run: Run) -> None:
    """Exit 69, and no password in the words."""
    with socket.socket() as taken:  # bound and not listening: nobody answers there
        taken.bind(("127.0.0.1", 0))
        url = f"amqp://user:hunter2@127.0.0.1:{taken.getsockname()[1]}/vhost"
        code, out, err = run("simulate", "ticktock", "--listen", "127.0.0.1:0", "--amqp", url)
    assert (code, out) == (69, "")
    assert "the broker of --amqp" in err
    assert "hunter2" not in err


def test_simulate_says_where_it_listens_and_ends() -> None:
    """A program reads the address and the key from one line of JSON; SIGTERM ends it with 0."""
    with subprocess.Popen(
        [sys.executable, "-m", "bridge.cli", "simulate", "ticktock", "--listen", "127.0.0.1:0", "--key", "k-1", "--json"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        facts = json.loads(process.stdout.readline())
        assert facts["url"].startswith("ws://127.0.0.1:")
        assert facts["api_key"] == "k-1"
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
