"""Commands before a bridge runs: ``config``, ``check``, ``topics``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bridge.commands.command import Command, Group, config_option, json_option, load, load_catalog, show_findings
from bridge.commands.progress import progress_bar
from bridge.errors import CheckFailed

if TYPE_CHECKING:
    from bridge.catalog import Catalog
    from bridge.config import Config
    from bridge.finding import Finding
    from bridge.frame import Frame
    from bridge.ops.metrics import Metrics
    from bridge.topics import TopicState


@click.group(cls=Group)
def config() -> None:
    """Show the configuration in force, or its schema."""


@config.command("show", examples=["feedbridge config show -c feedbridge.yaml"])
@config_option
@json_option
def config_show(*, path: Path, as_json: bool) -> None:
    """Print all settings in force, defaults included, secrets masked."""
    import yaml

    from bridge import config, terminal

    settings = config.masked(load(path))
    if as_json:
        terminal.document(settings)
    else:
        click.echo(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True), nl=False)


@config.command("schema", examples=["feedbridge config schema > feedbridge.schema.json"])
def config_schema() -> None:
    """Print the JSON Schema of the configuration file, for editors."""
    from bridge import config, terminal

    terminal.document(config.json_schema())


def _duration(_context: click.Context, _option: click.Parameter, text: str | None) -> float | None:
    """Seconds of an option such as ``60s``."""
    from bridge.settings import read_duration

    seconds = None if text is None else read_duration(text)
    if text is not None and not seconds:
        raise click.BadParameter(f"{text!r} is no duration such as 60s")
    return seconds


@click.command(
    cls=Command,
    short_help="Check that this configuration would run.",
    examples=["feedbridge check -c feedbridge.yaml", "feedbridge check -c feedbridge.yaml --json"],
)
@config_option
@click.option(
    "--overlap",
    metavar="DURATION",
    callback=_duration,
    help="Also hold two connections to each gateway for so long (60s) and tell whether both see the same sequence"
    " numbers: that is what dedupe.seq_scope must say.",
)
@json_option
def check(*, path: Path, overlap: float | None, as_json: bool) -> None:
    """Check configuration, gateways, Kafka and registry.

    Connects to each, says what your keys may see, and changes nothing. The exit code is 1 if anything is found that
    would keep a bridge from working.
    """
    import asyncio

    from bridge import check
    from bridge.gateways import kinds
    from bridge.ops.metrics import Metrics

    settings = load(path)
    metrics = Metrics()
    gateways = [
        kinds()[each.kind](name, each, intake=_Unfed(), metrics=metrics) for name, each in settings.gateways.items()
    ]
    catalog = load_catalog()
    findings = asyncio.run(check.check(settings, catalog, gateways))
    if overlap is not None:
        findings += asyncio.run(_overlaps(settings, catalog, metrics, overlap))
    show_findings([(each.name, each.ok, each.text) for each in findings], as_json=as_json)


async def _overlaps(settings: Config, catalog: Catalog, metrics: Metrics, seconds: float) -> list[Finding]:
    """Compare the sequence numbers of two connections, for all gateways at once."""
    import asyncio

    from bridge.gateways import kinds
    from bridge.overlap import overlap

    return await asyncio.gather(
        *(
            overlap(
                name,
                catalog.kind(each.kind),
                partial(kinds()[each.kind], name, each, metrics=metrics),
                scope=settings.dedupe.seq_scope,
                seconds=seconds,
            )
            for name, each in settings.gateways.items()
        )
    )


class _Unfed:
    """The intake of gateways that are only checked: a check hands nothing in."""

    full = stalled = False

    async def room(self) -> None:
        """There always is."""

    def put(self, frame: Frame) -> None:
        """Drop it: what a check happens to receive is the bridge's to journal, not ours."""

    def mark(self) -> int:
        """Return what `committed` takes."""
        return 0

    def committed(self, mark: int) -> bool:  # noqa: ARG002 - nothing is
        """Nothing was handed in."""
        return False

    def event(self, gateway: str, connection: str, event: str, **facts: Any) -> None:
        """Take no note."""

    def learn(self, gateway: str, pairs: dict[str, str]) -> None:
        """Take no note."""

    def known(self, gateway: str, key: str) -> str | None:
        """Nothing is known."""


@click.group(cls=Group)
def topics() -> None:
    """Plan and make the Kafka topics, and the rights to them."""


@topics.command(
    "plan",
    examples=[
        "feedbridge topics plan -c feedbridge.yaml",
        "feedbridge topics plan -c feedbridge.yaml --offline --json",
    ],
)
@config_option
@click.option("--offline", is_flag=True, help="Only what should be; don't ask Kafka what is.")
@json_option
def topics_plan(*, path: Path, offline: bool, as_json: bool) -> None:
    """Show which topics there should be, and how Kafka's differ.

    Nothing is changed.
    """
    from bridge import kafka, topics

    settings = load(path, secrets=not offline)
    planned = topics.plan(settings, load_catalog())
    if offline:
        _show_topics([topics.TopicState(plan=plan, state="planned") for plan in planned], as_json=as_json)
    else:
        _show_topics(topics.compare(kafka.Admin(settings), planned), as_json=as_json)


@topics.command("apply", examples=["feedbridge topics apply -c feedbridge.yaml"])
@config_option
@json_option
def topics_apply(*, path: Path, as_json: bool) -> None:
    """Make the topics that are missing.

    What exists is never changed; how it differs from the plan is said, and the exit code is 1 if the bridge can't run
    with it. May be repeated.
    """
    from bridge import kafka, topics

    settings = load(path)
    with progress_bar(as_json=as_json) as tell:
        states = topics.apply(
            kafka.Admin(settings), topics.plan(settings, load_catalog()), tell=tell or (lambda _what, _done, _all: None)
        )
    _show_topics(states, as_json=as_json)
    unusable = [state for state in states if state.unusable]
    if unusable:
        more = f" (and {len(unusable) - 1} more)" if len(unusable) > 1 else ""
        raise CheckFailed(f"{unusable[0].unusable}{more}", where=unusable[0].plan.name)


@topics.command(
    "acls",
    short_help="Print the rights in Kafka that a user needs.",
    examples=[
        "feedbridge topics acls -c feedbridge.yaml",
        "feedbridge topics acls -c feedbridge.yaml --for apply --user deployer",
        "feedbridge topics acls -c feedbridge.yaml --format strimzi --cluster kafka",
        "feedbridge topics acls -c feedbridge.yaml --for read --user odds cs2",
    ],
)
@config_option
@click.argument("words", nargs=-1, metavar="[TOPIC|GATEWAY|TYPE]...")
@click.option(
    "--for",
    "uses",
    type=click.Choice(("run", "apply", "verify", "fill", "replay", "read")),
    multiple=True,
    default=("run",),
    show_default=True,
    help="What the user is for; may be repeated. run: run and check (with topics.create: true it makes topics too)."
    " apply: topics plan and apply. verify: verify. fill: gaps list, and gaps fill while a bridge runs. replay:"
    " dead-letters list, show, and replay while a bridge runs. read: tail, dead-letters list and show, consumers.",
)
@click.option(
    "--user", metavar="NAME", help="The user's name in Kafka; else sasl.username of the configuration, or feedbridge."
)
@click.option("--group", metavar="NAME", help="With --for read: the consumer group it reads in.")
@click.option(
    "--format",
    "form",
    type=click.Choice(("kafka-acls", "strimzi")),
    default="kafka-acls",
    show_default=True,
    help="Commands of Kafka's own tool, or a KafkaUser for Strimzi.",
)
@click.option(
    "--cluster", metavar="NAME", default="my-cluster", show_default=True, help="With strimzi: the Kafka's name."
)
@json_option
def topics_acls(
    *,
    path: Path,
    words: tuple[str, ...],
    uses: tuple[str, ...],
    user: str | None,
    group: str | None,
    form: str,
    cluster: str,
    as_json: bool,
) -> None:
    """Print the rights in Kafka that a user needs, and no more.

    They follow from the configuration; nothing is asked or changed, and keys and passwords that ${…} names may be missing.
    `feedbridge check` names each right that lacks. Private topics are marked. With --for read, name the topics, gateways or frame types; else it is all data topics.
    """
    from bridge import acls, rights, terminal, topics

    if (words or group is not None) and "read" not in uses:
        raise click.UsageError("topics and --group go with --for read")
    settings = load(path, secrets=False)
    planned = topics.plan(settings, load_catalog())
    found = rights.rights(
        settings,
        planned,
        [rights.Use(each) for each in uses],
        read=topics.select(planned, words) if "read" in uses else (),
        group=group,
    )
    name = user or str(settings.kafka.get("sasl.username", "feedbridge"))
    if as_json:
        terminal.document(list(acls.facts(found)))
    elif form == "strimzi":
        method = acls.authentication(settings.kafka)
        click.echo(acls.strimzi(found, user=name, cluster=cluster, authentication=method), nl=False)
    else:
        bootstrap = str(settings.kafka["bootstrap.servers"])
        click.echo(acls.commands(found, user=name, bootstrap=bootstrap), nl=False)


def _show_topics(states: list[TopicState], *, as_json: bool) -> None:
    from bridge import terminal

    if as_json:
        terminal.document([_facts(state) for state in states])
        return
    terminal.table(
        ["topic", "partitions", "replicas", "private", "state", ""],
        [
            [
                state.plan.name,
                state.plan.partitions,
                state.plan.replication or "broker's",
                "yes" if state.plan.private else "",
                state.state,
                "; ".join([*([state.unusable] if state.unusable else []), *state.differences, *state.notes]),
            ]
            for state in states
        ],
    )


def _facts(state: TopicState) -> dict[str, Any]:
    plan = state.plan
    return {
        "topic": plan.name,
        "role": str(plan.role),
        "gateway": plan.gateway,
        "partitions": plan.partitions,
        "replication_factor": plan.replication,
        "config": dict(plan.config),
        "private": plan.private,
        "types": list(plan.types),
        "subjects": [subject.subject for subject in plan.subjects],
        "state": state.state,
        "differences": list(state.differences),
        "notes": list(state.notes),
        "unusable": state.unusable,
    }
