"""Pages for operators, made from what runs: commands from click, metrics from `bridge.ops.metrics`.

Part of ``docs/reference/``, which `bridge.handbook` writes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import click
import yaml

from bridge.cli import cli
from bridge.commands.command import Command
from bridge.ops.metrics import BUCKETS, Metrics

_ALERTS: Final = Path(__file__).parents[1] / "ops" / "alerts.yaml"
#: Options that every command has: told once.
_EVERYWHERE: Final = {"--help", "--log-level"}


def commands() -> Iterator[str]:
    """Lines about every command: what it does, its usage, its options and examples."""
    yield "Every command takes `-h`, `--help`, and those that read a configuration take it from `-c FILE` or from the environment variable"
    yield "`FEEDBRIDGE_CONFIG`. `--log-level LEVEL` logs from `debug`, `info`, `warning` or `error` on; `debug` adds tracebacks to errors."
    yield "`--json` is there wherever a program may read the output. An error is one line: what, where, what to do."
    yield ""
    yield str(cli.epilog)
    for context in _leaves(click.Context(cli, info_name="feedbridge")):
        yield from _command(context)


def metrics() -> Iterator[str]:
    """Lines about every metric: name, type, labels, meaning, and the alerts that ask for it."""
    yield "What `/metrics` on `http.listen` exposes for Prometheus, beside the usual `process_…` and `python_…`. Counters are per process and begin at 0"
    yield "with it: take `rate()` or `increase()`, and the sum or maximum over the processes of an installation. The dashboard in"
    yield "[ops/dashboard.json](../../ops/dashboard.json) asks for most of them."
    yield ""
    asked = _asked_for_by()
    yield from ("| metric | type | labels | meaning | alerts |", "|---|---|---|---|---|")
    for each in Metrics().described:
        labels = ", ".join(f"`{label}`" for label in each.labels)
        alerts = ", ".join(f"[{alert}](../runbooks/{alert}.md)" for alert in asked.get(each.name, ()))
        yield f"| `{each.name}` | {each.kind} | {labels} | {escaped(each.text)} | {alerts} |"
    yield ""
    yield (
        "Histograms have the series `…_bucket`, `…_sum` and `…_count`. Their bounds, in seconds: "
        + ", ".join(f"{each:g}" for each in BUCKETS)
        + "."
    )


def escaped(text: str) -> str:
    """Text that is safe in a cell of a table: names in angle brackets would be taken for markup."""
    text = text.replace("|", "\\|")
    return "".join(
        part if number % 2 else part.replace("<", "&lt;").replace(">", "&gt;")
        for number, part in enumerate(re.split(r"(`[^`]*`)", text))
    )


def _leaves(context: click.Context) -> Iterator[click.Context]:
    """Every command below a group that is no group itself, in alphabetical order."""
    command = context.command
    if not isinstance(command, click.Group):
        yield context
        return
    for name in sorted(command.commands):
        yield from _leaves(click.Context(command.commands[name], info_name=name, parent=context))


def _command(context: click.Context) -> Iterator[str]:
    command = context.command
    yield from ("", f"## {context.command_path}", "")
    for paragraph in re.split(r"\n\s*\n", command.help or ""):
        yield from (escaped(" ".join(paragraph.split())), "")
    pieces = " ".join(command.collect_usage_pieces(context))
    yield from ("```text", f"{context.command_path} {pieces}", "```", "")
    options = [each for each in command.params if isinstance(each, click.Option) and not _EVERYWHERE & set(each.opts)]
    records = [record for each in options if (record := each.get_help_record(context))]
    if records:
        yield from ("| option | meaning |", "|---|---|")
        yield from (f"| `{name}` | {escaped(' '.join(text.split()))} |" for name, text in records)
        yield ""
    if isinstance(command, Command) and command.examples:
        yield from ("```sh", *command.examples, "```")


def _asked_for_by() -> Mapping[str, list[str]]:
    """Metric → the alerts whose expressions name it."""
    found: dict[str, list[str]] = {}
    for group in yaml.safe_load(_ALERTS.read_text(encoding="utf-8"))["groups"]:
        for rule in group["rules"]:
            if "alert" in rule:
                for name in sorted(set(re.findall(r"feedbridge_\w+", rule["expr"]))):
                    found.setdefault(re.sub(r"_(bucket|sum|count)$", "", name), []).append(rule["alert"])
    return found
