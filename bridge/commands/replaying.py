"""The command ``dead-letters replay``: have a running bridge publish what became a record since, or do it where none runs."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import click

from bridge.commands.command import Command, config_option, json_option, load, load_catalog
from bridge.commands.filling import host, runs
from bridge.commands.letters import Choice, chosen, dead, place_of, words
from bridge.commands.progress import progress_bar
from bridge.commands.reading import decoder_of
from bridge.errors import Unreachable

if TYPE_CHECKING:
    from bridge.config import Config
    from bridge.receipt import Line, Place, Receipts
    from bridge.requests import Request

#: What one request names at most, in places and in bytes of dead letters: whoever carries it out holds all of them.
PLACES: Final = 1000
BYTES: Final = 32 << 20
#: Nothing came of a request for so long (s): worth a word.
QUIET: Final = 20.0
#: Places of one outcome that people are told one by one.
SHOWN: Final = 10
#: A place, what came of it, and why.
Told: TypeAlias = "tuple[Place, str, str]"


@click.command(
    "replay",
    cls=Command,
    short_help="Publish dead letters that can be records now.",
    examples=[
        "feedbridge dead-letters replay -c feedbridge.yaml 'cs2.dead-letters[0]@12'",
        "feedbridge dead-letters replay -c feedbridge.yaml --gateway cs2 --dry-run",
        "feedbridge dead-letters replay -c feedbridge.yaml --since 24h --yes",
    ],
)
@click.argument("named", metavar="[PLACE]...", nargs=-1)
@config_option
@chosen
@click.option("--dry-run", is_flag=True, help="Only say what would come of each.")
@click.option(
    "--older",
    is_flag=True,
    help="Also events from before the ledger begins: if one came again since, and was published, it is published twice.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--request", "numbers", type=int, metavar="N", multiple=True, help="Look again at what comes of an earlier request."
)
@json_option
def dead_letters_replay(
    *,
    named: tuple[str, ...],
    path: Path,
    choice: Choice,
    dry_run: bool,
    older: bool,
    yes: bool,
    numbers: tuple[int, ...],
    as_json: bool,
) -> None:
    """Publish dead letters that can be records now, each exactly once.

    After a new schema, a new release or a topic that takes more. PLACE is what the list calls it; options choose all that they
    fit. A running bridge does it, beside its live frames; where none runs, this command takes its place until it is done,
    without opening the gateways' streams. Replayed again, a dead letter is not published again.
    """
    from bridge import requests

    if sum((bool(named), any(choice), bool(numbers))) != 1:
        raise click.UsageError("give either places, or options that choose dead letters, or --request")
    if numbers and dry_run:
        raise click.UsageError("--dry-run does not go with --request")
    config = load(path)
    if numbers:
        _show(config, follow(config, numbers, needed=False, as_json=as_json), as_json=as_json)
        return
    if named:
        wanted = [(place_of(config, each), 0) for each in dict.fromkeys(named)]
    else:
        found = dead(config, **choice._asdict())
        wanted = [
            (place_of(config, f"{each.topic}[{each.partition}]@{each.offset}"), len(each.value or b""))
            for each in found
        ]
    if dry_run:
        _show(config, rehearse(config, [place for place, _ in wanted], older=older), as_json=as_json)
        return
    if wanted and not yes and sys.stdin.isatty():
        click.confirm(f"Replay {len(wanted):,} dead letters?", abort=True, err=True)
    if not wanted:
        _say("there are no such dead letters")
        return
    running = runs(config)
    sent = [requests.send(config, each) for each in split(wanted, older=older)]
    how = "a bridge runs: it was asked" if running else "no bridge runs: this command takes its place"
    _say(f"{how} (request {', '.join(map(str, sent))})")
    told = follow(config, sent, len(wanted), needed=not running, as_json=as_json)
    _show(config, told, as_json=as_json)
    if len(told) < len(wanted):
        _say(f"of {len(wanted) - len(told):,} nothing was told: replay them again")


def split(wanted: Sequence[tuple[Place, int]], *, older: bool = False) -> list[Request]:
    """The requests that name these (place, bytes), in order within each gateway."""
    from bridge.requests import Request

    found: list[Request] = []
    for gateway in dict.fromkeys(place.gateway for place, _ in wanted):
        letters: dict[int, list[int]] = {}
        places = size = 0
        for place, bytes_ in wanted:
            if place.gateway != gateway:
                continue
            if places and (places >= PLACES or size + bytes_ > BYTES):
                found.append(Request(gateway=gateway, letters=letters, older=older))
                letters, places, size = {}, 0, 0
            letters.setdefault(place.partition, []).append(place.offset)
            places, size = places + 1, size + bytes_
        found.append(Request(gateway=gateway, letters=letters, older=older))
    return found


def rehearse(config: Config, places: Sequence[Place], *, older: bool = False) -> list[Told]:
    """What would come of each."""
    from bridge import rehearsal
    from bridge.mortuary import Mortuary

    catalog = load_catalog()
    found: list[Told] = []
    with Mortuary(config, catalog) as mortuary:
        for request in split([(place, 0) for place in places]):
            ways = rehearsal.ways_of(config, catalog, request.gateway)
            told = rehearsal.rehearse(mortuary, request.gateway, request.letters, ways, older=older)
            found += [(each.letter.place, each.outcome, each.why) for each in told]
    return found


def follow(
    config: Config, numbers: Sequence[int], count: int | None = None, *, needed: bool, as_json: bool
) -> list[Told]:
    """Wait for what comes of requests; returns it. count: of places, where that is known. needed: no bridge runs."""
    from bridge.receipt import Receipts

    receipts = Receipts()
    try:
        with host(config, needed=needed) as ended, progress_bar(as_json=as_json, what="replaying") as tell:
            for _ in _heard(config, receipts, numbers, ended):
                if tell is not None:
                    tell("replaying", sum(len(receipts.of(number)) for number in numbers), count or 0)
                if all(receipts.whole(number) for number in numbers):
                    break
            else:
                raise Unreachable("ended before all was told", where="dead-letters replay")
    except KeyboardInterrupt:
        again = " ".join(f"--request {number}" for number in numbers)
        how = "the next bridge goes on with it" if needed else "the bridge goes on with it"
        _say(f"{how}; look again with `feedbridge dead-letters replay -c FILE {again}`")
        raise
    lines: dict[Place, Line] = {}
    for number in numbers:
        lines |= receipts.of(number)
    return [(place, line.outcome, line.why) for place, line in lines.items()]


def _heard(config: Config, receipts: Receipts, numbers: Sequence[int], ended: Callable[[], bool]) -> Iterator[None]:
    """Yield when something came of these requests, which `receipts` has taken in."""
    from bridge import receipt, topics
    from bridge import tail as reading
    from bridge.topics import Role

    topic, first, quiet = topics.own_name(config, Role.REQUESTS), min(numbers), time.monotonic() + QUIET

    def stopped() -> bool:
        nonlocal quiet
        if time.monotonic() >= quiet:
            quiet = float("inf")
            _say("nothing came of it yet; the bridge's log says why, look for replay_waits")
        return ended()

    for record in reading.tail(config, [topic], decoder_of(config), start="beginning", stop=stopped):
        if record.offset > first and receipt.is_receipt(record.headers) and record.value is not None:
            found = receipt.decode(record.value)
            if found.request in numbers:
                quiet = time.monotonic() + QUIET
                receipts.take(found)
                yield


def _show(config: Config, outcomes: Sequence[Told], *, as_json: bool) -> None:
    from bridge import terminal
    from bridge.receipt import Outcome

    counts: Counter[str] = Counter()
    for place, outcome, why in outcomes:
        counts[outcome] += 1
        if as_json:
            terminal.row({"place": words(config, place), "outcome": outcome, "why": why or None})
        elif outcome != Outcome.PUBLISHED and counts[outcome] <= SHOWN:
            terminal.line(f"{words(config, place)}: {outcome}{': ' if why else ''}{why}")
    if not as_json:
        terminal.line(_summary(counts))


def _summary(counts: Mapping[str, int]) -> str:
    if not counts:
        return "nothing to replay"
    return ", ".join(f"{outcome} {number:,}" for outcome, number in sorted(counts.items(), key=lambda each: -each[1]))


def _say(text: str) -> None:
    click.echo(text, err=True)
