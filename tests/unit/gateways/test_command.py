"""bridge.gateways.command: from what is held to what is wanted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.gateways.command import (
    Add,
    Command,
    GetBookSnapshot,
    ListSubscriptions,
    Ping,
    Remove,
    Subscribe,
    Unsubscribe,
    difference,
)
from bridge.gateways.subscriptions import Subscription, pairs, split
from bridge.sim import PREDICTSTREET_SCOPES, Key, PredictStreetKnobs
from bridge.sim.session import Session

_TOKENS = st.lists(st.integers(1, 400).map(str), max_size=250, unique=True)
_WISHES = st.builds(
    lambda books, ohlc, *, system: [
        *([Subscription("token_book", tuple(books))] if books else []),
        *([Subscription("token_ohlc", tuple(ohlc))] if ohlc else []),
        *([Subscription("system", ("platform_status",))] if system else []),
    ],
    _TOKENS,
    _TOKENS,
    system=st.booleans(),
)


def session() -> Session:
    """A gateway's side of a connection, generation 2."""
    return Session("market", PredictStreetKnobs(), Key(token="k", scopes=PREDICTSTREET_SCOPES), clock=lambda: 0)


def say(there: Session, commands: list[Command]) -> None:
    """Send commands; each must succeed."""
    for ident, command in enumerate(commands, 1):
        (raw,) = there.receive(command.text(ident)).messages
        told = json.loads(raw)
        assert told["id"] == ident
        assert told["type"] != "error", told
        assert not told.get("rejected"), told


def held(there: Session) -> dict[int, Subscription]:
    """What a connection holds by the gateway's own account."""
    return {sid: Subscription(each.channel, tuple(each.ids)) for sid, each in there.subscriptions.items()}


def brought(subscriptions: list[Subscription]) -> list[tuple[str, str]]:
    """Each channel and id, as often as it is brought."""
    return sorted(pair for each in subscriptions for pair in pairs(each))


@given(st.lists(_WISHES, min_size=1, max_size=4))
def test_the_gateway_holds_what_is_wanted_after_any_chain_of_changes(wishes: list[list[Subscription]]) -> None:
    """Each id once, within the limits of 100 ids; nothing is asked where nothing changed."""
    there = session()
    for wanted in wishes:
        say(there, difference(held(there), wanted))
        assert brought(list(held(there).values())) == brought(split(wanted))
        assert difference(held(there), wanted) == []


@given(_WISHES, _WISHES)
def test_what_stays_wanted_is_not_touched(before: list[Subscription], after: list[Subscription]) -> None:
    """No command takes an id away that is wanted: no frame of it could be missed."""
    there = session()
    say(there, difference({}, before))
    stays = set(brought(before)) & set(brought(after))
    sids = {pair: sid for sid, each in held(there).items() for pair in pairs(each)}
    for command in difference(held(there), after):
        say(there, [command])
        now = {pair: sid for sid, each in held(there).items() for pair in pairs(each)}
        assert all(now.get(pair) == sids[pair] for pair in stays)


def test_room_in_a_subscription_is_used_before_another_is_made() -> None:
    """100 ids each (contract 2.4)."""
    before = {4: Subscription("token_book", tuple(str(number) for number in range(1, 99)))}
    wanted = [Subscription("token_book", tuple(str(number) for number in range(1, 103)))]
    assert difference(before, wanted) == [
        Add(4, "token_book", ("99", "100")),
        Subscribe((Subscription("token_book", ("101", "102")),)),
    ]


def test_an_id_held_twice_is_held_once_afterwards() -> None:
    """Two sids for one id may bring every frame twice (contract 8.3)."""
    before = {1: Subscription("token_book", ("1", "2")), 2: Subscription("token_book", ("2", "3"))}
    assert difference(before, [Subscription("token_book", ("1", "2", "3"))]) == [Remove(2, "token_book", ("2",))]


def test_what_has_no_sid_counts_as_held_and_is_left() -> None:
    """A gateway that tells no sid can't be asked to change it."""
    before = {-1: Subscription("token_book", ("1", "2"))}
    assert difference(before, [Subscription("token_book", ("1", "3"))]) == [
        Subscribe((Subscription("token_book", ("3",)),))
    ]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (Ping(), {"cmd": "ping"}),
        (ListSubscriptions(), {"cmd": "list_subscriptions"}),
        (
            Subscribe((Subscription("token_book", ("1",)), Subscription("user_fills"))),
            {
                "cmd": "subscribe",
                "params": {"subscriptions": [{"channel": "token_book", "ids": ["1"]}, {"channel": "user_fills"}]},
            },
        ),
        (Add(3, "token_book", ("1",)), {"cmd": "update_subscription", "params": {"sid": 3, "add_ids": ["1"]}}),
        (Remove(3, "token_book", ("1",)), {"cmd": "update_subscription", "params": {"sid": 3, "remove_ids": ["1"]}}),
        (Unsubscribe((3, 4)), {"cmd": "unsubscribe", "params": {"sids": [3, 4]}}),
        (GetBookSnapshot(3, ("1",)), {"cmd": "get_book_snapshot", "params": {"sid": 3, "ids": ["1"]}}),
    ],
)
def test_commands_as_the_contract_spells_them(command: Command, message: dict[str, Any]) -> None:
    """Section 2.3; `params` is left out where there is nothing to say."""
    assert json.loads(command.text(7)) == {"id": 7, **message}
