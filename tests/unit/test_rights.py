"""The rights of a use follow from configuration and topics: all that it takes, nothing that another right implies."""

from __future__ import annotations

import pytest

from bridge.catalog import Catalog
from bridge.config import Config
from bridge.rights import Kind, Operation, Right, Use, of_topic, rights
from bridge.topics import Role, plan, select
from tests.installation import installation

CATALOG = Catalog.load()
TWO = {"cs2": "ticktock", "wallet": "predictstreet-user"}


def found(
    *uses: Use, config: Config | None = None, words: tuple[str, ...] = (), group: str | None = None
) -> list[Right]:
    """The rights of these uses."""
    config = config or installation(TWO, prefix="p.", create=False)
    topics = plan(config, CATALOG)
    read = select(topics, words) if Use.READ in uses else ()
    return rights(config, topics, uses, read=read, group=group)


def words(rights_: list[Right]) -> dict[str, str]:
    """Name → operations."""
    return {each.name: " ".join(sorted(each.operations)) for each in rights_}


def test_a_run_writes_and_reads_what_it_must() -> None:
    """Records are written; the ledger, requests and dead letters are read too; nothing is made."""
    given = words(found(Use.RUN))
    assert given["p.cs2.match.updated"] == "DescribeConfigs Write"
    assert given["p.wallet.dead-letters"] == "DescribeConfigs Read Write"
    assert given["p.feedbridge.main.gaps"] == "DescribeConfigs Write"
    assert given["p.feedbridge.main.ledger"] == "DescribeConfigs Read Write"
    assert given["p.feedbridge.main.requests"] == "DescribeConfigs Read Write"
    assert given["p.feedbridge.main."] == "Write"
    assert "" not in given
    assert "Create" not in " ".join(given.values())


def test_a_run_that_makes_topics_may_make_them() -> None:
    """`topics.create`; lanes may become more; and the replicas that a topic will have must be seen unless they are given."""
    given = words(found(Use.RUN, config=installation(TWO, create=True)))
    assert given["cs2.match.updated"] == "Create DescribeConfigs Write"
    assert given["feedbridge.main.ledger"] == "Alter Create DescribeConfigs Read Write"
    assert given[""] == "DescribeConfigs"
    assert "" not in words(found(Use.RUN, config=installation(TWO, create=True, replication_factor=3)))


def test_transactional_ids_are_those_of_the_installation() -> None:
    """By prefix: lanes, those of older plans, and `check`; never those of an installation whose name begins alike."""
    [right] = [each for each in found(Use.RUN) if each.kind is Kind.TRANSACTIONAL_ID]
    assert (right.name, right.prefixed) == ("p.feedbridge.main.", True)
    for use in (Use.FILL, Use.REPLAY):
        [right] = [each for each in found(use) if each.kind is Kind.TRANSACTIONAL_ID]
        assert right.name == "p.feedbridge.main.requests-", "whoever asks for something can't fence a lane"


@pytest.mark.parametrize(
    ("use", "role", "operations"),
    [
        (Use.APPLY, Role.DATA, "Create Describe DescribeConfigs"),
        (Use.APPLY, Role.LEDGER, "Alter Create DescribeConfigs"),
        (Use.VERIFY, Role.DATA, "Read"),
        (Use.VERIFY, Role.LEDGER, "Read"),
        (Use.READ, Role.DEAD_LETTERS, "Read"),
        (Use.FILL, Role.DATA, ""),
        (Use.FILL, Role.GAPS, "Read"),
        (Use.FILL, Role.REQUESTS, "Write"),
        (Use.FILL, Role.DEAD_LETTERS, ""),
        (Use.REPLAY, Role.DATA, ""),
        (Use.REPLAY, Role.DEAD_LETTERS, "Read"),
        (Use.REPLAY, Role.LEDGER, "Read"),
        (Use.REPLAY, Role.REQUESTS, "Read Write"),
    ],
)
def test_others_have_less(use: Use, role: Role, operations: str) -> None:
    """Whoever makes topics neither reads nor writes them; whoever reads does not write."""
    config = installation(TWO)
    topic = next(each for each in plan(config, CATALOG) if each.role is role)
    assert " ".join(sorted(of_topic(config, topic, use))) == operations


def test_readers_get_what_they_name() -> None:
    """A gateway's data, in a group if they say so; private topics are marked."""
    given = found(Use.READ, words=("cs2",), group="odds")
    assert {each.name.split(".")[1] for each in given if each.kind is Kind.TOPIC} == {"cs2"}
    assert [(each.name, each.operations) for each in given if each.kind is Kind.GROUP] == [
        ("odds", frozenset({Operation.READ}))
    ]
    assert not any(each.private for each in given)
    assert all(each.private for each in found(Use.READ, words=("wallet",)))


def test_uses_add_up_without_what_is_implied() -> None:
    """One user for several uses: a right once, Describe only where nothing implies it."""
    given = found(Use.RUN, Use.APPLY, Use.VERIFY)
    assert len({(each.kind, each.name) for each in given}) == len(given)
    assert words(given)["p.cs2.match.updated"] == "Create DescribeConfigs Read Write"
    assert words(given)["p.feedbridge.main.requests"] == "Create DescribeConfigs Read Write"
