"""The status of a running bridge, in a terminal."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from rich.console import Console

from bridge import status
from bridge.errors import BadData, ConfigError, Unreachable

NOW = 1_800_000_000_000
STATUS: dict[str, Any] = {
    "name": "main", "instance": "abc", "version": "0.1.0", "started": NOW - 60_000, "now": NOW, "ready": False,
    "reason": "lane 0: reading the ledger", "lanes": [{"lane": 0, "role": "recovering", "trouble": "kafka: away", "behind": 5}],
    "gateways": [
        {
            "name": "cs2", "kind": "ticktock", "state": "live", "connected": True, "last_frame": NOW - 30_000,
            "received": 1204, "published": 1000, "detail": None, "rejected": [],
        },
        {
            "name": "markets", "kind": "predictstreet-market", "state": "refused", "connected": False, "last_frame": None,
            "detail": "4401 api_key_revoked\x1b[2J", "rejected": [{"channel": "token_book", "message": "too many"}],
        },
    ],
    "journal": {"frames": 7, "full": False},
    "reload": {"at": NOW - 5000, "cause": "file", "outcome": "refused", "changed": [], "error": "f:3: kafka is\x1b[2J fixed"},
}  # fmt: skip


def shown(facts: dict[str, Any], *, width: int = 100) -> str:
    """Return what a terminal of that width would show."""
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(status.render(facts, now=NOW))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


@contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """Yield the URL of a server that answers so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(5)


def body(code: int, text: str, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    """Return an answer with that text."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(text.encode())

    return answer


def test_table_tells_what_matters() -> None:
    """Name, readiness, lanes, gateways with their counts, rejected subscriptions, and what else there is."""
    text = shown(STATUS)
    for part in (
        "main", "0.1.0", "not ready: lane 0: reading the ledger", "recovering", "kafka: away", "cs2", "30 s ago", "1,204",
        "refused", "never", "4401 api_key_revoked", "token_book rejected: too many", "journal frames", "7", "journal full",
        "configuration refused 5 s ago: f:3: kafka is",
    ):  # fmt: skip
        assert part in text
    assert "\x1b" not in text


def test_a_reload_that_was_taken_over_names_what_changed() -> None:
    """One line; nothing of it where there was none."""
    good = {
        "at": NOW,
        "cause": "signal",
        "outcome": "applied",
        "changed": ["log.level", "gateways.cs2.api_key"],
        "error": None,
    }
    assert "configuration applied now: log.level, gateways.cs2.api_key" in shown(STATUS | {"reload": good})
    assert "configuration" not in shown(STATUS | {"reload": None})
    assert "configuration -" in shown(STATUS | {"reload": {}})


def test_table_fits_a_narrow_terminal() -> None:
    """On 80 columns nothing is cut off: it wraps."""
    text = shown(STATUS, width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert "1,204" in text


@pytest.mark.parametrize(
    "facts", [{}, {"lanes": None, "gateways": "x"}, {"gateways": [1, {}], "lanes": [{"role": 3}], "x": [1]}]
)
def test_status_of_another_version_is_shown(facts: dict[str, Any]) -> None:
    """What is missing or of another shape does no harm."""
    assert shown(facts)


def test_fetch_reads_the_status() -> None:
    """The JSON object at /api/status, asked for without a proxy."""
    asked = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        body(200, '{"name": "main"}')(handler)

    with serving(answer) as url:
        assert status.fetch(url + "/") == {"name": "main"}
    assert asked == ["/api/status"]


@pytest.mark.parametrize(
    "answer", [body(500, ""), body(200, "<html>"), body(200, "[1]"), body(302, "", Location="http://127.0.0.1:1/")]
)
def test_what_is_no_status_is_bad_data(answer: Callable[[BaseHTTPRequestHandler], None]) -> None:
    """Another server at that address is named as such; a redirect is not followed."""
    with serving(answer) as url, pytest.raises(BadData, match="is it a feedbridge"):
        status.fetch(url)


def test_nobody_there_is_unreachable() -> None:
    """The error names the address and says what to look at."""
    with serving(body(200, "")) as url:
        pass
    with pytest.raises(Unreachable, match=rf"^{url}: no bridge answers"):
        status.fetch(url)


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://x", "http://", "file:///etc/passwd"])
def test_what_is_no_url_is_a_config_error(url: str) -> None:
    """Only http and https with a host."""
    with pytest.raises(ConfigError, match="--url"):
        status.fetch(url)


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("0.0.0.0:80", "http://127.0.0.1:80"),
        (":80", "http://127.0.0.1:80"),
        ("[::1]:80", "http://[::1]:80"),
        ("[::]:80", "http://[::1]:80"),
        ("bridge.internal:80", "http://bridge.internal:80"),
    ],
)
def test_url_of_what_is_listened_on(listen: str, url: str) -> None:
    """From `http.listen` to where this machine finds it."""
    assert status.url_of(listen) == url


@pytest.mark.parametrize(
    ("then", "text"),
    [
        (None, "never"),
        (NOW, "now"),
        (NOW + 5_000, "now"),
        (NOW - 90_000, "90 s ago"),
        (NOW - 600_000, "10 min ago"),
        (NOW - 10**8, "28 h ago"),
    ],
)
def test_age_is_in_a_person_s_unit(then: int | None, text: str) -> None:
    """Seconds, minutes, hours; a clock that is ahead is now."""
    assert status.age(then, NOW) == text


def test_show_for_ever_survives_a_restart() -> None:
    """A bridge that is away while it is watched is said, and asked again."""
    codes = iter([200, 500, 200])
    out = io.StringIO()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        body(next(codes), '{"name": "main"}')(handler)

    naps = iter([None, None])

    def sleep(_: float) -> None:
        if next(naps, ...) is ...:
            raise KeyboardInterrupt

    with serving(answer) as url, pytest.raises(KeyboardInterrupt):
        status.show(url, Console(file=out, width=80), forever=True, sleep=sleep)
    assert "main" in out.getvalue()
    with pytest.raises(StopIteration):
        next(codes)
