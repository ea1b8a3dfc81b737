"""The command ``profile``: what the records of each type really hold, and schemas proposed from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from bridge.commands.command import Command, config_option, json_option, load, load_catalog
from bridge.commands.progress import progress_bar
from bridge.commands.reading import decoder_of, span_of
from bridge.errors import CheckFailed

if TYPE_CHECKING:
    from bridge.catalog import Catalog
    from bridge.draft import Draft
    from bridge.profile import Row, TypeProfile
    from bridge.proposal import Left
    from bridge.survey import Survey
    from bridge.topics import TopicPlan
    from bridge.values import Values

#: Where proposed files go: no folder of the project has this name.
OUTPUT: Final = "proposed-schemas"
#: For ``--propose``: what is beside the payload, of all types.
META: Final = "meta"


@click.command(
    cls=Command,
    short_help="Show what records really hold, and propose schemas from it.",
    examples=[
        "feedbridge profile -c feedbridge.yaml",
        "feedbridge profile -c feedbridge.yaml cs2.match.updated --since 24h",
        "feedbridge profile -c feedbridge.yaml --news --json > news.json",
        "feedbridge profile -c feedbridge.yaml --propose match.updated",
        "feedbridge profile -c feedbridge.yaml --propose map.veto -o schemas",
    ],
)
@click.argument("words", metavar="[TOPIC]...", nargs=-1)
@config_option
@click.option("--since", metavar="WHERE", help="Only what was received since then: 24h ago, or a time.")
@click.option("--until", metavar="WHERE", help="Only what was received until then.")
@click.option("--news", is_flag=True, help="Only what no schema knows.")
@click.option(
    "--propose",
    "wanted",
    metavar="TYPE",
    multiple=True,
    help="Write a schema for this frame type in which its unknown members are fields. Repeatable.",
)
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(OUTPUT),
    show_default=True,
    help="Where --propose writes its files.",
)
@json_option
def profile(
    *,
    words: tuple[str, ...],
    path: Path,
    since: str | None,
    until: str | None,
    news: bool,
    wanted: tuple[str, ...],
    output: Path,
    as_json: bool,
) -> None:
    """Show what records really hold, and propose schemas from it.

    TOPIC is a topic or a pattern of topics, a gateway or a frame type; all data topics where none is named. For each
    type: its fields, how often they are null, their values, and (marked +) the members that no schema knows, which are
    in extensions, or in records of the type unknown.

    --propose takes a type that has a schema, or one that has none: then the file is a new one. The proposal
    "meta" is about what is beside the payload, in all types of a kind. A member becomes a nullable field of the
    narrowest type that fits what was seen; a value of another type will make a frame a dead letter, so look at each.
    Every file is held against the released versions; what each field means is left to you.
    """
    from bridge import terminal, topics
    from bridge.survey import survey

    config, catalog = load(path), load_catalog()
    plan = topics.plan(config, catalog)
    chosen = _chosen(plan, words, wanted)
    span = span_of(since, until)
    with progress_bar(as_json=as_json) as progress:
        found = survey(config, catalog, decoder_of(config), chosen, span=span, progress=progress)
    drafts, left = _propose(catalog, found, wanted, output)
    if as_json:
        facts = _facts(found, news=news)
        if wanted:
            facts["proposals"] = [_drafted(each, output) for each in drafts]
            facts["not_proposed"] = [{"path": each.path, "why": each.why} for each in left]
        terminal.document({"since": span.since, "until": span.until, **facts})
    elif wanted:
        _show_drafts(drafts, left, output)
    else:
        _show(found, news=news)
    if wanted and not drafts:
        what = "no record of this span has a member that the schema lacks" if found.records else "there is no record"
        raise CheckFailed(f"nothing to propose for {', '.join(wanted)}: {what}", where="profile")


def _chosen(plan: Sequence[TopicPlan], words: Sequence[str], wanted: Sequence[str]) -> list[TopicPlan]:
    """The topics to read: those that are named, else those in which the proposed types are."""
    from bridge import topics
    from bridge.avsc import UNKNOWN

    if words or not wanted or META in wanted:
        return topics.select(plan, words)
    known = {name for each in plan for name in each.types}
    return topics.select(plan, sorted({each if each in known else UNKNOWN for each in wanted}))


def _propose(catalog: Catalog, found: Survey, wanted: Sequence[str], output: Path) -> tuple[list[Draft], list[Left]]:
    from bridge import draft

    drafts: list[Draft] = []
    left: list[Left] = []
    for kind in catalog.kinds.values():
        profiles = [each for each in found.profiler.types.values() if each.kind == kind.name]
        if kind.folder is None or not profiles:
            continue
        every: dict[str, Draft] = {}
        for name in dict.fromkeys(wanted):
            made, out = draft.draft(kind.folder, profiles, name)
            every |= {each.name: each for each in made}
            left += out
        draft.write(list(every.values()), output, kind.folder.parent)
        drafts += every.values()
    return drafts, left


# --- for people -------------------------------------------------------------------------------------------------------

#: Columns of a table: 80 with what is between them.
_FIELD: Final = 36
_TYPE: Final = 14
_VALUES: Final = 18


def _show(found: Survey, *, news: bool) -> None:
    from bridge import status, terminal

    every = sorted(found.profiler.types.values(), key=lambda each: (each.gateway, not each.known, each.type))
    for each in every:
        rows = [row for row in each.rows() if not (news and row.known)]
        if news and not rows:
            continue
        terminal.line(f"{each.gateway} {each.type}" + ("" if each.known else " (no schema)"))
        terminal.line(f"{each.records:,} records, {status.moment(each.first)} to {status.moment(each.last)}")
        terminal.table(["", "field", "type", "null", "values"], [_row(row) for row in rows])
        if each.broken:
            terminal.line(f"not read: {each.broken:,} JSON texts")
        if each.passed:
            terminal.line(f"not shown: {each.passed:,} values of further unknown members")
        terminal.line("")
    profiler = found.profiler
    if profiler.strangers:
        terminal.line(f"not shown: {profiler.strangers:,} records of further types without a schema")
    for topic, count in sorted(found.unreadable.items()):
        terminal.line(f"not read: {count:,} records of {topic} ({found.why})")
    terminal.line(f"{found.records:,} records, {found.seconds:.1f} s")


def _row(row: Row) -> list[object]:
    kinds = [kind for kind, _ in row.values.kinds.most_common() if kind != "null"]
    return [
        "" if row.known else "+",
        _cut(row.path, _FIELD),
        _cut("/".join(kinds) or "null", _TYPE),
        _share(row.nulls),
        _cut(_told(row.values), _VALUES),
    ]


def _share(part: float) -> str:
    """In per cent; what is not nought and not all never looks so."""
    if 0 < part < _SMALL or 1 - _SMALL < part < 1:
        return "<1%" if part < _SMALL else ">99%"
    return f"{part:.0%}"


_SMALL: Final = 0.01


def _told(values: Values) -> str:
    """In a few characters: the values where they are few, a range, or how many there are."""
    if values.few and not (values.least is not None and len(values.few) > _BOTH):
        return " ".join(sorted(values.few))
    if values.least is not None and values.longest is None:
        return f"{values.least} … {values.most}"
    return f"{values.differing:,} differ" if values.differing else ""


_BOTH: Final = 2


def _cut(text: str, size: int) -> str:
    """The end matters in a path, the beginning in values; both are kept."""
    if len(text) <= size:
        return text
    head = (size - 1) // 2
    return f"{text[:head]}…{text[head + 1 - size :]}"


def _show_drafts(drafts: Sequence[Draft], left: Sequence[Left], output: Path) -> None:
    from bridge import terminal

    for each in drafts:
        terminal.line(f"{output / each.name}.avsc" + (" (a new type)" if each.new else ""))
        for news in each.news:
            terminal.line(f"  {news}")
    for out in left:
        terminal.line(f"left out: {out.path}: {out.why}")
    if drafts:
        terminal.line("Say in each TODO what it means, then see docs/schemas.md.")


# --- for programs -----------------------------------------------------------------------------------------------------


def _facts(found: Survey, *, news: bool) -> dict[str, Any]:
    profiler = found.profiler
    return {
        "records": found.records,
        "types": [_type(each, news=news) for _, each in sorted(profiler.types.items())],
        "not_shown": {"records": profiler.strangers, "members": profiler.crowded},
        "unreadable": dict(sorted(found.unreadable.items())),
        "absent_topics": found.absent,
        "seconds": round(found.seconds, 3),
    }


def _type(each: TypeProfile, *, news: bool) -> dict[str, Any]:
    return {
        "gateway": each.gateway,
        "kind": each.kind,
        "type": each.type,
        "schema": each.known,
        "records": each.records,
        "first": each.first,
        "last": each.last,
        "unreadable": each.broken,
        "passed_over": each.passed,
        "fields": [_field(row) for row in each.rows() if not (news and row.known)],
    }


def _field(row: Row) -> dict[str, Any]:
    values = row.values
    few = sorted(values.few) if values.few else None
    return {
        "path": row.path,
        "known": row.known,
        "seen": values.seen,
        "of": row.of,
        "null_rate": round(row.nulls, 6),
        "types": {kind: count for kind, count in sorted(values.kinds.items()) if kind != "null" and count},
        # As text: a program's own numbers may not hold them.
        "min": None if values.least is None else str(values.least),
        "max": None if values.most is None else str(values.most),
        "shortest": values.shortest,
        "longest": values.longest,
        "distinct": values.differing,
        "values": few,
    }


def _drafted(each: Draft, output: Path) -> dict[str, Any]:
    return {"name": each.name, "file": f"{output / each.name}.avsc", "new_type": each.new, "news": list(each.news)}
