"""bridge.reload: another configuration while the bridge runs, whole or not at all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge.config import Config, load
from bridge.errors import ConfigError
from bridge.gateways.gateway import Gateway
from bridge.gateways.ticktock import TickTock
from bridge.ops.metrics import Metrics
from bridge.ops.redaction import redactor
from bridge.reload import APPLIED, FILE, REFUSED, SIGNAL, UNCHANGED, Change, Reloader, compare
from tests.running import until

MARKER = "s3cr3t-marker"
PLAIN: dict[str, Any] = {
    "name": "main",
    "kafka": {"bootstrap.servers": "127.0.0.1:1", "sasl.password": "${file:kafka}"},
    "gateways": {
        "cs2": {"kind": "ticktock", "url": "wss://a.invalid", "api_key": "${file:key}", "matches": ["one"]},
        "markets": {
            "kind": "predictstreet-market",
            "url": "wss://b.invalid",
            "api_key": "${MARKETS_KEY}",
            "subscribe": [{"channel": "token_book", "ids": ["1"]}],
        },
    },
}


class Bench:
    """A file, what reads it again, and what came of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "feedbridge.yaml"
        self.key = folder / "key"
        self.environ = {"MARKETS_KEY": "of-the-environment"}
        self.applied: list[Change] = []
        self.levels: list[str] = []
        self.metrics = Metrics()
        self.key.write_text(f"{MARKER}-1\n")
        (folder / "kafka").write_text("password")
        self.write()
        self.reloader = Reloader(
            self.file,
            self.load(),
            environ=self.environ,
            apply=lambda _, change: self.applied.append(change),
            relog=lambda config: self.levels.append(config.log.level),
            metrics=self.metrics,
            look=0.02,
        )

    def write(self, **more: Any) -> None:
        """The file, with other sections."""
        self.file.write_text(yaml.safe_dump(PLAIN | more))

    def gateway(self, name: str, **more: Any) -> None:
        """The file, with other settings of a gateway."""
        self.write(gateways=PLAIN["gateways"] | {name: PLAIN["gateways"][name] | more})

    def load(self) -> Config:
        """As at the start."""
        return load(self.file, environ=self.environ)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Watch within a block."""
        task = asyncio.create_task(self.reloader.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until_reloads(self, count: int) -> None:
        """Return when it was reloaded so often."""
        await until(lambda: self.metrics.total("reloads_total") >= count, what=f"reload {count}", seconds=10)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """See the class."""
    return Bench(tmp_path)


def test_what_may_change_is_named_by_its_key_and_given_to_its_gateway_alone(bench: Bench) -> None:
    """Keys, matches, ages; the log goes its own way."""
    bench.key.write_text("another")
    bench.write(
        log={"level": "debug"},
        gateways=PLAIN["gateways"] | {"cs2": PLAIN["gateways"]["cs2"] | {"matches": "all", "max_age": "4h"}},
    )
    outcome = bench.reloader.reload(SIGNAL)
    assert (outcome.outcome, outcome.error) == (APPLIED, None)
    assert outcome.changed == ["log.level", "gateways.cs2.max_age", "gateways.cs2.api_key", "gateways.cs2.matches"]
    assert [list(change.gateways) for change in bench.applied] == [["cs2"]]
    assert bench.levels == ["debug"]
    assert bench.reloader.reload(SIGNAL).outcome == UNCHANGED
    assert len(bench.applied) == len(bench.levels) == 1


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"name": "other"}, "name"),
        ({"lanes": {"count": 2}}, "lanes.count"),
        ({"kafka": PLAIN["kafka"] | {"bootstrap.servers": "other:1"}}, "kafka.bootstrap.servers"),
        ({"kafka": PLAIN["kafka"] | {"client.id": "x"}}, "kafka.client.id"),
        ({"journal": {"max_bytes": "1GiB"}}, "journal.max_bytes"),
        ({"registry": {"url": "http://r.invalid"}}, "registry"),
        ({"topics": {"prefix": "x"}}, "topics.prefix"),
        ({"gateways": {"cs2": PLAIN["gateways"]["cs2"]}}, "gateways.markets"),
        ({"gateways": PLAIN["gateways"] | {"more": PLAIN["gateways"]["cs2"]}}, "gateways.more"),
        (
            {"gateways": PLAIN["gateways"] | {"cs2": PLAIN["gateways"]["cs2"] | {"url": "wss://c.invalid"}}},
            "gateways.cs2.url",
        ),
    ],
)
def test_what_may_not_change_is_named_and_nothing_of_that_reload_applies(
    bench: Bench, more: dict[str, Any], named: str
) -> None:
    """Not even a key that could: half a configuration is nobody's wish."""
    bench.key.write_text("another")
    bench.write(log={"level": "debug"}, **more)
    outcome = bench.reloader.reload(SIGNAL)
    assert outcome.outcome == REFUSED
    assert outcome.error == f"{named} can't be changed while it runs: nothing was changed; restart it"
    assert (bench.applied, bench.levels) == ([], [])
    assert bench.metrics.total("reloads_total", outcome=REFUSED) == 1
    bench.write()
    assert bench.reloader.reload(SIGNAL).changed == ["gateways.cs2.api_key"], "the old one was still in force"


def test_a_kind_that_takes_no_other_settings_refuses_them(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one of another package that knows nothing of reloads."""
    monkeypatch.setattr(TickTock, "reloadable", Gateway.reloadable)
    bench.gateway("cs2", max_age="4h")
    assert "gateways.cs2.max_age can't be changed" in (bench.reloader.reload(SIGNAL).error or "")
    assert bench.applied == []


def test_many_faults_are_one_line(bench: Bench) -> None:
    """The first few are named."""
    bench.write(journal={"max_bytes": "1GiB", "path": "x", "fsync": True}, lanes={"count": 9}, name="x", http=None)
    error = bench.reloader.reload(SIGNAL).error
    assert error is not None
    assert error.endswith("and 1 more can't be changed while it runs: nothing was changed; restart it")


@pytest.mark.parametrize("text", ["", "name: [", "name: main\ngatways: {}", f"kafka: {MARKER}: {MARKER}"])
def test_a_broken_file_leaves_the_old_configuration(bench: Bench, text: str) -> None:
    """And says where it is broken, without its text."""
    bench.file.write_text(text)
    outcome = bench.reloader.reload(SIGNAL)
    assert outcome.outcome == REFUSED
    assert outcome.error is not None
    assert str(bench.file) in outcome.error
    assert MARKER not in outcome.error
    assert bench.applied == []
    bench.file.unlink()
    assert "can't be read" in (bench.reloader.reload(SIGNAL).error or "")
    # A key that changes now goes with the text that was good.
    bench.key.write_text("another")
    assert bench.reloader.reload(FILE).changed == ["gateways.cs2.api_key"]


async def test_a_changed_key_file_is_taken_over_by_itself(bench: Bench) -> None:
    """Written over, and swapped behind a link as Kubernetes does; the text of the configuration is not read for that."""
    async with bench.running():
        bench.write(name="other")
        bench.key.write_text("another")
        await bench.until_reloads(1)
        assert [change.keys for change in bench.applied] == [["gateways.cs2.api_key"]]
        data = bench.folder / "..data"
        for version in ("1", "2"):
            (bench.folder / version).mkdir()
            (bench.folder / version / "key").write_text(f"{MARKER}-{version}")
        data.symlink_to("1")
        bench.key.unlink()
        bench.key.symlink_to("..data/key")
        await bench.until_reloads(2)
        (bench.folder / "..new").symlink_to("2")
        (bench.folder / "..new").rename(data)
        await bench.until_reloads(3)
        assert [change.gateways["cs2"].api_key.reveal() for change in bench.applied] == [  # type: ignore[attr-defined]
            "another",
            f"{MARKER}-1",
            f"{MARKER}-2",
        ]
        assert MARKER not in redactor.text(f"the key is {MARKER}-2")
        bench.reloader.ask()
        await bench.until_reloads(4)
        assert bench.reloader.last is not None
        assert bench.reloader.last.outcome == REFUSED, "the signal reads the text, which has another name"


async def test_an_empty_or_missing_key_file_changes_nothing_until_it_is_whole(bench: Bench) -> None:
    """Who writes in two steps is seen in between."""
    async with bench.running():
        bench.key.write_text("")
        await bench.until_reloads(1)
        status = bench.reloader.status()
        assert status is not None
        assert status["outcome"] == REFUSED
        assert "gateways.cs2.api_key" in status["error"]
        bench.key.unlink()
        await bench.until_reloads(2)
        bench.key.write_text("another")
        await bench.until_reloads(3)
        assert [change.keys for change in bench.applied] == [["gateways.cs2.api_key"]]


def test_configurations_that_are_the_same_change_nothing(bench: Bench) -> None:
    """Secrets are compared by what they hold."""
    assert compare(bench.load(), bench.load()) == Change({}, [])
    bench.environ["MARKETS_KEY"] = "another"
    old = bench.reloader
    assert old.reload(SIGNAL).changed == ["gateways.markets.api_key"]
    before = bench.load()
    (bench.folder / "kafka").write_text("another")
    with pytest.raises(ConfigError, match=r"^kafka\.sasl\.password can't"):
        compare(before, bench.load())
