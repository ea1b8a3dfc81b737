"""bridge.gateways.answer: reading what is documented, and what can be read of the rest."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from bridge.gateways.answer import Answer, answer, greeting, ident, kind, subscribed
from bridge.gateways.subscriptions import Rejected, Subscription


def raw(message: Any) -> bytes:
    """A message as it goes over the wire."""
    return json.dumps(message).encode()


def test_a_greeting_may_lack_everything() -> None:
    """Generation 1 says no version."""
    assert greeting(b'{"type":"connected"}').protocolVersion is None
    assert greeting(raw({"type": "connected", "data": {"protocolVersion": 2, "new": []}})).protocolVersion == 2


def test_the_documented_answer_is_read_strictly() -> None:
    """Better a new try, with its reason, than a guess."""
    told = subscribed(raw({"id": 3, "type": "subscribed", "accepted": [{"sid": 1, "channel": "c"}], "rejected": []}))
    assert (told.id, told.accepted[0].sid) == (3, 1)
    with pytest.raises(msgspec.MsgspecError):
        subscribed(raw({"id": 3, "accepted": [{"sid": "one", "channel": "c"}]}))


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ({"type": "error", "code": "busy", "message": "later"}, Rejected("busy", "later")),
        ({"type": "error", "code": 7}, Rejected("7")),
        ({"type": "error", "error": {"code": "busy", "message": "later"}}, Rejected("busy", "later")),
        ({"type": "error"}, Rejected("error")),
        ({"type": "x", "rejected": [{"code": "forbidden"}]}, Rejected("forbidden")),
        ({"type": "x", "rejected": []}, None),
        ({"type": "subscription_updated", "sid": 1, "ids": ["1"]}, None),
    ],
)
def test_a_refusal_is_known_in_several_shapes(message: Any, error: Rejected | None) -> None:
    """How an error looks is not documented (contract 2.4)."""
    assert answer(raw(message)).error == error


@pytest.mark.parametrize(
    "message",
    [
        {"type": "subscriptions", "subscriptions": [{"sid": 1, "channel": "token_book", "ids": ["01"]}]},
        {"type": "x", "accepted": [{"sid": 1, "channel": "token_book", "ids": ["1"], "more": 1}]},
        {"type": "x", "data": {"subscriptions": [{"sid": 1, "channel": "token_book", "ids": ["1"]}]}},
        {"type": "x", "data": [{"sid": 1, "channel": "token_book", "ids": ["1"]}]},
    ],
)
def test_a_list_of_subscriptions_is_found_wherever_it_lies(message: Any) -> None:
    """Its shape is not documented (contract 8.3); ids are compared as the gateway writes them."""
    assert answer(raw(message)).listed == {1: Subscription("token_book", ("1",))}


@pytest.mark.parametrize(
    "message",
    [
        {"type": "subscriptions"},
        {"type": "x", "subscriptions": ["token_book"]},
        {"type": "x", "subscriptions": [{"channel": "token_book"}]},
        {"type": "x", "subscriptions": [{"sid": 1, "channel": "token_book", "ids": "1"}]},
        [],
    ],
)
def test_a_list_that_can_not_be_read_is_none(message: Any) -> None:
    """It confirms nothing, and denies nothing."""
    assert answer(raw(message)).listed is None


def test_rubbish_is_an_answer_without_anything() -> None:
    """Whoever asked does without."""
    assert answer(b"\xff") == Answer()


@pytest.mark.parametrize(
    ("message", "number", "type_"),
    [
        (b'{"type":"x","id":7}', 7, "x"),
        (b'{"type":"trade","id":"7"}', None, "trade"),
        (b'{"type":1,"id":true}', None, ""),
        (b"{", None, ""),
    ],
)
def test_an_answer_names_a_number_and_a_push_a_text(message: bytes, number: int | None, type_: str) -> None:
    """So they are told apart whatever their types (contract 2.2)."""
    assert (ident(message), kind(message)) == (number, type_)
