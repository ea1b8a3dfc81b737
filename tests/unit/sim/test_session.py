"""PredictStreet's commands and rejections, without a socket (contract 2.3, 2.4)."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import pytest

from bridge.sim import PREDICTSTREET_SCOPES, Key, PredictStreetKnobs
from bridge.sim.session import MAX_IDS, MAX_SUBSCRIPTIONS, Reply, Session

KEY = Key(token="k", scopes=PREDICTSTREET_SCOPES)
CONDITION = "0x" + "ab" * 32


def session(gateway: Literal["market", "user"] = "market", key: Key = KEY, **knobs: Any) -> Session:
    """A session without subscriptions."""
    return Session(gateway, PredictStreetKnobs(**knobs), key, clock=lambda: 1000)


def told(each: Session, verb: str, ident: Any = 1, **params: Any) -> dict[str, Any]:
    """The one answer to a command."""
    answer: dict[str, Any] = msgspec.json.decode(asked(each, verb, ident, **params).messages[0])
    return answer


def asked(each: Session, verb: str, ident: Any = 1, **params: Any) -> Reply:
    """The whole reply to a command."""
    return each.receive(msgspec.json.encode({"id": ident, "cmd": verb, "params": params}).decode())


def rejection(each: Session, entry: Any) -> str:
    """The code that an entry is rejected with."""
    answer = told(each, "subscribe", subscriptions=[entry])
    assert answer["accepted"] == []
    (rejected,) = answer["rejected"]
    assert rejected["message"].startswith(f"{rejected['code']}: ")
    return str(rejected["code"])


def test_success_may_be_partial() -> None:
    """Good entries are accepted, one sid each from 1, bad ones rejected with code and message, in one answer."""
    each = session()
    answer = told(
        each, "subscribe", 42,
        subscriptions=[{"channel": "token_book", "ids": ["7"]}, {"channel": "nope"}, {"channel": "system", "ids": ["platform_status"]}],
    )  # fmt: skip
    assert answer["id"] == 42
    assert answer["type"] == "subscribed"
    assert [(row["sid"], row["channel"]) for row in answer["accepted"]] == [(1, "token_book"), (2, "system")]
    assert [row["code"] for row in answer["rejected"]] == ["invalid_params"]
    assert answer["serverTs"] == 1000


def test_ids_are_normalised() -> None:
    """Leading zeroes go, hex is lower case, repetitions are removed."""
    each = session()
    answer = told(
        each, "subscribe", subscriptions=[{"channel": "token_book", "ids": ["007", "7", "8"]}, {"channel": "condition_lifecycle", "ids": [CONDITION.upper().replace("0X", "0x")]}]
    )  # fmt: skip
    assert [row["ids"] for row in answer["accepted"]] == [["7", "8"], [CONDITION]]
    assert each.sids("token_book", "7") == [1]


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        ({"channel": "nope", "ids": ["1"]}, "invalid_params"),
        ({"channel": "token_trades", "ids": ["1"]}, "invalid_params"),
        ({"channel": "token_book"}, "invalid_params"),
        ({"channel": "token_book", "ids": ["0x12"]}, "invalid_params"),
        ({"channel": "token_book", "ids": [7]}, "invalid_params"),
        ({"channel": "token_book", "ids": [str(1 << 256)]}, "invalid_params"),
        ({"channel": "condition_lifecycle", "ids": ["0x12"]}, "invalid_params"),
        ({"channel": "system", "ids": ["weather"]}, "invalid_params"),
        ({"channel": "user_fills"}, "forbidden"),
        ({"channel": "token_book", "ids": [str(n) for n in range(101)]}, "subscription_too_many_ids"),
        ("token_book", "invalid_params"),
    ],
)
def test_rejections_of_generation_2(entry: Any, code: str) -> None:
    """Each with the documented code."""
    assert rejection(session(), entry) == code


@pytest.mark.parametrize(
    ("codes", "channel", "ids"),
    [("concepts", "unknown_channel", "invalid"), ("reference", "invalid_params", "invalid_params")],
)
def test_rejections_of_generation_1(codes: Literal["concepts", "reference"], channel: str, ids: str) -> None:
    """Generation 1's pages disagree about codes: either set."""
    each = session(generation=1, g1_codes=codes)
    assert rejection(each, {"channel": "token_trade_matches", "ids": ["1"]}) == channel
    assert rejection(each, {"channel": "token_book", "ids": ["x"]}) == ids
    assert rejection(each, {"channel": "user_activity"}) == "forbidden"


def test_scopes_on_the_private_gateway() -> None:
    """A private channel needs portfolio:read; a bearer needs none; ids are not allowed where the wallet is the scope."""
    assert (
        rejection(session("user", Key(token="k", scopes=frozenset())), {"channel": "user_fills"})
        == "api_key_scope_missing"
    )
    assert (
        told(
            session("user", Key(token="j", scopes=frozenset(), bearer=True)),
            "subscribe",
            subscriptions=[{"channel": "user_fills"}],
        )["rejected"]
        == []
    )
    assert rejection(session("user"), {"channel": "user_fills", "ids": ["1"]}) == "invalid_params"
    assert rejection(session("user"), {"channel": "token_book", "ids": ["1"]}) == "forbidden"


def test_the_257th_subscription_is_rejected_and_the_others_stay() -> None:
    """256 subscriptions a connection; unsubscribing makes room."""
    each = session()
    entries = [{"channel": "token_book", "ids": [str(n)]} for n in range(MAX_SUBSCRIPTIONS + 1)]
    answer = told(each, "subscribe", subscriptions=entries)
    assert len(answer["accepted"]) == MAX_SUBSCRIPTIONS
    assert [row["code"] for row in answer["rejected"]] == ["subscription_cap_exceeded"]
    told(each, "unsubscribe", sids=[1])
    assert told(each, "subscribe", subscriptions=entries[:1])["accepted"][0]["sid"] == MAX_SUBSCRIPTIONS + 1


def test_generation_1_knows_no_limits() -> None:
    """Neither cap is documented there."""
    each = session(generation=1)
    many = [str(n) for n in range(MAX_IDS + 1)]
    answer = told(each, "subscribe", subscriptions=[{"channel": "token_trades", "ids": many}] * (MAX_SUBSCRIPTIONS + 1))
    assert answer["rejected"] == []


def test_update_adds_and_removes_ids() -> None:
    """New ids of a book get snapshots; removed ids get no more pushes; more than 100 are refused whole."""
    each = session()
    told(each, "subscribe", subscriptions=[{"channel": "token_book", "ids": ["1", "2"]}])
    reply = asked(each, "update_subscription", sid=1, add_ids=["2", "3"], remove_ids=["1"])
    assert msgspec.json.decode(reply.messages[0])["ids"] == ["2", "3"]
    assert reply.snapshots == [(1, "3")]
    assert (each.sids("token_book", "1"), each.sids("token_book", "3")) == ([], [1])
    answer = told(each, "update_subscription", sid=1, add_ids=[str(n) for n in range(10, 109)])
    assert (answer["type"], answer["code"]) == ("error", "subscription_too_many_ids")
    assert told(each, "update_subscription", sid=99, add_ids=["1"])["code"] == "invalid_params"


def test_unsubscribe_is_idempotent() -> None:
    """Only sids really removed are listed; unknown ones are ignored."""
    each = session()
    told(each, "subscribe", subscriptions=[{"channel": "token_book", "ids": ["1"]}])
    assert told(each, "unsubscribe", sids=[1, 5])["sids"] == [1]
    assert told(each, "unsubscribe", sids=[1, 5])["sids"] == []
    assert each.routes == {}


def test_list_subscriptions() -> None:
    """What is subscribed, with sids and ids."""
    each = session()
    told(each, "subscribe", subscriptions=[{"channel": "token_book", "ids": ["1"]}])
    assert told(each, "list_subscriptions")["subscriptions"] == [{"sid": 1, "channel": "token_book", "ids": ["1"]}]


def test_get_book_snapshot_is_of_generation_2() -> None:
    """It asks again for the books of a token_book subscription; generation 1 has no such command."""
    each = session()
    told(
        each,
        "subscribe",
        subscriptions=[{"channel": "token_book", "ids": ["1", "2"]}, {"channel": "token_ohlc", "ids": ["1"]}],
    )
    assert asked(each, "get_book_snapshot", sid=1).snapshots == [(1, "1"), (1, "2")]
    assert asked(each, "get_book_snapshot", sid=1, ids=["2", "9"]).snapshots == [(1, "2")]
    assert told(each, "get_book_snapshot", sid=2)["type"] == "error"
    assert told(session(generation=1), "get_book_snapshot", sid=1)["type"] == "error"


def test_sids_may_begin_elsewhere() -> None:
    """The documentation's own example begins at 10."""
    assert (
        told(session(first_sid=10), "subscribe", subscriptions=[{"channel": "token_book", "ids": ["1"]}])["accepted"][
            0
        ]["sid"]
        == 10
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "17",
        '{"cmd":1}',
        '{"cmd":"subscribe"}',
        '{"cmd":"subscribe","params":[]}',
        '{"cmd":"unsubscribe","params":{"sids":3}}',
    ],
)
def test_bad_messages_get_errors(text: str) -> None:
    """No message is left without an answer."""
    assert msgspec.json.decode(session().receive(text).messages[0])["type"] == "error"


def test_server_ts_can_be_left_out() -> None:
    """Contract 7.12: some pages know no serverTs."""
    assert "serverTs" not in told(session(server_ts=False), "ping")
    assert "serverTs" not in told(session(generation=1), "ping")


def test_a_gateway_that_forgets_says_nothing_of_it() -> None:
    """Every so many-th subscription is accepted and not held: only the list tells."""
    each = session(forgets=2)
    entries = [{"channel": "token_book", "ids": [str(n)]} for n in range(1, 4)]
    assert len(told(each, "subscribe", subscriptions=entries)["accepted"]) == 3
    assert [row["sid"] for row in told(each, "list_subscriptions")["subscriptions"]] == [1, 3]


@pytest.mark.parametrize("verb", ["update_subscription", "unsubscribe", "list_subscriptions", "get_book_snapshot"])
def test_a_gateway_may_spell_what_is_not_documented_otherwise(verb: str) -> None:
    """Then our spelling gets an error, or no answer; `subscribe` and `ping` are served."""
    few, mute = session(commands="fewest"), session(commands="mute")
    assert told(few, verb)["type"] == "error"
    assert asked(mute, verb).messages == []
    assert told(mute, "ping")["type"] == "pong"


@pytest.mark.parametrize(("generation", "greets", "version"), [(1, 2, 2), (2, 1, None), (2, None, 2), (1, None, None)])
def test_a_greeting_may_lie(generation: Literal[1, 2], greets: Literal[1, 2] | None, version: int | None) -> None:
    """Told is one generation, served the other."""
    greeting = msgspec.json.decode(session(generation=generation, greets=greets).greeting())
    assert greeting["data"].get("protocolVersion") == version
