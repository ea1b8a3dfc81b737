"""Commands about a bridge that runs: ``run``, ``demo``, ``status``, ``simulate``."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from bridge.commands.command import (
    Command,
    Group,
    config_option,
    configure_logs,
    json_option,
    load,
    maybe_config_option,
    quiet_kafka,
)
from bridge.commands.progress import progress_bar
from bridge.errors import ConfigError, Unreachable

if TYPE_CHECKING:
    import asyncio

    from bridge.proof import Progress
    from bridge.service import Service
    from bridge.sim import Simulator


@click.command(
    cls=Command, short_help="Run the gateways of the configuration.", examples=["feedbridge run -c feedbridge.yaml"]
)
@config_option
def run(*, path: Path) -> None:
    """Run the gateways of the configuration until SIGTERM or Ctrl-C.

    The first signal ends it gracefully: what is received is published, and what can't be within shutdown.timeout stays
    in the journal for the next start. A second signal ends it at once.

    SIGHUP reads the configuration again: keys, subscriptions, matches, ages of connections and the log change while it
    runs; what can't is refused, and then nothing changes. A file that ${file:PATH} names is read again when it changes.
    """
    # Nothing runs yet that would have to be ended: a signal while modules are loaded is a graceful end as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # What it asks for is done by reading the file below.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    import asyncio

    config = load(path, log_as_configured=True)
    from bridge.service import Service

    service = Service(config)
    _spare_the_collector()
    asyncio.run(_serve(service, path, shutdown=config.shutdown.timeout))


def _spare_the_collector() -> None:
    """Have Python look for cycles less often: what flows makes none, and the looking took 6 % of the CPU."""
    import gc

    gc.collect()
    gc.freeze()  # what is here now stays
    gc.set_threshold(50_000, 20, 50)


async def _serve(service: Service, path: Path, *, shutdown: float) -> None:
    import asyncio

    from bridge.reload import Reloader

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop, stop, number, shutdown)
    reloader = Reloader(
        path,
        service.config,
        environ=os.environ,
        apply=service.configure,
        relog=lambda config: configure_logs(level=config.log.level, form=config.log.format),
        metrics=service.metrics,
    )
    loop.add_signal_handler(signal.SIGHUP, reloader.ask)
    service.reloaded = reloader.status
    reloading = asyncio.create_task(reloader.run(), name="reloads")
    reloading.add_done_callback(lambda _: stop.set())
    try:
        await service.run(stop)
    finally:
        reloading.cancel()
        await asyncio.wait([reloading])
    if not reloading.cancelled():
        await reloading


def _stop(stop: asyncio.Event, number: int, shutdown: float) -> None:
    """Ask for a graceful end, which must come in time; asked again, end at once. shutdown: seconds."""
    import threading

    if stop.is_set():
        os._exit(128 + number)
    stop.set()
    # A call into a library that does not return must not outlast the limit. What is not committed is in the journal.
    timer = threading.Timer(max(shutdown - 0.5, 0.1), os._exit, [0])
    timer.daemon = True
    timer.start()


@click.command(
    cls=Command,
    examples=[
        "feedbridge demo",
        "feedbridge demo --seconds 30 --rate 1000",
        "feedbridge demo --kafka localhost:9092",
    ],
)
@click.option("--seconds", type=click.FloatRange(min=1), metavar="N", help="Stop by itself after so many seconds.")
@click.option(
    "--rate", type=click.IntRange(1, 5000), metavar="N", default=200, show_default=True, help="Frames a second, in all."
)
@click.option("--kafka", metavar="HOST:PORT", help="A real Kafka to publish to, instead of the stand-in.")
def demo(*, seconds: float | None, rate: int, kafka: str | None) -> None:
    """Show feedbridge at work, with nothing to set up.

    Simulated gateways, the bridge and a stand-in for Kafka run in this process; what flows is shown until Ctrl-C. The
    stand-in is no real Kafka: it fences nobody, shows what was aborted and forgets all at the end. With --kafka the
    same demo publishes to a real one.
    """
    import asyncio

    from bridge import demo as show

    quiet_kafka()
    configure_logs(level="error")
    asyncio.run(show.run(seconds=seconds, rate=rate, kafka=kafka))


@click.command(
    cls=Command,
    short_help="Say whether all is well with a running bridge.",
    examples=[
        "feedbridge status -c feedbridge.yaml",
        "feedbridge status --url http://127.0.0.1:8080 --watch",
        "feedbridge status --url http://127.0.0.1:8080 --json",
        "feedbridge status -c feedbridge.yaml --types",
    ],
)
@maybe_config_option
@click.option("--url", metavar="URL", help="Where the bridge listens; else http.listen of the configuration.")
@click.option("--watch", is_flag=True, help="Show it anew every second, until Ctrl-C.")
@click.option("--types", is_flag=True, help="Also a table of all types of frames.")
@json_option
@click.pass_context
def status(ctx: click.Context, *, path: Path | None, url: str | None, watch: bool, types: bool, as_json: bool) -> None:
    """Show how a running bridge is, beginning with one sentence.

    Then what else there is to say, lanes, gateways, latency, journal, gaps and dead letters. Ends with 0 where all
    is well or there is but a warning, with 1 where not. Without URL and configuration the bridge is looked for at 127.0.0.1:8080.
    """
    from bridge import panel, terminal
    from bridge import status as bridge_status

    if url is None:
        listen = load(path).http.listen if path else "127.0.0.1:8080"
        if listen is None:
            raise ConfigError("the bridge listens nowhere (null)", where="http", mend="set http.listen, or give --url")
        url = bridge_status.url_of(listen)
    if watch and not as_json:
        bridge_status.live(url, terminal.console(), types=types)
    if watch:
        for found in bridge_status.watch(url):
            terminal.row(found)
    found = bridge_status.fetch(url)
    if as_json:
        terminal.document(found)
    else:
        bridge_status.show(found, terminal.console(), types=types)
    ctx.exit(0 if panel.well(found) else 1)


@click.group(cls=Group)
def simulate() -> None:
    """Run a simulated gateway, to try things without an account."""


_AMQP: Final = (
    click.Option(
        ["--amqp"],
        metavar="URL",
        envvar="FEEDBRIDGE_AMQP",
        show_envvar=True,
        help="A RabbitMQ to publish heartbeats and replays to.",
    ),
    click.Option(["--exchange"], metavar="NAME", default="ttfeed", show_default=True, help="The exchange there."),
    click.Option(
        ["--feed", "feed"], metavar="NAME=VALUE", multiple=True, help="What replays are like; may be repeated."
    ),
)


def _simulator(kind: Literal["ticktock", "predictstreet"], *, title: str, port: int) -> click.Command:
    """Make the command that runs the simulator of a kind."""

    def run_it(**options: Any) -> None:
        configure_logs(level="warning")
        _simulate(kind, **options)

    return Command(
        kind,
        callback=run_it,
        short_help=f"Run a simulated {title}.",
        help=f"""Run a simulated {title} until Ctrl-C.

        What it sends is made up from the seed. Faults are chances per frame, such as duplicate=0.1, collision,
        malformed, wrong_type, unknown_type, unknown_field. Knobs are what the contract leaves open. One that does not
        exist is refused with the list of those that do.
        """,
        examples=[
            f"feedbridge simulate {kind}",
            f"feedbridge simulate {kind} --rate 1000 --fault duplicate=0.1",
            *(["feedbridge simulate ticktock --amqp amqp://guest:guest@localhost/%2F"] if kind == "ticktock" else []),
        ],
        params=[
            click.Option(
                ["--listen"],
                metavar="HOST:PORT",
                default=f"127.0.0.1:{port}",
                show_default=True,
                help="Where to listen; port 0: any.",
            ),
            click.Option(
                ["--rate"],
                type=click.FloatRange(min=0),
                metavar="N",
                default=20.0,
                show_default=True,
                help="Frames a second; 0: as fast as they are read.",
            ),
            click.Option(
                ["--seed"], type=int, metavar="N", default=0, show_default=True, help="Another seed, another feed."
            ),
            click.Option(["--key"], metavar="KEY", help="The API key to accept; else one is shown."),
            click.Option(["--limit"], type=click.IntRange(min=1), metavar="N", help="End the feed after N frames."),
            click.Option(["--fault", "faults"], metavar="NAME=RATE", multiple=True, help="A fault; may be repeated."),
            click.Option(["--knob", "knobs"], metavar="NAME=VALUE", multiple=True, help="A knob; may be repeated."),
            *(_AMQP if kind == "ticktock" else ()),
            click.Option(["--json", "as_json"], is_flag=True, help="Print where it listens as JSON, for programs."),
        ],
    )


def _simulate(
    kind: Literal["ticktock", "predictstreet"],
    *,
    listen: str,
    rate: float,
    seed: int,
    key: str | None,
    limit: int | None,
    faults: tuple[str, ...],
    knobs: tuple[str, ...],
    as_json: bool,
    amqp: str | None = None,
    exchange: str = "",
    feed: tuple[str, ...] = (),
) -> None:
    import asyncio

    import msgspec

    from bridge.sim import FeedKnobs
    from bridge.sim.feed import Broker

    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit():
        raise click.BadParameter("write HOST:PORT, such as 127.0.0.1:0", param_hint="--listen")
    options: dict[str, Any] = {
        "host": host.strip("[]"),
        "port": int(port),
        "seed": seed,
        "rate": rate or None,
        "limit": limit,
    }
    if key:
        options["api_key"] = key

    try:
        broker = None
        if amqp is not None:
            replays = msgspec.convert(dict(_pairs(feed, "--feed")), FeedKnobs, strict=False)
            broker = Broker(url=amqp, exchange=exchange, feed=replays)
        options |= {
            "broker": broker,
            "faults": {name: _number(value) for name, value in _pairs(faults, "--fault")},
            "knobs": dict(_pairs(knobs, "--knob")),
        }
        asyncio.run(_simulated(kind, options, limit=limit, as_json=as_json))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    except ConnectionError as error:
        raise Unreachable(f"no connection ({type(error).__name__})", where="the broker of --amqp") from None
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"can't listen on {listen}: {why}", mend="name another address with --listen") from error


async def _simulated(
    kind: Literal["ticktock", "predictstreet"], options: dict[str, Any], *, limit: int | None, as_json: bool
) -> None:
    """Run a simulator; with a limit, and on a terminal, show how many of its frames were made."""
    import asyncio

    from bridge.sim import run_simulator

    counting: list[asyncio.Task[None]] = []
    with progress_bar(as_json=as_json or limit is None, what="nobody listens yet") as tell:

        def ready(sim: Simulator) -> None:
            _say_where(sim, as_json=as_json)
            if tell is not None and limit is not None:
                counting.append(asyncio.create_task(_count(sim, limit, tell)))

        try:
            await run_simulator(kind, ready=ready, **options)
        finally:
            for task in counting:
                task.cancel()
            await asyncio.gather(*counting, return_exceptions=True)


async def _count(sim: Simulator, limit: int, tell: Progress) -> None:
    """Tell how many frames of the limit there were, until all were."""
    import asyncio

    while sim.produced < limit:
        tell("frames made", sim.produced, limit)
        await asyncio.sleep(0.2)
    tell("frames made", limit, limit)


def _say_where(sim: Simulator, *, as_json: bool) -> None:
    from bridge import terminal

    facts = {"kind": sim.kind, "url": sim.url, "rest_url": sim.rest_url, "api_key": sim.api_key}
    if as_json:
        terminal.row(facts)
        return
    # Straight to the output: this key opens nothing but the simulator, and must be readable.
    click.echo(f"A simulated {sim.kind} listens. In a configuration, below gateways:")
    click.echo(f"    url: {sim.url}")
    click.echo(f"    rest: {{url: {sim.rest_url}}}")
    click.echo(f"    api_key: {sim.api_key}")
    click.echo("Ctrl-C ends it.")


def _pairs(given: tuple[str, ...], option: str) -> list[tuple[str, str]]:
    pairs = [text.partition("=") for text in given]
    for name, equals, value in pairs:
        if not name or not equals or not value:
            raise click.BadParameter("write NAME=VALUE", param_hint=option)
    return [(name, value) for name, _, value in pairs]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no number", param_hint="--fault") from None


simulate.add_command(_simulator("ticktock", title="TickTock", port=8765))
simulate.add_command(_simulator("predictstreet", title="PredictStreet", port=8766))
