"""Requests are read back as they were written; what is none is refused."""

from __future__ import annotations

import msgspec
import pytest

from bridge.errors import BadData
from bridge.ledger import Gap
from bridge.requests import Request, decode, facts

GAP = Gap("cs2/list/1000/0", "cs2", "list", 1000, "disconnect", until=2000, state="lost", recovered=3)


@pytest.mark.parametrize(
    "request_",
    [
        Request(gateway="cs2", gap=GAP),
        Request(gateway="cs2", since=1, until=2),
    ],
)
def test_a_request_survives_the_topic_and_the_journal(request_: Request) -> None:
    """Both ways: as the value of a record, and within an event."""
    assert decode(msgspec.json.encode(request_)) == request_
    assert msgspec.convert(msgspec.json.decode(msgspec.json.encode(facts(request_))), Request) == request_


def test_a_request_for_dead_letters_survives_the_topic() -> None:
    """It names places."""
    request = Request(gateway="cs2", letters={0: [1, 7], 5: [0]}, older=True)
    assert decode(msgspec.json.encode(request)) == request


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"since": 1, "until": 2}',
        b'{"gateway": "cs2"}',
        b'{"gateway": "cs2", "since": 2, "until": 1}',
        b'{"gateway": "cs2", "gap": {"id": 1}}',
        b'{"gateway": "cs2", "letters": {}}',
        b'{"gateway": "cs2", "letters": {"x": [1]}}',
        b'{"gateway": "' + b"x" * 100_000 + b'", "since": 1, "until": 2}',
    ],
)
def test_what_is_no_request_is_refused(raw: bytes) -> None:
    """Whoever may write to the topic can't bring the reader down."""
    with pytest.raises(BadData):
        decode(raw)
