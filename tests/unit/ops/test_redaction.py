"""Secrets never get through as text."""

from __future__ import annotations

import json
import timeit
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.ops.redaction import LONGEST, MASK, Redactor

SECRET = 's3cr3t/"key"&+é\\'


@pytest.fixture
def redactor() -> Redactor:
    """Return a redactor that knows one awkward secret."""
    made = Redactor()
    made.add(SECRET)
    return made


@pytest.mark.parametrize(
    "spelling",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        repr(SECRET)[1:-1],
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
    ],
)
def test_known_secret_is_masked_in_every_spelling(redactor: Redactor, spelling: str) -> None:
    """A registered value is masked as it stands, in URLs, in JSON and in literals."""
    assert redactor.known(f"before {spelling} after") == f"before {MASK} after"


@given(secret=st.text(min_size=1, max_size=40).filter(str.strip), before=st.text(), after=st.text())
def test_no_known_secret_survives(secret: str, before: str, after: str) -> None:
    """Wherever a registered value of four characters or more stands, it is gone."""
    made = Redactor()
    made.add(secret)
    if len(secret.strip()) >= 4 and secret.strip() not in MASK * 3:
        rest = made.known(before + secret + after)
        assert rest.count(secret.strip()) <= rest.count(MASK)
        assert MASK in rest


@pytest.mark.parametrize("before", ["", "wallet:", "['", "at "])
def test_addresses_are_shortened(redactor: Redactor, before: str) -> None:
    """Who reads a log or a page need not learn whose account it is; hashes, ids of markets and other words stay."""
    address = "0x12aB" + "c" * 32 + "34eF"
    for shown in (redactor.known, redactor.text):
        assert shown(f"{before}{address}:1") == f"{before}0x12aB..34eF:1"
        for other in (f"0x{'ab' * 32}", f"0x{'ab' * 19}", "1" * 77, f"x{address}", f"{address}a"):
            assert shown(other) == other


def test_longer_secret_wins_over_its_beginning() -> None:
    """Where one secret begins another, nothing of the longer one stays."""
    made = Redactor()
    made.add("hunter", "hunter-two")
    assert made.known("x hunter-two y hunter z") == f"x {MASK} y {MASK} z"


def test_short_secret_is_masked_as_a_word_only() -> None:
    """A password of one letter does not blank every word that has it."""
    made = Redactor()
    made.add("a")
    assert made.known("a bad password: a.") == f"{MASK} bad password: {MASK}."


def test_empty_secret_masks_nothing() -> None:
    """An empty value is no secret."""
    made = Redactor()
    made.add("", "  ")
    assert made.text("all of it stays") == "all of it stays"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET /cs2/v1/stream?api_key=tk_1 HTTP/1.1", "GET /cs2/v1/stream?api_key=*** HTTP/1.1"),
        ("/ws/market?key=ps_live_1&x=2", "/ws/market?key=***&x=2"),
        ("apikey=abc, api-key='abc'", "apikey=***, api-key='***'"),
        ("sasl.password=abc", "sasl.password=***"),
        ("wss://host/ws?anything=1", "wss://host/ws?***"),
        ("amqps://op-acme:p@ss:word@mq.host:5671/acme", "amqps://***@mq.host:5671/acme"),
        ("https://host/path is fine", "https://host/path is fine"),
        ("Authorization: Bearer abc.def", "Authorization: ***"),
        ("> authorization: Basic YTpi", "> authorization: ***"),
        ("{'Authorization': 'Bearer abc', 'Accept': 'x'}", "{'Authorization': '***', 'Accept': 'x'}"),
        ("[(b'X-Api-Key', b'abc')]", "[(b'X-Api-Key', b'***')]"),
        ("x-api-key: abc", "x-api-key: ***"),
        ('{"api_key": "abc", "b": 1}', '{"api_key": "***", "b": 1}'),
        ("sent Bearer abcdefghijklmnopqrstuvwxyz", "sent Bearer ***"),
        # What must stay readable: the errors of the configuration name these very keys.
        ("gateways.cs2.api_key: TICKTOCK_API_KEY is not set", "gateways.cs2.api_key: TICKTOCK_API_KEY is not set"),
        ("close 4401 api_key_revoked", "close 4401 api_key_revoked"),
        ("basic authentication is off", "basic authentication is off"),
    ],
)
def test_what_looks_like_a_credential_is_masked(text: str, shown: str) -> None:
    """Credentials are masked by name, prose about them is not."""
    assert Redactor().text(text) == shown


@pytest.mark.parametrize(
    "part", ["a-", "x.y-", "a://", "://x@", "key=", "'api_key", "bearer ", "authorization:", "'password' "]
)
def test_masking_takes_linear_time(part: str) -> None:
    """Text that someone chose to be slow is not: twice the text takes about twice the time."""
    made = Redactor()
    made.add("some-secret")

    def seconds(count: int) -> float:
        text = part * (count // len(part))
        return min(timeit.repeat(lambda: made.text(text), number=1, repeat=3))

    assert seconds(60_000) < 40 * seconds(6_000) + 0.05


def test_secret_across_the_cut_is_gone() -> None:
    """What is too long is cut, says so, and shows no part of a secret that the cut goes through."""
    secret = "0123456789abcdef" * 100
    made = Redactor()
    made.add(secret)
    for masked in (0, 30):
        text = made.text((secret + " ") * masked + "x" * (LONGEST - 800 - masked * 1601) + secret + "y" * 1000)
        assert "0123" not in text
        assert text.endswith("characters)")
    assert made.text("x" * LONGEST) == "x" * LONGEST


def test_fields_are_masked_by_name_and_walked() -> None:
    """A field named for a credential goes whole; containers are walked; a record's key stays."""
    value = {"api_key": "abc", "sasl.password": "x", "key": "match-1", "token_id": "77", "list": ["?key=abc", 5, None]}
    assert Redactor().value(value) == {
        "api_key": MASK, "sasl.password": MASK, "key": "match-1", "token_id": "77", "list": [f"?key={MASK}", 5, None],
    }  # fmt: skip


def test_other_objects_become_redacted_text(redactor: Redactor) -> None:
    """An exception or any other object is shown by its repr, masked."""
    assert SECRET not in str(redactor.value(ValueError(SECRET)))
    assert redactor.value(b"?key=abc") == f"b'?key={MASK}'"
