"""The log pipeline: one way for all, no secret, no flood."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import structlog

from bridge.ops import logs
from bridge.ops.redaction import redactor
from bridge.ops.repeats import FIRST, THEN

MARKER = "SECRETMARKERVALUE"


@dataclass(frozen=True)
class Settings:
    """What `configure` reads."""

    level: str = "info"
    format: str = "auto"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        """Return the time, in seconds."""
        return self.now


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Leave logging as it was found: it belongs to the whole process."""
    root = logging.getLogger()
    before = root.handlers[:], root.level, sys.excepthook, threading.excepthook
    levels = {name: logging.getLogger(name).level for name in logs.CAPPED}
    yield
    root.handlers[:], root.level, sys.excepthook, threading.excepthook = before
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """Return the JSON objects that were written, in order."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_where_no_terminal_is() -> None:
    """An event is one JSON object with time, level, logger, event and its fields."""
    stream = io.StringIO()
    logs.configure(Settings(), stream=stream)
    structlog.get_logger("bridge.test").info("connected", gateway="cs2", attempts=2)
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "connected", "gateway": "cs2", "attempts": 2, "level": "info", "logger": "bridge.test"}


def test_console_on_a_terminal() -> None:
    """A person gets a line, not JSON; `format` overrides what the stream is."""
    for settings, stream in ((Settings(), Terminal()), (Settings(format="console"), io.StringIO())):
        logs.configure(settings, stream=stream)
        structlog.get_logger("bridge.test").warning("reconnecting", gateway="cs2")
        assert "reconnecting" in stream.getvalue()
        assert not stream.getvalue().startswith("{")


@pytest.mark.parametrize(("environ", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colours_are_for_those_who_want_them(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, *, coloured: bool
) -> None:
    """On a terminal, but not with NO_COLOR."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    stream = Terminal()
    logs.configure(Settings(), stream=stream)
    structlog.get_logger("bridge.test").warning("reconnecting", gateway="cs2")
    assert ("\x1b[" in stream.getvalue()) == coloured


def test_libraries_go_the_same_way() -> None:
    """What is logged through the standard library comes out as an event too."""
    stream = io.StringIO()
    logs.configure(Settings(), stream=stream)
    logging.getLogger("somelib").warning("can't reach %s", "wss://host/x?api_key=abc")
    (line,) = lines(stream)
    assert line["event"] == "can't reach wss://host/x?***"
    assert line["logger"] == "somelib"


@pytest.mark.parametrize("name", ["websockets.client", "aiohttp.access", "confluent_kafka", "httpx2", "asyncio"])
def test_request_lines_of_libraries_never_appear(name: str) -> None:
    """Even at debug, even if the library sets its own level, its debug and info lines are dropped."""
    stream = io.StringIO()
    logs.configure(Settings(level="debug"), stream=stream)
    logger = logging.getLogger(name)
    logger.setLevel(logging.DEBUG)
    logger.debug("> GET /cs2/v1/stream?api_key=%s HTTP/1.1", MARKER)
    logger.info("> X-Api-Key: %s", MARKER)
    assert stream.getvalue() == ""
    logger.warning("slow")
    assert lines(stream)[0]["event"] == "slow"


def test_level_is_kept() -> None:
    """Below the level nothing is written; at it, it is."""
    stream = io.StringIO()
    logs.configure(Settings(level="warning"), stream=stream)
    log = structlog.get_logger("bridge.test")
    log.info("quiet")
    log.warning("loud")
    assert [line["event"] for line in lines(stream)] == ["loud"]


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_secret_in_any_field_or_traceback(form: str) -> None:
    """A registered secret appears in no field, nested, as a name, in the event, in a traceback, in a local variable."""
    redactor.add(MARKER)
    stream = io.StringIO()
    logs.configure(Settings(level="debug", format=form), stream=stream)
    log = structlog.get_logger("bridge.test")
    log.info("event %s", MARKER, a=MARKER, b=[{"c": (MARKER,)}], d={MARKER: 1}, e=MARKER.encode(), f=ValueError(MARKER))

    def fail() -> None:
        local = MARKER
        raise RuntimeError(local)

    try:
        fail()
    except RuntimeError:
        log.exception("failed")
        logging.getLogger("somelib").exception("failed with %s", MARKER)
    log.bind(bound=MARKER).debug("bound")
    log.info("stack", stack_info=True)
    assert MARKER not in stream.getvalue()
    assert stream.getvalue().count("***") >= 8
    assert "RuntimeError" in stream.getvalue()


@pytest.mark.parametrize("form", ["json", "console"])
def test_credentials_are_masked_though_unknown(form: str) -> None:
    """A key that was never registered is masked by its name, also in tracebacks."""
    stream = io.StringIO()
    logs.configure(Settings(format=form), stream=stream)
    log = structlog.get_logger("bridge.test")
    log.info("a", url=f"wss://h/x?api_key={MARKER}", api_key=MARKER, headers={"Authorization": f"Bearer {MARKER}"})
    log.info("b", exc_info=RuntimeError(f"GET /s?key={MARKER} X-Api-Key: {MARKER}"))
    assert MARKER not in stream.getvalue()


@pytest.mark.parametrize("form", ["json", "console"])
def test_text_of_others_can_not_forge_lines(form: str) -> None:
    """Line breaks and escape sequences in a field are shown, not obeyed."""
    stream = io.StringIO()
    logs.configure(Settings(format=form), stream=stream)
    structlog.get_logger("bridge.test").info("closed", reason="bye\n2026 fake line\x1b[2J\u2028x\ud800")
    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b[2J" not in stream.getvalue()
    assert "fake line" in stream.getvalue()


def test_uncaught_errors_are_redacted() -> None:
    """What ends a thread or the interpreter goes through the pipeline as well."""
    stream = io.StringIO()
    logs.configure(Settings(), stream=stream)

    def fail() -> None:
        raise RuntimeError(f"api_key={MARKER}")

    thread = threading.Thread(target=fail, name="publisher")
    thread.start()
    thread.join(5)
    try:
        fail()
    except RuntimeError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    assert [(line["event"], line.get("thread")) for line in lines(stream)] == [
        ("uncaught_error", "publisher"),
        ("uncaught_error", None),
    ]
    assert MARKER not in stream.getvalue()


def test_what_can_not_be_written_is_told_without_its_content() -> None:
    """A broken log call prints no arguments."""

    class Bad:
        def __repr__(self) -> str:
            raise ValueError(MARKER)

    stream = io.StringIO()
    logs.configure(Settings(), stream=stream)
    structlog.get_logger("bridge.test").info("bad", thing=Bad())
    assert stream.getvalue() == "feedbridge: a log line of bridge.test could not be written: ValueError\n"


class Alarm:
    """What calls a function later: a test says when."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, Callable[[], None]]] = []
        self.stopped = 0

    def __call__(self, seconds: float, call: Callable[[], None]) -> Callable[[], None]:
        """Keep it."""
        self.calls.append((seconds, call))
        return self.stop

    def stop(self) -> None:
        """Count."""
        self.stopped += 1


def test_repetitions_are_held_back_and_counted() -> None:
    """Five of a kind pass in ten seconds; when those are over, the last one carries how many there were."""
    stream, clock = io.StringIO(), Clock()
    logs.configure(Settings(), stream=stream, clock=clock, later=Alarm())
    log = structlog.get_logger("bridge.test")
    for attempt in range(100):
        log.warning("reconnecting", gateway="cs2", attempt=attempt)
    log.warning("reconnecting", gateway="markets")
    assert [line["gateway"] for line in lines(stream)] == ["cs2"] * 5 + ["markets"]
    clock.now = 10.0
    log.info("something else")
    told = lines(stream)[6:]
    assert [
        (line["event"], line.get("attempt"), line.get("repeated"), line.get("repeated_seconds")) for line in told
    ] == [
        ("reconnecting", 99, 95, 10),
        ("something else", None, None, None),
    ]


def test_what_is_held_back_is_told_though_nothing_else_is_logged() -> None:
    """A log that falls silent does not keep the last word to itself; what is closed rings no more."""
    stream, clock, alarm = io.StringIO(), Clock(), Alarm()
    logs.configure(Settings(), stream=stream, clock=clock, later=alarm)
    log = structlog.get_logger("bridge.test")
    for _ in range(7):
        log.warning("reconnecting", gateway="cs2")
    ((seconds, ring),) = alarm.calls
    assert seconds == FIRST
    clock.now = seconds
    ring()
    assert lines(stream)[-1]["repeated"] == 2
    assert len(alarm.calls) == 1  # nothing is held back now
    log.warning("reconnecting", gateway="cs2")
    assert alarm.calls[1][0] == THEN
    logs.configure(Settings(), stream=io.StringIO())
    assert alarm.stopped == 1
    before = stream.getvalue()
    alarm.calls[1][1]()
    assert stream.getvalue() == before


def test_a_person_reads_how_many_there_were() -> None:
    """The console says it in words."""
    stream, clock, alarm = io.StringIO(), Clock(), Alarm()
    logs.configure(Settings(format="console"), stream=stream, clock=clock, later=alarm)
    for _ in range(43):
        structlog.get_logger("bridge.test").warning("reconnecting", gateway="cs2")
    clock.now = 10.0
    alarm.calls[0][1]()
    assert "reconnecting (37 more like it in 10 s)" in stream.getvalue().splitlines()[-1]


def test_places_of_library_lines_are_fields() -> None:
    """Client and lane that a record bears as attributes are said like our own."""
    stream = io.StringIO()
    logs.configure(Settings(), stream=stream)
    logging.getLogger("bridge.kafka").error("FAIL", extra={"client": "feedbridge-main-producer", "lane": 2})
    (line,) = lines(stream)
    assert (line["client"], line["lane"]) == ("feedbridge-main-producer", 2)


def test_different_things_are_no_repetition() -> None:
    """The same event about another topic, lane or connection is told; a bare repetition is not."""
    stream = io.StringIO()
    logs.configure(Settings(), stream=stream, clock=Clock())
    log = structlog.get_logger("bridge.test")
    for number in range(20):
        log.warning("topic_differs", topic=f"t{number}", frames=number)
        log.warning("journal_full", frames=number)
    events = [line["event"] for line in lines(stream)]
    assert (events.count("topic_differs"), events.count("journal_full")) == (20, 5)


def test_held_back_records_are_told_at_the_end() -> None:
    """What was held back when logging is closed is not lost."""
    stream = io.StringIO()
    logs.configure(Settings(), stream=stream, clock=Clock())
    for _ in range(7):
        logging.getLogger("somelib").error("broken %d", 1)
    logs.configure(Settings(), stream=io.StringIO())
    assert [line.get("repeated") for line in lines(stream)] == [None] * 5 + [2]
