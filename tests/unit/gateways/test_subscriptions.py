"""bridge.gateways.subscriptions: splitting, naming, and reading answers."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.gateways.subscriptions import (
    GENERATIONS,
    IDS_PER_COMMAND,
    IDS_PER_SUBSCRIPTION,
    SUBSCRIPTIONS_PER_CONNECTION,
    Accepted,
    Generation,
    Rejected,
    Subscription,
    groups,
    normal,
    plan,
    replan,
    settle,
    translate,
)

CHANNELS = ["token_trades", "token_trade_matches", "token_book", "condition_status", "condition_lifecycle", "system"]
wishes = st.lists(
    st.builds(
        lambda channel, first, count: Subscription(channel, tuple(str(first + index) for index in range(count))),
        st.sampled_from(CHANNELS),
        st.integers(1, 400),
        st.sampled_from([1, 2, 99, 100, 101, 250]),
    ),
    min_size=1,
    max_size=5,
)
generations = st.sampled_from([1, 2, None])


def flat(subscriptions: list[Subscription]) -> Counter[tuple[str, str]]:
    """Each id of each channel, and how often."""
    return Counter((each.channel, entity) for each in subscriptions for entity in each.ids)


@given(wishes, generations)
def test_no_limit_is_broken_and_nothing_wanted_is_left_out(
    wanted: list[Subscription], known: Generation | None
) -> None:
    """Whatever is asked for and whichever generation answers: 100 ids, 256 subscriptions, each id once per channel."""
    asked: tuple[Generation, ...] = (1, 2) if known is None else (known,)
    for generation in asked:
        everything: Counter[tuple[str, str]] = Counter()
        for connection in plan(wanted, generation=known):
            said = translate(connection, generation)
            assert 0 < len(said) <= SUBSCRIPTIONS_PER_CONNECTION
            assert all(0 < len(each.ids) <= IDS_PER_SUBSCRIPTION for each in said)
            everything += flat(said)
        assert set(everything) == set(flat(translate(wanted, generation)))
        if known is not None:
            assert set(everything.values()) == {1}


@pytest.mark.parametrize("generation", [1, 2])
def test_forty_thousand_ids_take_as_many_connections_as_needed(generation: Generation) -> None:
    """25,600 ids fit one connection (contract 6)."""
    wanted = [Subscription("token_book", tuple(str(number) for number in range(1, 40_001)))]
    assert [len(connection) for connection in plan(wanted, generation=generation)] == [256, 144]


def test_room_is_kept_for_a_channel_that_became_two() -> None:
    """Where the generation is not known yet, token_trades counts twice."""
    wanted = [Subscription("token_trades", tuple(str(number) for number in range(1, 20_001)))]
    assert [len(connection) for connection in plan(wanted, generation=None)] == [128, 72]
    assert [len(translate(connection, 2)) for connection in plan(wanted, generation=None)] == [256, 144]


@pytest.mark.parametrize(
    ("channel", "generation", "named"),
    [
        ("token_trades", 1, ["token_trades"]),
        ("token_trades", 2, ["token_trade_matches", "token_trade_settlements"]),
        ("token_trade_matches", 1, ["token_trades"]),
        ("token_trade_settlements", 1, ["token_trades"]),
        ("token_trade_matches", 2, ["token_trade_matches"]),
        ("condition_status", 2, ["condition_lifecycle"]),
        ("condition_lifecycle", 1, ["condition_status"]),
        ("token_book", 1, ["token_book"]),
        ("token_ohlc", 1, ["token_ohlc"]),
        ("user_activity", 2, ["user_orders", "user_fills"]),
        ("vault_positions", 1, ["vault_activity"]),
        ("all_trades", 2, ["all_trades"]),
    ],
)
def test_channel_names_by_generation(channel: str, generation: Generation, named: list[str]) -> None:
    """Renamed both ways (contract 3.1, 3.2); a name that nobody knows is left for the gateway to judge."""
    assert [each.channel for each in translate([Subscription(channel, ("1",))], generation)] == named


def test_two_names_of_one_channel_become_one_subscription() -> None:
    """Else every trade of generation 1 would come twice."""
    both = [Subscription("token_trade_matches", ("1", "2")), Subscription("token_trade_settlements", ("2", "3"))]
    assert translate(both, 1) == [Subscription("token_trades", ("1", "2", "3"))]


def test_a_channel_without_ids_is_one_subscription() -> None:
    """Wallet channels take none."""
    assert translate([Subscription("user_activity")], 2) == [Subscription("user_orders"), Subscription("user_fills")]
    assert plan([Subscription("user_activity")], generation=1) == [[Subscription("user_activity")]]


@pytest.mark.parametrize(
    ("channel", "given_id", "written"),
    [
        ("token_book", "00123", "123"),
        ("token_book", "0", "0"),
        ("condition_status", "0xABcd", "0xabcd"),
        ("system", "Platform", "Platform"),
    ],
)
def test_ids_are_written_as_the_gateway_does(channel: str, given_id: str, written: str) -> None:
    """So that answers and frames can be compared with what was asked (contract 2.3)."""
    assert normal(channel, given_id) == written


@given(wishes)
def test_commands_stay_short_and_keep_everything(wanted: list[Subscription]) -> None:
    """At most a thousand ids in one command."""
    pieces = plan(wanted, generation=2)[0]
    said = groups(pieces)
    assert [each for group in said for each in group] == pieces
    assert all(sum(len(each.ids) for each in group) <= IDS_PER_COMMAND for group in said)


BOOK = Subscription("token_book", ("1", "2", "3"))
TRADES = Subscription("token_trades", ("1", "2"))


def test_an_answer_that_accepts_all_refuses_nothing() -> None:
    """Also where ids are not echoed, or come back in another order and form."""
    accepted = [Accepted("token_trades", 2), Accepted("token_book", 1, ["3", "01", "2"])]
    assert settle([BOOK, TRADES], accepted, []).refused == []


def test_a_rejection_that_names_nothing_belongs_to_what_was_not_accepted() -> None:
    """Only code and message are documented (contract 2.3)."""
    found = settle(
        [BOOK, TRADES], [Accepted("token_trades", 1, ["1", "2"])], [Rejected("forbidden", "forbidden: no")]
    ).refused
    assert [(each.subscription, each.code, each.lasting) for each in found] == [(BOOK, "forbidden", True)]


def test_rejections_that_name_their_channel_keep_their_reasons_apart() -> None:
    """In whatever order they come."""
    rejected = [Rejected("busy", "try later"), Rejected("invalid_params", "bad id", "token_trades", ["1", "2"])]
    found = {each.subscription: each for each in settle([BOOK, TRADES], [], rejected).refused}
    assert (found[TRADES].code, found[TRADES].lasting) == ("invalid_params", True)
    assert (found[BOOK].code, found[BOOK].lasting) == ("busy", False)


def test_ids_that_were_left_out_of_an_accepted_entry_are_named() -> None:
    """A part that is neither accepted nor rejected does not go unnoticed."""
    found = settle([BOOK], [Accepted("token_book", 1, ["1", "3"])], []).refused
    assert [(each.subscription.ids, each.code) for each in found] == [(("2",), "unconfirmed")]


def test_two_entries_of_one_channel_are_told_apart_by_their_ids() -> None:
    """As a split subscription is answered."""
    other = Subscription("token_book", ("7", "8"))
    found = settle([BOOK, other], [Accepted("token_book", 1, ["7", "8"])], [Rejected("busy")]).refused
    assert [each.subscription for each in found] == [BOOK]


@given(st.lists(wishes, min_size=2, max_size=4), generations)
def test_a_plan_that_changes_keeps_what_stays_where_it_is(
    chain: list[list[Subscription]], known: Generation | None
) -> None:
    """No limit is broken, nothing wanted is left out, and no id moves to another connection."""
    connections = plan(chain[0], generation=known)
    for wanted in chain[1:]:
        before = [set(flat(each)) for each in connections]
        connections = replan(connections, wanted, generation=known)
        everything = Counter(pair for each in connections for pair in flat(each))
        assert set(everything) == {pair for part in plan(wanted, generation=known) for pair in flat(part)}
        assert set(everything.values()) == {1}
        for old, new in zip(before, connections, strict=False):
            assert old & set(everything) <= set(flat(new))
        for connection in connections:
            for generation in GENERATIONS if known is None else (known,):
                assert len(translate(connection, generation)) <= SUBSCRIPTIONS_PER_CONNECTION


def test_new_wishes_fill_what_room_there_is_then_open_connections() -> None:
    """As `plan` does from the start."""
    tokens = tuple(str(number) for number in range(1, 30_001))
    connections = plan([Subscription("token_book", tokens[:20_000])], generation=2)
    connections = replan(connections, [Subscription("token_book", tokens)], generation=2)
    assert [sum(len(each.ids) for each in connection) for connection in connections] == [25_600, 4_400]
    connections = replan(connections, [Subscription("token_book", tokens[-10:])], generation=2)
    assert [sum(len(each.ids) for each in connection) for connection in connections] == [0, 10]


@pytest.mark.parametrize(
    ("code", "lasting"),
    [
        ("invalid_params", True),
        ("invalid", True),
        ("unknown_channel", True),
        ("forbidden", True),
        ("api_key_scope_missing", True),
        ("subscription_too_many_ids", True),
        ("subscription_cap_exceeded", False),
        ("rate_limited", False),
    ],
)
def test_what_a_key_is_refused_for_good(code: str, lasting: bool) -> None:  # noqa: FBT001 - a table
    """Contract 2.4: route on the code. A full connection has room later, and what is not documented may pass."""
    (refusal,) = settle([BOOK], [], [Rejected(code, f"{code}: because")]).refused
    assert refusal.lasting is lasting
