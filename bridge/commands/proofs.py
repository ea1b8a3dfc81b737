"""Commands that hold Kafka's topics to the promises: ``verify``, ``gaps list``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from bridge.commands.command import Command, Group, config_option, json_option, load, load_catalog
from bridge.commands.progress import progress_bar
from bridge.commands.reading import decoder_of, span_of
from bridge.errors import CheckFailed

if TYPE_CHECKING:
    from bridge.proof import Proof
    from bridge.verdict import Violation

#: Violations of one kind that are shown to a person.
SHOWN: Final = 10


@click.command(
    cls=Command,
    short_help="Prove that nothing is doubled, missing or out of order.",
    examples=[
        "feedbridge verify -c feedbridge.yaml",
        "feedbridge verify -c feedbridge.yaml --since 1h",
        "feedbridge verify -c feedbridge.yaml --json > proof.json",
    ],
)
@config_option
@click.option("--since", metavar="WHERE", help="Only what was published since then: 1h ago, or a time.")
@click.option("--until", metavar="WHERE", help="Only what was published until then.")
@json_option
def verify(*, path: Path, since: str | None, until: str | None, as_json: bool) -> None:
    """Prove from Kafka that nothing is doubled, missing or out of order.

    Reads ledger and topics as a consumer does, and holds each record against the ledger entry of its transaction. The
    bridge may run meanwhile. Recorded gaps and dead letters break no promise; they are counted. What the topics no longer
    hold is said, not blamed. Ends with 1 where a promise is broken.
    """
    from bridge import terminal
    from bridge.proof import prove

    config = load(path)
    span = span_of(since, until)
    with progress_bar(as_json=as_json) as progress:
        proof = prove(config, load_catalog(), decoder_of(config), span=span, progress=progress)
    if as_json:
        terminal.document({"since": span.since, "until": span.until, **_facts(proof)})
    else:
        _show(proof)
    counts = proof.verdict.counts
    if counts:
        told = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
        raise CheckFailed(f"a promise is broken: {told}", where="verify")


@click.group(cls=Group)
def gaps() -> None:
    """Look at the times for which frames may be missing."""


@gaps.command(
    "list",
    short_help="List gaps: when, how long, why, what became of them.",
    examples=["feedbridge gaps list -c feedbridge.yaml", "feedbridge gaps list -c feedbridge.yaml cs2 --since 24h"],
)
@click.argument("gateways", metavar="[GATEWAY]...", nargs=-1)
@config_option
@click.option("--since", metavar="WHERE", help="Only those that were not over by then: 24h ago, or a time.")
@click.option("--open", "only_open", is_flag=True, help="Only those that are not closed yet.")
@json_option
def gaps_list(*, gateways: tuple[str, ...], path: Path, since: str | None, only_open: bool, as_json: bool) -> None:
    """List gaps: when, how long, why, what became of them.

    A gap is a time for which frames of a connection may be missing. Its latest record counts. Of a time, hours and
    minutes are UTC; rec is how many records were published to fill it, sup how many states newer ones had replaced.
    """
    from bridge import tail as reading
    from bridge import terminal, topics

    config = load(path)
    unknown = [name for name in gateways if name not in config.gateways]
    if unknown:
        raise click.UsageError(f"there is no gateway {unknown[0]!r}, known: {', '.join(config.gateways)}")
    bound, now = span_of(since, None).since, time.time_ns() // 1_000_000
    latest: dict[str, dict[str, Any]] = {}
    topic = topics.own_name(config, topics.Role.GAPS)
    for record in reading.tail(config, [topic], decoder_of(config), start="beginning", follow=False):
        if record.data is not None:
            latest[record.data["id"]] = record.data
    rows = []
    for gap in sorted((_gap(data) for data in latest.values()), key=lambda each: (each["from"], each["id"])):
        over = now if gap["to"] is None else gap["to"]
        if (gateways and gap["gateway"] not in gateways) or (bound is not None and over < bound):
            continue
        if only_open and gap["state"] != "open":
            continue
        if as_json:
            terminal.row(gap | {"seconds": (over - gap["from"]) / 1000})
        else:
            rows.append(_row(gap, over))
    if not as_json:
        heads = ["connection", "lane", "from", "to", "lasted", "cause", "state", "rec", "sup"]
        terminal.table(heads, rows)


def _gap(data: dict[str, Any]) -> dict[str, Any]:
    """A gap record with its times in ms since the epoch."""
    return {
        name: round(value.timestamp() * 1000) if name in {"from", "to"} and value is not None else value
        for name, value in data.items()
    }


def _row(gap: dict[str, Any], over: int) -> list[object]:
    place = f"{gap['gateway']}/{gap['connection']}"
    if gap["entity"] is not None:
        place += f" {gap['entity']}"
    begin, end = _clock(gap["from"]), "" if gap["to"] is None else _clock(gap["to"])
    if end[:6] == begin[:6]:
        end = end[6:]
    lasted = _duration(over - gap["from"])
    return [place, gap["lane"], begin, end, lasted, gap["cause"], gap["state"], gap["recovered"], gap["superseded"]]


def _clock(at: int) -> str:
    """``05-10 13:42:11`` of a time in ms since the epoch, UTC: the date takes six characters."""
    return time.strftime("%m-%d %H:%M:%S", time.gmtime(at / 1000))


def _duration(ms: int) -> str:
    """``0.4s``, ``2m05s``, ``3h12m``, ``2d07h``."""
    seconds = max(ms, 0) / 1000
    if seconds < _MINUTE:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days}d{hours:02}h" if days else f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"


_MINUTE: Final = 60


# --- verify -----------------------------------------------------------------------------------------------------------


def _show(proof: Proof) -> None:
    from bridge import terminal
    from bridge.verdict import Kind

    verdict = proof.verdict
    checked = {
        Kind.DUPLICATE: ("each record is published once", f"{verdict.linked:,} records"),
        Kind.ORDER: ("the records of a key lie in order", f"{verdict.keys:,} keys"),
        Kind.OUTSIDE: ("each record is in the ledger", f"{verdict.records:,} records read"),
        Kind.MISSING: ("each record of the ledger is there", f"{verdict.entries:,} entries"),
    }
    rows: list[list[object]] = []
    for kind, (promise, what) in checked.items():
        bad = verdict.counts[kind]
        rows.append([terminal.verdict(ok=not bad), promise, what, f"{bad:,} {kind}" if bad else ""])
    rows += [["", "dead letters", f"{proof.dead.total():,}", ""]]
    still = [gap for gap in proof.gaps if gap["state"] == "open"]
    rows += [["", "gaps", f"{len(proof.gaps):,}", f"{len(still):,} open" if still else ""]]
    terminal.table(["", "", "", ""], rows)
    for gateway in sorted({gateway for gateway, _ in proof.dead}):
        reasons = [f"{count:,} {reason}" for (name, reason), count in proof.dead.most_common() if name == gateway]
        more = [f"{len(reasons) - _REASONS} more reasons"] if len(reasons) > _REASONS else []
        terminal.line(f"dead letters of {gateway}: {', '.join(reasons[:_REASONS] + more)}")
    for text in _remarks(proof):
        terminal.line(text)
    for gap in still[:SHOWN]:
        terminal.line(f"open gap: {gap['id']}, {gap['cause']}")
    if len(still) > SHOWN:
        terminal.line(f"open gap: and {len(still) - SHOWN:,} more")
    for kind in checked:
        found = [each for each in verdict.violations if each.kind is kind][:SHOWN]
        for each in found:
            terminal.line(_told(each))
        if verdict.counts[kind] > len(found):
            terminal.line(f"{kind}: and {verdict.counts[kind] - len(found):,} more")
    terminal.line(f"{proof.seconds:.1f} s")


def _told(violation: Violation) -> str:
    key = "" if violation.key is None else f" key {violation.key.decode(errors='backslashreplace')}"
    return f"{violation.kind}: {violation.topic}[{violation.partition}]@{violation.offset}{key}: {violation.text}"


def _remarks(proof: Proof) -> Iterator[str]:
    """What could not be judged, and why."""
    from bridge import status

    verdict = proof.verdict
    if verdict.older:
        begin = "" if proof.begin is None or proof.begin >= _YEAR_10000 else f" ({status.moment(proof.begin)})"
        yield f"not judged: {verdict.older:,} records from before the ledger begins{begin}"
    if verdict.unlinked:
        yield f"not judged: {verdict.unlinked:,} ledger entries of a version that did not link its records"
    for topic, count in sorted(verdict.deleted.items()):
        yield f"not judged: {count:,} records that {topic} no longer holds, deleted by its retention"
    if verdict.strange:
        yield f"not judged: {verdict.strange:,} records of topics that are not of this configuration, or do not exist"


_REASONS: Final = 3
_YEAR_10000: Final = 253_402_300_800_000


def _facts(proof: Proof) -> dict[str, Any]:
    from bridge.verdict import Kind

    verdict = proof.verdict
    return {
        "ok": verdict.good,
        "records": verdict.records,
        "linked": verdict.linked,
        "entries": verdict.entries,
        "keys": verdict.keys,
        "frames": {disposition.name.lower(): count for disposition, count in sorted(verdict.frames.items())},
        "broken": {str(kind): verdict.counts[kind] for kind in Kind},
        "violations": [
            {
                "kind": str(each.kind),
                "topic": each.topic,
                "partition": each.partition,
                "offset": each.offset,
                "key": None if each.key is None else each.key.decode(errors="backslashreplace"),
                "text": each.text,
            }
            for each in verdict.violations
        ],
        "dead_letters": [
            {"gateway": gateway, "reason": reason, "count": count}
            for (gateway, reason), count in sorted(proof.dead.items())
        ],
        "gaps": [_gap(gap) for gap in proof.gaps],
        "not_judged": {
            "older": verdict.older,
            "unlinked_entries": verdict.unlinked,
            "deleted": dict(sorted(verdict.deleted.items())),
            "strange": verdict.strange,
            "absent_topics": proof.absent,
        },
        "seconds": round(proof.seconds, 3),
    }
