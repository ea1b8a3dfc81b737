"""The commands ``dead-letters list|show``, and how dead letters are chosen."""

from __future__ import annotations

import functools
import re
import sys
import textwrap
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from bridge.commands.command import Group, config_option, json_option, load, load_catalog
from bridge.commands.progress import progress_bar
from bridge.commands.reading import decoder_of, width
from bridge.commands.waiting import waiting
from bridge.errors import BadData, BridgeError, LaneError

if TYPE_CHECKING:
    from bridge.config import Config
    from bridge.diagnosis import Diagnosis
    from bridge.receipt import Place
    from bridge.route import Ways
    from bridge.tail import Seen
    from bridge.witness import Laid

_PLACE: Final = re.compile(r"(.+)\[(\d+)\]@(\d+)")
#: Seconds that a look at one dead letter may spend on the ledger.
PATIENCE: Final = 10.0
#: Between words to the progress bar, in records.
_OFTEN: Final = 200


@click.group("dead-letters", cls=Group)
def dead_letters() -> None:
    """Look at frames that could not become records; replay them."""


class Choice(NamedTuple):
    """Which dead letters are meant; empty: all of them."""

    gateways: tuple[str, ...]
    reasons: tuple[str, ...]
    types: tuple[str, ...]
    since: str | None


def chosen(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that choose dead letters; the command takes them as its `choice`."""

    @functools.wraps(command)
    def gathered(*, gateways: Any, reasons: Any, types: Any, since: Any, **others: Any) -> None:
        command(choice=Choice(gateways, reasons, types, since), **others)

    for option in (
        click.option(
            "--since", "--from", "since", metavar="WHERE", help="Received since: how long ago (24h), or a time."
        ),
        click.option("--type", "types", metavar="TYPE", multiple=True, help="Of this frame type; may be repeated."),
        click.option("--reason", "reasons", metavar="CODE", multiple=True, help="With this reason; may be repeated."),
        click.option("--gateway", "gateways", metavar="NAME", multiple=True, help="Of this gateway; may be repeated."),
    ):
        gathered = option(gathered)
    return gathered


@dead_letters.command(
    "list",
    short_help="List dead letters and their reasons.",
    examples=[
        "feedbridge dead-letters list -c feedbridge.yaml",
        "feedbridge dead-letters list -c feedbridge.yaml cs2 --since 24h",
        "feedbridge dead-letters list -c feedbridge.yaml --reason wrong_type --limit 10",
    ],
)
@click.argument("named", metavar="[GATEWAY]...", nargs=-1)
@config_option
@chosen
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the last so many.")
@json_option
def dead_letters_list(
    *,
    named: tuple[str, ...],
    path: Path,
    choice: Choice,
    limit: int | None,
    as_json: bool,
) -> None:
    """List dead letters: where they lie, why, and the field to blame.

    Then how many there are for each reason.
    """
    from bridge import terminal

    config = load(path)
    counts: Counter[str] = Counter()
    # People are shown them at the end: lines would run into the bar.
    kept: deque[dict[str, Any]] = deque(maxlen=limit)
    wanted = choice._replace(gateways=(*named, *choice.gateways))
    for record in dead(config, **wanted._asdict()):
        counts[record.headers.get("reason", "?")] += 1
        if as_json and limit is None:
            terminal.row(facts(record))
        else:
            kept.append(facts(record))
    for found in kept:
        if as_json:
            terminal.row(found)
        else:
            _tell(found)
    if not as_json:
        each = ", ".join(f"{reason} {number:,}" for reason, number in counts.most_common())
        terminal.line(f"{counts.total():,} dead letters{': ' if each else ''}{each}")


@dead_letters.command(
    "show",
    short_help="Show one dead letter whole, and what is wrong with it.",
    examples=[
        "feedbridge dead-letters show -c feedbridge.yaml 'cs2.dead-letters[0]@12'",
        "feedbridge dead-letters show -c feedbridge.yaml 'cs2.dead-letters[0]@12' --raw",
    ],
)
@click.argument("place")
@config_option
@click.option("--raw", is_flag=True, help="Only the original bytes, exactly as they came.")
@json_option
def dead_letters_show(*, place: str, path: Path, raw: bool, as_json: bool) -> None:
    """Show one dead letter whole, and what is wrong with it.

    PLACE is what the list calls it: the topic, its partition and the offset. What the schema expects is what that of the
    installed version does, and so is what would come of a replay now.
    """
    from bridge import terminal
    from bridge.mortuary import Mortuary
    from bridge.rehearsal import ways_of

    config = load(path)
    catalog = load_catalog()
    at = place_of(config, place)
    with Mortuary(config, catalog) as mortuary:
        [letter] = mortuary.letters(at.gateway, {at.partition: [at.offset]})
    if letter.value is None:
        raise BadData(f"there is no dead letter at {place!r}", mend="`feedbridge dead-letters list` lists them")
    if raw:
        sys.stdout.buffer.write(letter.value)
        sys.stdout.buffer.flush()
        return
    ways = ways_of(config, catalog, at.gateway)
    diagnosis = None if letter.cut else _diagnosis(config, letter, ways)
    replay = _foretold(config, letter, ways, diagnosis)
    if as_json:
        terminal.document(_document(config, letter, diagnosis, replay))
        return
    rows = [(name, value) for name, value in _described(config, letter, diagnosis, replay) if value]
    for name, value in rows:
        first, *more = textwrap.wrap(value, width() - 10) or [""]
        terminal.line(f"{name:<9} {first}")
        for each in more:
            terminal.line(f"{'':<9} {each}")
    terminal.line("")
    for line in _pretty(letter.value):
        terminal.line(line)


def dead(
    config: Config,
    gateways: Sequence[str],
    *,
    reasons: Sequence[str] = (),
    types: Sequence[str] = (),
    since: str | None = None,
) -> Iterator[Seen]:
    """Yield the dead letters there are, of these gateways or of all, as far as they are chosen."""
    from bridge import tail as reading
    from bridge import topics

    unknown = [name for name in gateways if name not in config.gateways]
    if unknown:
        raise click.UsageError(f"there is no gateway {unknown[0]!r}, known: {', '.join(config.gateways)}")
    start = reading.parse_start(since or "beginning", now=time.time_ns() // 1_000_000)
    names = [topics.dead_letters_name(config, name) for name in dict.fromkeys(gateways or config.gateways)]
    with progress_bar() as tell:
        for number, record in enumerate(reading.tail(config, names, decoder_of(config), start=start, follow=False)):
            if tell is not None and number % _OFTEN == 0:
                tell(f"dead letters read: {number:,}", 0, 0)
            if (
                (not reasons or record.headers.get("reason") in reasons)
                and (not types or record.headers.get("type") in types)
                and not (isinstance(start, int) and _received(record) < start)
            ):
                yield record


def place_of(config: Config, text: str) -> Place:
    """The place that a text names. Raises BadData."""
    from bridge import topics
    from bridge.receipt import Place

    found = _PLACE.fullmatch(text)
    if found is not None:
        for gateway in config.gateways:
            if topics.dead_letters_name(config, gateway) == found[1]:
                return Place(gateway, int(found[2]), int(found[3]))
    topic = topics.dead_letters_name(config, next(iter(config.gateways)))
    if found is None:
        raise BadData(
            f"{text!r} is no place of a dead letter", mend=f"give it as '{topic}[0]@12': topic, partition, offset"
        )
    raise BadData(
        f"{found[1]!r} is no topic of dead letters", mend=f"give one of this configuration, such as '{topic}[0]@12'"
    )


def words(config: Config, place: Place) -> str:
    """A place as the list calls it."""
    from bridge import topics

    return f"{topics.dead_letters_name(config, place.gateway)}[{place.partition}]@{place.offset}"


def facts(record: Seen) -> dict[str, Any]:
    """A dead letter for programs, without its bytes."""
    known = {name: record.headers.get(name) for name in ("gateway", "reason", "detail", "path", "type", "received")}
    place = f"{record.topic}[{record.partition}]@{record.offset}"
    key = None if record.key is None else record.key.decode(errors="replace")
    size = record.headers.get("size")
    bytes_ = int(size) if size is not None and size.isdigit() else len(record.value or b"")
    return {"place": place, "timestamp": record.timestamp, "key": key, **known, "bytes": bytes_}


def _received(record: Seen) -> int:
    text = record.headers.get("received", "")
    return int(text) if text.isdigit() else record.timestamp


def _tell(found: dict[str, Any]) -> None:
    """Two or three lines that fit a terminal."""
    from bridge import status, terminal

    head = f"{found['place']}  {status.moment(found['timestamp'])}  {found['reason']}"
    blame = f"{found['path']}: {found['detail']}" if found["path"] else str(found["detail"] or "")
    about = f"{found['type'] or 'no type'}, gateway {found['gateway']}, key {found['key']}, {found['bytes']:,} bytes"
    for text, indent in ((head, ""), (blame, "  "), (about, "  ")):
        for line in textwrap.wrap(text, width(), initial_indent=indent, subsequent_indent="  "):
            terminal.line(line)


def _diagnosis(config: Config, letter: Laid, ways: Ways) -> Diagnosis:
    from bridge.diagnosis import diagnose

    kind = load_catalog().kind(config.gateways[letter.place.gateway].kind)
    schemas = {name: each.schema for name, each in kind.types.items()}
    return diagnose(letter.frame(), ways, schemas, letter.headers.get("path"))


def _foretold(config: Config, letter: Laid, ways: Ways, diagnosis: Diagnosis | None) -> dict[str, str | None]:
    """What a replay would say now: ``outcome``; ``unsure``: why receipts and ledger could not be asked, as far as they count."""
    from bridge.mortuary import Mortuary
    from bridge.receipt import Outcome
    from bridge.rehearsal import WOULD, rehearse

    if diagnosis is None or not diagnosis.topics:
        return {"outcome": Outcome.CUT if diagnosis is None else Outcome.DEAD, "unsure": None}
    until = time.monotonic() + PATIENCE
    at, unsure = letter.place, ""
    try:
        with (
            waiting("reading the ledger since the frame was received"),
            Mortuary(config, load_catalog(), give_up=lambda: time.monotonic() > until) as mortuary,
        ):
            [told] = rehearse(mortuary, at.gateway, {at.partition: [at.offset]}, ways)
    except LaneError:
        unsure = f"the ledger could not be read in {PATIENCE:g} s; `dead-letters replay --dry-run` takes its time"
    except BridgeError as error:
        unsure = str(error)
    else:
        return {"outcome": told.outcome, "unsure": None}
    return {"outcome": WOULD, "unsure": unsure}


def _described(
    config: Config, letter: Laid, diagnosis: Diagnosis | None, replay: Mapping[str, str | None]
) -> Iterator[tuple[str, str | None]]:
    from bridge import status

    headers = letter.headers
    yield "place", words(config, letter.place)
    yield "received", status.moment(letter.received) if letter.received else None
    for name in ("gateway", "type"):
        yield name, headers.get(name)
    yield "key", letter.key
    yield "size", f"{int(headers.get('size', len(letter.value or b''))):,} bytes"
    for name, header in (("reason", "reason"), ("detail", "detail"), ("field", "path")):
        yield name, headers.get(header)
    if diagnosis is None:
        digest = headers["sha256"]
        yield (
            "whole",
            f"only its begin is here; all of it is in oversize/{digest}, beside the journal of who received it",
        )
        yield "now", "can't be replayed from here"
        return
    where = "" if diagnosis.path == headers.get("path") else f"{diagnosis.path}: "
    doc = f" ({diagnosis.doc})" if diagnosis.doc else ""
    yield "schema", f"{where}{diagnosis.expects}{doc}" if diagnosis.expects else None
    yield "found", diagnosis.found
    outcome = replay["outcome"] or ""
    if replay["unsure"]:
        goes = ", ".join(diagnosis.topics)
        yield "now", f"would be published to {goes}, as far as the frame alone tells: {replay['unsure']}"
    elif diagnosis.topics:
        yield "now", f"{outcome}{_MEANS.get(outcome) or ' to ' + ', '.join(diagnosis.topics)}"
    else:
        blamed = f" {diagnosis.path}:" if diagnosis.path else ""
        yield "now", f"still a dead letter: {diagnosis.reason}:{blamed} {diagnosis.detail}"


#: What is said of an outcome that a replay would have, though the frame can be a record.
_MEANS: Final = {
    "already there": ": the frame, or another that says the same, is published",
    "superseded": ": a newer state of its match or market is published",
    "too old": ": nobody can prove that it was not published since",
}


def _document(
    config: Config, letter: Laid, diagnosis: Diagnosis | None, replay: Mapping[str, str | None]
) -> dict[str, Any]:
    import base64

    import msgspec

    value = letter.value or b""
    try:
        content: dict[str, str] = {"raw": value.decode()}
    except UnicodeDecodeError:
        content = {"base64": base64.b64encode(value).decode()}
    return {
        "place": words(config, letter.place),
        "key": letter.key,
        "headers": dict(letter.headers),
        "cut": letter.cut,
        "now": None if diagnosis is None else msgspec.to_builtins(diagnosis),
        "replay": replay,
        **content,
    }


def _pretty(value: bytes) -> list[str]:
    """The bytes as lines: JSON indented, digit for digit; all else as it is."""
    import msgspec

    try:
        msgspec.json.decode(value)
        return msgspec.json.format(value, indent=2).decode().split("\n")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return value.decode(errors="backslashreplace").split("\n")
