"""What must be there before lanes can start: topics, and what goes before the Avro bytes in each of them. Blocking calls."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import structlog

from bridge import kafka, topics
from bridge.codec import SINGLE_OBJECT, fingerprint
from bridge.errors import ConfigError
from bridge.gateways import kinds
from bridge.pipeline import HEADROOM, MAX_VALUE
from bridge.route import Route
from bridge.topics import Role

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bridge.catalog import Catalog
    from bridge.config import Config
    from bridge.topics import TopicPlan, TopicState

log = structlog.get_logger(__name__)


class Grounds(NamedTuple):
    """What must be known before lanes can start.

    partitions: of the ledger. framing: (topic, type) → what goes before the Avro bytes. limits: largest value (bytes) that
    each topic takes, where that is known.
    """

    limits: Mapping[str, int]
    partitions: int
    framing: Mapping[tuple[str, str], bytes]


def framing(config: Config, plan: list[TopicPlan]) -> dict[tuple[str, str], bytes]:
    """(topic, type) → what goes before the Avro bytes: schema id or fingerprint."""
    subjects = topics.subjects(plan)
    if config.registry is None:
        return {(each.topic, each.type): SINGLE_OBJECT + fingerprint(each.schema) for each in subjects}
    from bridge.registry import Registry  # its client takes long to import, and many have no registry

    with Registry(config.registry, cache=Path(config.journal.path)) as registry:
        ids = registry.resolve_all(plan)
    return {(each.topic, each.type): b"\0" + ids[each.subject].to_bytes(4, "big") for each in subjects}


def ensure_topics(config: Config, plan: list[TopicPlan]) -> tuple[dict[str, int], int]:
    """Make missing topics, where the configuration lets us.

    Returns the largest record value (bytes) that each topic takes, where that can be seen, and the partitions of the
    ledger.
    """
    admin = kafka.Admin(config)
    states = (topics.apply if config.topics.create else topics.compare)(admin, plan)
    for state in states:
        if state.unusable is not None:
            raise ConfigError(state.unusable, where=f"topic {state.plan.name}")
        for line in (*state.differences, *state.notes):
            log.warning("topic_differs", topic=state.plan.name, difference=line)
    counts = Counter(state.state for state in states)
    if counts["hidden"]:
        raise topics.unseen(next(state.plan.name for state in states if state.state == "hidden"))
    if counts["missing"]:
        first = next(state.plan.name for state in states if state.state == "missing")
        more = f" and {counts['missing'] - 1} more" if counts["missing"] > 1 else ""
        raise ConfigError(f"topic {first}{more} missing", where="kafka", mend="run `feedbridge topics apply`")
    log.info("topics", **counts)
    ledger = next(state for state in states if state.plan.role is Role.LEDGER)
    return limits(states), ledger.partitions or config.lanes.count


def limits(states: Iterable[TopicState]) -> dict[str, int]:
    """The largest record value (bytes) that each topic takes, where that can be seen."""
    return {
        state.plan.name: min(state.limit - min(HEADROOM, state.limit // 4), MAX_VALUE)
        for state in states
        if state.limit is not None
    }


def topics_of(
    gateway: str, plan: list[TopicPlan], found: Mapping[tuple[str, str], bytes]
) -> dict[str, list[tuple[str, bytes]]]:
    """Type → its topics with their framing. found: see `framing`."""
    types: dict[str, list[tuple[str, bytes]]] = defaultdict(list)
    for topic in plan:
        if topic.gateway == gateway and topic.role is Role.DATA:
            for name in topic.types:
                types[name].append((topic.name, found.get((topic.name, name), b"")))
    return dict(types)


def routes(
    config: Config, catalog: Catalog, plan: list[TopicPlan], found: Mapping[tuple[str, str], bytes]
) -> list[Route]:
    """What the pipeline must know of each gateway. found: see `framing`."""
    return [
        Route(
            gateway=name,
            kind=catalog.kind(settings.kind),
            control=kinds()[settings.kind].control,
            topics=topics_of(name, plan, found),
            dead_letters=topics.dead_letters_name(config, name),
            owner=kinds()[settings.kind].owner,
        )
        for name, settings in config.gateways.items()
    ]
