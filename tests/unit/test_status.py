"""The status of a running bridge, in a terminal."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from rich.console import Console

from bridge import status
from bridge.errors import BadData, ConfigError, Unreachable

NOW = 1_800_000_000_000


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


def three_answers() -> tuple[Callable[[BaseHTTPRequestHandler], None], Callable[[float], None]]:
    """What answers, then not, then again; and a sleep that ends it after that."""
    codes, naps = iter([200, 500, 200]), iter([None, None])

    def answer(handler: BaseHTTPRequestHandler) -> None:
        body(next(codes), '{"name": "main", "ready": true, "reason": "active"}')(handler)

    def sleep(_: float) -> None:
        if next(naps, ...) is ...:
            raise KeyboardInterrupt

    return answer, sleep


def test_what_is_shown_for_ever_survives_a_restart() -> None:
    """On a terminal, a bridge that is away while it is watched is said, and asked again; the screen is given back."""
    answer, sleep = three_answers()
    out = io.StringIO()
    console = Console(file=out, width=80, height=24, force_terminal=True, legacy_windows=False)
    with serving(answer) as url, pytest.raises(KeyboardInterrupt):
        status.live(url, console, sleep=sleep)
    text = out.getvalue()
    assert text.count("Ready: active.") == 2
    assert text.count("does not answer") == 1
    assert text.index("\x1b[?1049h") < text.index("Ready") < text.index("\x1b[?1049l")


def test_without_a_terminal_each_change_is_a_line() -> None:
    """What watches into a file gets the time and the sentence, once for each change."""
    answer, sleep = three_answers()
    out = io.StringIO()
    with serving(answer) as url, pytest.raises(KeyboardInterrupt):
        status.live(url, Console(file=out, width=80), sleep=sleep)
    lines = [line.split("  ", 1)[1] for line in out.getvalue().splitlines()]
    assert lines == [
        "Ready: active.", "The bridge does not answer; it is asked again every second.", "Ready: active.",
    ]  # fmt: skip


def test_who_is_not_there_at_first_is_an_error() -> None:
    """Whoever mistypes the address hears it at once, not on a screen that goes on for ever."""
    with serving(body(200, "")) as url:
        pass
    with pytest.raises(Unreachable):
        status.live(url, Console(file=io.StringIO()))
