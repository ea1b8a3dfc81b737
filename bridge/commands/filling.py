"""The command ``gaps fill``: ask a running bridge to fill a gap or a span, or do it where none runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from bridge.commands.command import Command, config_option, json_option, load, load_catalog
from bridge.commands.gaps import Recorded, plain
from bridge.commands.progress import progress_bar
from bridge.commands.reading import gap_decoder_of
from bridge.commands.waiting import waiting
from bridge.errors import BadData, CheckFailed, ConfigError, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.config import Config
    from bridge.proof import Progress
    from bridge.requests import Request

#: An active bridge writes to its ledger twice a second; without a word for so long (s) none runs.
SILENT: Final = 5.0
#: How far back from its end the ledger is read to find its last entry.
BACK: Final = 50


@click.command(
    "fill",
    cls=Command,
    short_help="Ask the gateway for what is missing of a gap or a time.",
    examples=[
        "feedbridge gaps fill -c feedbridge.yaml 'cs2/list/1778414400000/0'",
        "feedbridge gaps fill -c feedbridge.yaml --gateway cs2 --from 2h --to 1h",
    ],
)
@click.argument("gap", metavar="[GAP]", required=False)
@config_option
@click.option("--gateway", metavar="NAME", help="Fill a time of this gateway, recorded as a gap or not.")
@click.option("--from", "since", metavar="WHERE", help="Where that begins: how long ago (2h), or a time.")
@click.option("--to", "until", metavar="WHERE", help="Where it ends; now where it is left out.")
@click.option("--no-wait", is_flag=True, help="Leave it to the running bridge; `gaps list` shows what came of it.")
@json_option
def gaps_fill(
    *,
    gap: str | None,
    path: Path,
    gateway: str | None,
    since: str | None,
    until: str | None,
    no_wait: bool,
    as_json: bool,
) -> None:
    """Ask the gateway for what is missing of a gap or a time.

    GAP is the id that `gaps list` shows. What was not missing is known by its identity and published once. A
    running bridge does it, beside its live frames; where none runs, this command takes its place until it is done, without
    opening the gateways' streams. Ends with 1 where nothing could be had.
    """
    from bridge import requests, terminal

    if (gap is None) == (gateway is None):
        raise click.UsageError("give either a gap's id or --gateway with --from")
    if (gap is None) != (since is not None) or (gap is not None and until is not None):
        raise click.UsageError("--from and --to go with --gateway")
    config = load(path)
    request = None if gap is not None else _of_span(config, gateway or "", since or "", until)
    recorded = Recorded.read(config)
    request = request or _of_gap(config, recorded.gaps, gap or "")
    running = runs(config)
    if not running and no_wait:
        raise click.UsageError("no bridge runs that it could be left to")
    with waiting("waiting for Kafka to take the request"):
        offset = requests.send(config, request)
    if no_wait:
        _say("left to the running bridge")
        return
    _say("a bridge runs: it was asked" if running else "no bridge runs: this command takes its place")
    mark = f"/requested/{offset}/"
    count = 1 if gap is not None else config.lanes.count
    with host(config, needed=not running) as ended, progress_bar(as_json=as_json) as tell:
        ours = (lambda one: one == gap) if gap is not None else (lambda one: mark in one)
        silent: Progress = lambda _what, _done, _all: None  # noqa: E731 - of a type that has a name
        who = "the running bridge" if running else "this command's own bridge"
        with waiting(f"waiting for {who} to ask the gateway"):
            found = _follow(config, recorded.last, ours, count, ended=ended, tell=tell or silent)
    for one in found:
        if as_json:
            terminal.row(one)
        else:
            terminal.line(f"{one['id']}: {one['state']}, {one['recovered']:,} records; {one['how']}")
    lost = [one["id"] for one in found if one["state"] == "lost"]
    if lost:
        raise CheckFailed(f"nothing could be had of {lost[0]}", where="gaps fill")


def _of_gap(config: Config, gaps: dict[str, dict[str, Any]], ident: str) -> Request:
    """The request for a recorded gap. Raises BadData where there is none, or it can't be filled so."""
    from bridge.ledger import Gap
    from bridge.requests import Request

    data = gaps.get(ident)
    if data is None:
        raise BadData(f"there is no gap {ident!r}", mend="`feedbridge gaps list` shows their ids")
    if data["to"] is None:
        raise BadData(f"the gap {ident!r} is not over")
    if data["entity"] is not None or data["cause"] == "expired":
        raise BadData(f"a gap of cause {data['cause']} is not asked of the gateway", where=ident)
    if data["lane"] >= config.lanes.count:
        raise BadData("was recorded with more lanes; ask for its time with --from and --to", where=ident)
    if data["gateway"] not in config.gateways:
        raise ConfigError(f"there is no gateway {data['gateway']!r}", where=ident)
    names = ("id", "gateway", "connection", "cause", "last_seq", "state", "recovered", "superseded", "how")
    kept = {name: data[name] for name in names}
    return Request(gateway=data["gateway"], gap=Gap(**kept, since=data["from"], until=data["to"]))


def _of_span(config: Config, gateway: str, since: str, until: str | None) -> Request:
    from bridge.requests import Request
    from bridge.tail import parse_start

    if gateway not in config.gateways:
        raise click.UsageError(f"there is no gateway {gateway!r}, known: {', '.join(config.gateways)}")
    now = time.time_ns() // 1_000_000
    begin, end = parse_start(since, now=now), now if until is None else parse_start(until, now=now)
    if not isinstance(begin, int) or not isinstance(end, int) or not 0 < begin < end:
        raise click.UsageError("--from must be before --to")
    return Request(gateway=gateway, since=begin, until=min(end, now))


def _follow(
    config: Config,
    last: int,
    ours: Callable[[str], bool],
    count: int,
    *,
    ended: Callable[[], bool],
    tell: Progress,
) -> list[dict[str, Any]]:
    """Wait until so many gaps are judged. last: what is new has a greater offset. ours: which ids are wanted."""
    from bridge import tail as reading
    from bridge import topics

    topic = topics.own_name(config, topics.Role.GAPS)
    found: dict[str, dict[str, Any]] = {}
    tell("asking the gateway", 0, 0)
    for record in reading.tail(config, [topic], gap_decoder_of(config), start="beginning", stop=ended):
        if record.offset <= last or record.data is None or not ours(record.data["id"]):
            continue
        gap = plain(record.data)
        if gap["state"] != "open":
            found[gap["id"]] = gap
        tell("asking the gateway", len(found), count if found else 0)
        if len(found) >= count:
            return sorted(found.values(), key=lambda each: str(each["id"]))
    raise Unreachable("ended before the gap was judged", where="gaps fill")


def runs(config: Config) -> bool:
    """Whether a bridge of this name is active: something comes to its ledger. Takes up to `SILENT` seconds, and says so."""
    from bridge import topics

    ledger = topics.own_name(config, topics.Role.LEDGER)
    with waiting(f"waiting for an active bridge: it would write to {ledger} within {SILENT:g} s"):
        return _runs(config)


def _runs(config: Config) -> bool:
    from bridge import kafka, topics
    from bridge.ledger import RESIGN, EntryCodec
    from bridge.ledger_reader import LedgerReader

    reports = kafka.Reports()
    topic = topics.own_name(config, topics.Role.LEDGER)
    codec = EntryCodec(load_catalog().own("ledger"))
    consumer = kafka.consumer(config, role="fill", reports=reports)
    reader = LedgerReader(consumer, codec, topic=topic, partition=0, reports=reports)
    try:
        reader.seek_back(BACK)
        kind: str | None = None
        there_until = None
        while there_until is None or time.monotonic() < there_until:
            came = [entry.kind for entry, _ in reader.poll(0.2)]
            if came and there_until is not None and came[-1] != RESIGN:
                return True
            kind = came[-1] if came else kind
            if there_until is None and reader.at_end():
                # Nobody has been here, or the last one has left in good order.
                there_until = time.monotonic() + (0.0 if kind in {None, RESIGN} else SILENT)
        return False
    finally:
        reader.close()


@contextmanager
def host(config: Config, *, needed: bool) -> Iterator[Callable[[], bool]]:
    """Where no bridge runs, one that does what was asked for and nothing else; yields whether it has ended."""
    if not needed:
        yield lambda: False
        return
    import asyncio

    from bridge.service import Service

    service = Service(config, receive=False)
    errors: list[BaseException] = []
    stops: list[Callable[[], object]] = []
    begun = threading.Event()

    async def live() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        stops.append(lambda: loop.call_soon_threadsafe(stop.set))
        begun.set()
        await service.run(stop)

    def run() -> None:
        try:
            asyncio.run(live())
        except BaseException as error:  # noqa: BLE001 - raised below, in the thread of the command
            errors.append(error)
        finally:
            begun.set()

    thread = threading.Thread(target=run, name="bridge", daemon=True)
    thread.start()
    begun.wait()
    try:
        yield lambda: not thread.is_alive()
    finally:
        if thread.is_alive():
            stops[0]()
        thread.join()
        if errors:
            raise errors[0]


def _say(text: str) -> None:
    click.echo(text, err=True)
