"""Makes ``ops/dashboard.json``, the dashboard for Grafana.

Run by ``make format``; one test compares, another asks a real Prometheus every query.
The panels are the table below: what is wrong comes first, how much flows next, why last. Variables: the data source, the
job, and gateways.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

FILE: Final = Path(__file__).with_name("dashboard.json")
#: Columns of Grafana's grid.
WIDTH: Final = 24
_JOB: Final = 'job=~"$job"'
_GATEWAY: Final = 'job=~"$job", gateway=~"$gateway"'
_MISSING: Final = f'{_GATEWAY}, state=~"lost|partly"'


class Panel(NamedTuple):
    """One panel. queries: PromQL → legend. unit: Grafana's. stat: one number, red or green by `good`; else a curve."""

    title: str
    text: str
    queries: dict[str, str]
    unit: str = "short"
    stat: bool = False
    good: float | None = None
    width: int = 8


def _counted(metric: str, labels: str = _GATEWAY) -> str:
    return f"increase(feedbridge_{metric}_total{{{labels}}}[$__range])"


def _rate(metric: str, by: str) -> str:
    return f"sum by ({by}) (rate(feedbridge_{metric}_total{{{_GATEWAY}}}[$__rate_interval]))"


def _quantiles(metric: str) -> dict[str, str]:
    return {
        f"histogram_quantile({q}, sum by (le) (rate(feedbridge_{metric}_seconds_bucket{{{_JOB}}}[$__rate_interval])))":
        f"{q:.0%}"
        for q in (0.5, 0.99)
    }  # fmt: skip


ROWS: Final[dict[str, list[Panel]]] = {
    "Is all well?": [
        Panel(
            "Gateways that flow", "Share of the gateways to which at least one process is fully connected.",
            {f"avg(max by (gateway) (feedbridge_gateway_connected{{{_GATEWAY}}}))": ""},
            "percentunit", stat=True, good=1, width=4,
        ),
        Panel(
            "Lanes that publish", "Share of the lanes that have an active process.",
            {f"avg(max by (lane) (feedbridge_lane_active{{{_JOB}}}))": ""},
            "percentunit", stat=True, good=1, width=4,
        ),
        Panel(
            "Lanes with a standby", "Share of the lanes for which a process stands by.",
            {f"avg(max by (lane) (feedbridge_lane_standby{{{_JOB}}}))": ""},
            "percentunit", stat=True, good=1, width=4,
        ),
        Panel(
            "Commits every", "Time since the last commit of the lane that waits longest. A heartbeat comes every 0.5 s.",
            {f"max(time() - max by (lane) (feedbridge_last_commit_timestamp_seconds{{{_JOB}}}))": ""},
            "s", stat=True, good=-30, width=4,
        ),
        Panel(
            "Journal", "How full the fullest journal is. At 100 % sockets are not read.",
            {f"max(feedbridge_journal_bytes{{{_JOB}}} / feedbridge_journal_limit_bytes{{{_JOB}}})": ""},
            "percentunit", stat=True, good=-0.5, width=4,
        ),
        Panel(
            "Gaps not filled", "Gaps in the time shown that were lost, or filled only partly.",
            {f"sum({_counted('gaps_judged', _MISSING)}) or vector(0)": ""},
            stat=True, good=-1, width=4,
        ),
    ],
    "What flows": [
        Panel("Frames received", "Frames a second, by gateway and process; the standby receives them too.",
              {_rate("frames_received", "gateway, instance"): "{{gateway}} {{instance}}"}, "ops"),
        Panel("Records published", "Records a second, by gateway.",
              {_rate("records_published", "gateway"): "{{gateway}}"}, "ops"),
        Panel("Records by type", "The ten busiest types.",
              {f"topk(10, {_rate('records_published', 'gateway, type')})": "{{gateway}} {{type}}"}, "ops"),
        Panel("Received to committed", "Time of a frame from the socket to its commit in Kafka.",
              _quantiles("latency"), "s"),
        Panel("Kafka transactions", "Time of a transaction, begin to committed.", _quantiles("transaction"), "s"),
        Panel(
            "Frames that make no record", "Duplicates and states that did not change, a second.",
            {_rate("frames_duplicate", "gateway"): "{{gateway}} duplicate",
             _rate("frames_unchanged", "gateway"): "{{gateway}} unchanged"}, "ops",
        ),
    ],
    "What went wrong": [
        Panel("Gaps opened", "Spans of time for which frames may be missing, by cause.",
              {f"sum by (gateway, cause) ({_counted('gaps')})": "{{gateway}} {{cause}}"}),
        Panel("Gaps judged", "What became of gaps.",
              {f"sum by (gateway, state) ({_counted('gaps_judged')})": "{{gateway}} {{state}}"}),
        Panel("Dead letters", "Frames that could not become a record, by reason.",
              {f"sum by (gateway, reason) ({_counted('dead_letters')})": "{{gateway}} {{reason}}"}),
        Panel("Reconnects", "Connections that were made anew, by why they ended.",
              {f"sum by (gateway, cause) ({_counted('reconnects')})": "{{gateway}} {{cause}}"}),
        Panel("Collisions", "Frames with a known sequence number and other content; both are published.",
              {f"sum by (gateway) ({_counted('seq_collisions')})": "{{gateway}}"}),
        Panel("Connections refused", "Connections whose key or wallet is refused; not tried again before it is changed.",
              {f"max by (gateway) (feedbridge_connections_refused{{{_GATEWAY}}})": "{{gateway}}"}),
    ],
    "Processes": [
        Panel(
            "Roles", "Which process is active (1), stands by (0.5), or neither (0), for each lane.",
            {f"feedbridge_lane_active{{{_JOB}}} + feedbridge_lane_standby{{{_JOB}}} / 2": "lane {{lane}} {{instance}}"},
        ),
        Panel(
            "Takeovers", "Lanes taken, by reason, and lost to another process.",
            {f"sum by (lane, reason) ({_counted('lane_takeovers', _JOB)})": "lane {{lane}} {{reason}}",
             f"sum by (lane) ({_counted('lane_fenced', _JOB)})": "lane {{lane}} lost"},
        ),
        Panel("Journal", "Bytes that wait on each process's disk.",
              {f"feedbridge_journal_bytes{{{_JOB}}}": "{{instance}}"}, "bytes"),
        Panel("Dedupe window", "The time that the window really spans.",
              {f"feedbridge_window_seconds{{{_JOB}}}": "lane {{lane}} {{instance}}"}, "s"),
        Panel("CPU", "Cores in use.",
              {f"rate(process_cpu_seconds_total{{{_JOB}}}[$__rate_interval])": "{{instance}}"}),
        Panel("Memory", "Resident memory.", {f"process_resident_memory_bytes{{{_JOB}}}": "{{instance}}"}, "bytes"),
    ],
}  # fmt: skip


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana reads it."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in ROWS.items():
        panels.append({"type": "row", "title": title, "gridPos": {"x": 0, "y": top, "w": WIDTH, "h": 1}, "panels": []})
        left, top = 0, top + 1
        height = 4 if row[0].stat else 7
        for panel in row:
            if left + panel.width > WIDTH:
                left, top = 0, top + height
            panels.append(_panel(panel, {"x": left, "y": top, "w": panel.width, "h": height}))
            left += panel.width
        top += height
    for number, each in enumerate(panels, 1):
        each["id"] = number
    return {
        "title": "feedbridge",
        "uid": "feedbridge",
        "description": "Live WebSocket feeds to Kafka: whether data flows, and if not, why.",
        "tags": ["feedbridge", "kafka"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": _variables()},
        "panels": panels,
    }


def text() -> str:
    """Return the file's text."""
    return json.dumps(dashboard(), indent=1) + "\n"


def _panel(panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0}
    if panel.good is not None:
        # A negative bound is one from which on it is bad.
        colors = ("red", "green") if panel.good > 0 else ("green", "red")
        steps = [{"color": colors[0], "value": None}, {"color": colors[1], "value": abs(panel.good)}]
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
    options: dict[str, Any] = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    if panel.stat:
        options = {"colorMode": "background", "reduceOptions": {"calcs": ["lastNotNull"]}}
    return {
        "type": "stat" if panel.stat else "timeseries",
        "title": panel.title,
        "description": panel.text,
        "gridPos": place,
        "datasource": {"type": "prometheus", "uid": "$datasource"},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {"refId": chr(ord("A") + number), "expr": query, "legendFormat": legend or "__auto"}
            for number, (query, legend) in enumerate(panel.queries.items())
        ],
    }


def _variables() -> list[dict[str, Any]]:
    source = {"type": "prometheus", "uid": "$datasource"}
    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
        *(
            {
                "name": name,
                "label": name.capitalize(),
                "type": "query",
                "datasource": source,
                "query": {"query": query, "refId": name},
                "multi": True,
                "includeAll": True,
                "allValue": ".*",
                "current": {"text": ["All"], "value": ["$__all"]},
                "refresh": 2,
            }
            for name, query in (
                ("job", "label_values(feedbridge_build_info, job)"),
                ("gateway", 'label_values(feedbridge_gateway_connected{job=~"$job"}, gateway)'),
            )
        ),
    ]


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(None if FILE.read_text() == text() else f"{FILE.name} is out of date: run `make format`")
    FILE.write_text(text())
