"""The command ``verify``: holds Kafka's topics to the promises."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from bridge.commands.command import Command, config_option, json_option, load, load_catalog
from bridge.commands.gaps import plain
from bridge.commands.progress import progress_bar
from bridge.commands.reading import gap_decoder_of, span_of
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
        proof = prove(config, load_catalog(), gap_decoder_of(config), span=span, progress=progress)
    if as_json:
        terminal.document({"since": span.since, "until": span.until, **_facts(proof)})
    else:
        _show(proof)
    counts = proof.verdict.counts
    if counts:
        told = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
        raise CheckFailed(f"a promise is broken: {told}", where="verify")


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
        "gaps": [plain(gap) for gap in proof.gaps],
        "not_judged": {
            "older": verdict.older,
            "unlinked_entries": verdict.unlinked,
            "deleted": dict(sorted(verdict.deleted.items())),
            "strange": verdict.strange,
            "absent_topics": proof.absent,
        },
        "seconds": round(proof.seconds, 3),
    }
