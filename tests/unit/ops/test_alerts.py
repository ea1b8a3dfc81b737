"""The alert rules, judged by Prometheus's own promtool: what each fault raises, and that it raises nothing else."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import yaml

from bridge.ops.metrics import Metrics
from tests.servers.fetch import fetch_prometheus

ROOT: Final = Path(__file__).parents[3]
RULES: Final = ROOT / "ops" / "alerts.yaml"
#: Two processes that are well, for half an hour: the first is active. promtool's notation, a value every 15 s.
WELL: Final = {
    'feedbridge_build_info{I, version="1"}': ("1x120", "1x120"),
    "process_start_time_seconds{I}": ("-10000x120", "-10000x120"),
    'feedbridge_gateway_connected{I, gateway="cs2"}': ("1x120", "1x120"),
    'feedbridge_connections_refused{I, gateway="cs2"}': ("0x120", "0x120"),
    'feedbridge_reconnects_total{I, gateway="cs2", cause="closed"}': ("3x120", "1x120"),
    'feedbridge_lane_active{I, lane="0"}': ("1x120", "0x120"),
    'feedbridge_lane_standby{I, lane="0"}': ("0x120", "1x120"),
    'feedbridge_lane_fenced_total{I, lane="0"}': ("0x120", "1x120"),
    'feedbridge_last_commit_timestamp_seconds{I, lane="0"}': ("0+15x120", "_x120"),
    'feedbridge_waiting{I, service="registry"}': ("0x120", "0x120"),
    'feedbridge_waiting{I, service="kafka"}': ("0x120", "0x120"),
    "feedbridge_journal_bytes{I}": ("1000x120", "2000x120"),
    "feedbridge_journal_limit_bytes{I}": ("1000000x120", "1000000x120"),
    'feedbridge_gaps_total{I, gateway="cs2", cause="disconnect"}': ("2x120", "_x120"),
    'feedbridge_gaps_judged_total{I, gateway="cs2", state="filled"}': ("2+1x120", "_x120"),
    'feedbridge_gaps_judged_total{I, gateway="cs2", state="lost"}': ("1x120", "_x120"),
    'feedbridge_dead_letters_total{I, gateway="cs2", reason="malformed"}': ("7x120", "_x120"),
    'feedbridge_seq_collisions_total{I, gateway="cs2"}': ("1x120", "_x120"),
    'feedbridge_latency_seconds_bucket{I, le="0.25"}': ("0+100x120", "0x120"),
    'feedbridge_latency_seconds_bucket{I, le="1.0"}': ("0+100x120", "0x120"),
    'feedbridge_latency_seconds_bucket{I, le="+Inf"}': ("0+100x120", "0x120"),
}
#: Time (min) at which alerts are looked at: a fault that begins at 20 min is 7 min old.
AT: Final = 27


def changed(**values: tuple[str, str]) -> dict[str, tuple[str, str]]:
    """What is well, with some series changed; named by the part of their name that no other has."""
    series = dict(WELL)
    for part, value in values.items():
        [name] = [each for each in series if part in re.sub(r"\W+", "_", each)]
        series[name] = value
    return series


def young(**values: tuple[str, str]) -> dict[str, tuple[str, str]]:
    """The same, where the first process is but a minute old and has counted nothing else yet."""
    counted = ("gaps_total", "state_lost", "dead_letters", "collisions")
    fresh = dict.fromkeys(counted, ("_x120", "_x120"))
    return changed(**{**fresh, "process_start": ("-10000x104 1560x20", "-10000x120"), **values})


def since(before: str, after: str) -> str:
    """A series that changes after 20 minutes."""
    return f"{before}x79 {after}x40"


#: Each fault: what the series are then, and the alerts that fire 7 minutes later (name and gateway, lane or instance).
FAULTS: Final[dict[str, tuple[dict[str, tuple[str, str]], set[str]]]] = {
    "all is well": (WELL, set()),
    "nobody is scraped": (dict.fromkeys(WELL, (since("1", "stale _"), since("1", "stale _"))), {"FeedbridgeAbsent"}),
    "no process is connected": (
        changed(gateway_connected=(since("1", "0"), since("1", "0"))),
        {"FeedbridgeGatewayDown cs2"},
    ),
    "one of two is connected": (changed(gateway_connected=(since("1", "0"), "1x120")), set()),
    "the key is refused": (
        changed(gateway_connected=(since("1", "0"), since("1", "0")), connections_refused=(since("0", "1"), "0x120")),
        {"FeedbridgeKeyRefused cs2"},
    ),
    "a connection flaps": (
        changed(reconnects_total=("3x79 4+1x40", "1x120")),
        {"FeedbridgeReconnectStorm cs2 a"},
    ),
    "Kafka is away": (changed(last_commit=("0+15x79 1200x40", "_x120")), {"FeedbridgeNoCommits 0"}),
    "the standby has gone on": (changed(last_commit=("0+15x79 1200x40", "_x79 1200+15x40")), set()),
    "Kafka is away at the start": (changed(service_kafka=(since("0", "1"), "0x120")), {"FeedbridgeNoCommits"}),
    "the registry is away at the start": (
        changed(service_registry=("0x120", since("0", "1"))),
        {"FeedbridgeRegistryDown b"},
    ),
    "the journal fills": (changed(journal_bytes=(since("1000", "600000"), "2000x120")), {"FeedbridgeJournalFilling a"}),
    "the standby has died": (changed(lane_standby=("0x120", "1x79 stale _x40")), {"FeedbridgeNoStandby 0"}),
    "the standby waits for Kafka": (changed(lane_standby=("0x120", since("1", "0"))), {"FeedbridgeNoStandby 0"}),
    "there never was a standby": (changed(lane_standby=("0x120", "_x120")), set()),
    "the two have changed places": (
        changed(lane_standby=(since("0", "1"), since("1", "0")), lane_fenced=(since("0", "1"), "1x120")),
        set(),
    ),
    "two fight for the lane": (changed(lane_fenced=("0x79 1+1x4 5x40", "1x120")), {"FeedbridgeFencedTooOften 0"}),
    "a gap is opened": (changed(gaps_total=("2x100 3x20", "_x120")), {"FeedbridgeGapOpened cs2 a"}),
    "a first gap is opened": (changed(gaps_total=("2x120", "_x100 1x20")), {"FeedbridgeGapOpened cs2 b"}),
    "a gap is recorded at a start": (
        young(gaps_total=("1x104 1x20", "_x120")),
        {"FeedbridgeGapOpened cs2 a"},
    ),
    "a gap is lost": (changed(state_lost=("1x100 2x20", "_x120")), {"FeedbridgeGapLost cs2 a"}),
    "a gap is lost at a start": (changed(state_lost=("1x120", "_x100 1x20")), {"FeedbridgeGapLost cs2 b"}),
    "a frame is buried": (changed(dead_letters=("7x100 8x20", "_x120")), {"FeedbridgeDeadLetters cs2 a"}),
    "numbers are used twice": (changed(collisions=("1x100 2x20", "_x120")), {"FeedbridgeCollisions cs2 a"}),
    "records are late": (
        changed(le_0_25=("0+100x79 7900+50x40", "0x120")),
        {"FeedbridgeLatencyHigh a"},
    ),
    "records of a start are late": (young(le_0_25=("0+100x79 7900+50x40", "0x120")), set()),
}


def exposed() -> set[str]:
    """The names of all series that a bridge has."""
    known = set()
    for family in Metrics().registry.collect():
        kinds = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}.get(family.type, [""])
        known |= {family.name + suffix for suffix in kinds}
    return known


def rules() -> list[dict[str, Any]]:
    """The rules of the file."""
    [group] = yaml.safe_load(RULES.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def promtool(*arguments: str) -> str:
    """Run it; returns what it says of a success."""
    run = subprocess.run([fetch_prometheus() / "promtool", *arguments], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_the_rules_are_rules() -> None:
    """By promtool's own check."""
    promtool("check", "rules", "--lint-fatal", str(RULES))


def test_each_fault_raises_its_alert_and_no_other(tmp_path: Path) -> None:
    """What fires is exactly what the table says; nothing fires while all is well."""
    tests = [
        {
            "name": name,
            "interval": "15s",
            "input_series": [
                {"series": series.replace("{I", f'{{job="f", instance="{instance}"'), "values": value}
                for series, both in faulty.items()
                for instance, value in zip("ab", both, strict=True)
            ],
            "promql_expr_test": [
                {"expr": EXPECT, "eval_time": f"{AT}m", "exp_samples": [sample(each) for each in sorted(fires)]}
            ],
        }
        for name, (faulty, fires) in FAULTS.items()
    ]
    file = tmp_path / "test.yaml"
    file.write_bytes(msgspec.json.encode({"rule_files": [str(RULES)], "evaluation_interval": "15s", "tests": tests}))
    promtool("test", "rules", str(file))


#: Name and the labels that tell what it is about, of all that fire.
EXPECT: Final = 'count by (alertname, gateway, lane, instance) (ALERTS{alertstate="firing"})'


def sample(text: str) -> dict[str, object]:
    """One alert: its name, then its gateway (cs2), lane (0) or instance (a, b)."""
    name, *about = text.split()
    labels = {"alertname": name}
    for each in about:
        labels["gateway" if each == "cs2" else "lane" if each == "0" else "instance"] = each
    pairs = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return {"labels": f"{{{pairs}}}", "value": 1}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_each_alert_is_raised_by_some_fault(rule: dict[str, Any]) -> None:
    """None is there that no test has seen fire; each has words for whoever is paged."""
    assert rule["alert"] in {each.split()[0] for _, fires in FAULTS.values() for each in fires}
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert {"summary", "description"} <= rule["annotations"].keys()
    page = (ROOT / rule["annotations"]["runbook"]).read_text()
    assert re.findall("^## (.+)", page, re.MULTILINE) == ["What it means", "Look", "Mend"]
    assert f"`{rule['alert']}`" in page
    assert f"[{rule['alert']}]({rule['alert']}.md)" in (ROOT / "docs/runbooks/README.md").read_text()


def test_rules_ask_for_metrics_that_there_are() -> None:
    """A rule whose metric was renamed would be silent for ever."""
    asked = {name for rule in rules() for name in re.findall(r"\b(?:feedbridge|process)_\w+", rule["expr"])}
    assert asked <= exposed()
