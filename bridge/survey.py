"""Reads the data topics of an installation into a profile: a stretch of time, committed records only, while bridges may run."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bridge.avsc import UNKNOWN
from bridge.errors import BadData, ConfigError
from bridge.profile import Profiler
from bridge.proof import TOPICS_AFTER, TOPICS_BEFORE, Sweep
from bridge.topics import Role
from bridge.verdict import Span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.catalog import Catalog
    from bridge.config import Config
    from bridge.proof import Progress
    from bridge.tail import Decoder
    from bridge.topics import TopicPlan


@dataclass(kw_only=True)
class Survey:
    """What was read. unreadable: topic → records that could not be decoded; why: the first reason. absent: missing topics."""

    profiler: Profiler = field(default_factory=Profiler)
    records: int = 0
    unreadable: Counter[str] = field(default_factory=Counter)
    why: str | None = None
    absent: list[str] = field(default_factory=list)
    seconds: float = 0.0


def survey(
    config: Config,
    catalog: Catalog,
    decoder: Decoder,
    chosen: Sequence[TopicPlan],
    *,
    span: Span | None = None,
    progress: Progress | None = None,
) -> Survey:
    """Read these topics, those without records of gateways apart. span: by the time received.

    Where a type is in several of the topics, as with two layouts, it is counted in the first. Raises Unreachable, Refused.
    """
    began, span = time.monotonic(), span or Span()
    found = Survey()
    plans = {each.name: each for each in chosen if each.role is Role.DATA}
    homes: dict[tuple[str | None, str], str] = {}
    for plan in plans.values():
        for each in plan.types:
            homes.setdefault((plan.gateway, each), plan.name)
    kinds = {name: catalog.kind(settings.kind) for name, settings in config.gateways.items()}
    types = {kind.name: {each.name: each.type for each in kind.types.values()} for kind in kinds.values()}
    sweep = Sweep(config)
    try:
        places, found.absent = sweep.partitions(list(plans))
        starts, ends = sweep.begins(places), sweep.ends(places)
        # Records carry the gateway's time, which is near that of their receipt; what lies outside is passed over below.
        if span.until is not None:
            ends = sweep.at(places, span.until + TOPICS_AFTER, ends)
        if span.since is not None:
            starts = sweep.at(places, span.since - TOPICS_BEFORE, ends)
        stretches = {place: (starts[place], ends[place]) for place in places}
        tell = progress or (lambda _what, _done, _whole: None)
        for (topic, _), _, message in sweep.read(stretches, lambda done, whole: tell("topics", done, whole)):
            headers: dict[str, Any] = dict(message.headers() or ())
            received = _number(headers.get("received")) or message.timestamp()[1]
            value, gateway = message.value(), plans[topic].gateway or ""
            if not span.holds(received) or value is None:
                continue
            try:
                schema, data = decoder.decode(value)
            except (BadData, ConfigError) as error:
                found.unreadable[topic] += 1
                found.why = found.why or str(error)
                continue
            kind = kinds[gateway].name
            name = f"{schema.get('namespace')}.{schema['name']}"
            # A type whose schema this version does not have any more is known by its header.
            known = types[kind].get(name) or (UNKNOWN if schema["name"] == "Unknown" else _text(headers.get("type")))
            if homes.get((gateway, known), topic) == topic:
                found.records += 1
                found.profiler.take(gateway, kind, schema, data, type=known, received=received)
    finally:
        sweep.close()
    found.seconds = time.monotonic() - began
    return found


def _text(given: object) -> str:
    return given.decode(errors="replace") if isinstance(given, bytes) else str(given or "")


def _number(given: object) -> int | None:
    text = _text(given)
    return int(text) if text.isascii() and text.isdigit() else None
