"""Logs: one pipeline for the bridge's own events and for what libraries log.

A person at a terminal gets coloured lines, a machine gets JSON, one object a line, on standard error. An event is a
short constant with fields. Whatever passes is redacted twice: field by field before it is rendered, tracebacks
included, and once more as the finished line (see `bridge.ops.redaction`).

Libraries that log what they send (websockets and aiohttp print the request line, key and all, at debug level) are held
to warnings whatever level is configured. Events that repeat are held back and counted (`bridge.ops.repeats`), so that a
gateway which is down for a night does not fill a disk.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol, TextIO, TypeAlias

import structlog

from bridge.ops.redaction import redactor
from bridge.ops.repeats import Repeats

if TYPE_CHECKING:
    from types import TracebackType

    from structlog.typing import EventDict, Processor, WrappedLogger

    from bridge.ops.repeats import Held

#: Libraries whose debug and info lines may hold request lines, headers or whole messages.
CAPPED: Final = (
    "aio_pika",
    "aiohttp",
    "aiormq",
    "asyncio",
    "authlib",
    "concurrent",
    "confluent_kafka",
    "httpcore",
    "httpcore2",
    "httpx",
    "httpx2",
    "opentelemetry",
    "picows",
    "requests",
    "urllib3",
    "websockets",
)

_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class LogSettings(Protocol):
    """What of the configuration matters here (`log:` of design 6.2)."""

    @property
    def level(self) -> str:
        """``debug``, ``info``, ``warning`` or ``error``."""

    @property
    def format(self) -> str:
        """``auto``, ``console`` or ``json``."""


def configure(
    settings: LogSettings,
    *,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
    later: Later | None = None,
) -> None:
    """Send all logs of this process through the pipeline; may be called again, the last call counts.

    stream: standard error where None. clock: seconds, monotonic; what the limit on repetitions goes by. later: calls a
    function in so many seconds, once, from any thread; a thread of its own where None.
    """
    stream = stream or sys.stderr
    level = _LEVELS[settings.level]
    console = settings.format == "console" or (settings.format == "auto" and stream.isatty())
    handler = _Handler(stream, clock=clock, later=later or _in_a_thread)
    handler.setFormatter(_formatter(console=console, colors=_colors(stream)))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        if isinstance(old, _Handler):
            old.close()
    root.addHandler(handler)
    root.setLevel(level)
    for name in CAPPED:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    logging.captureWarnings(True)  # noqa: FBT003 - the standard library's signature
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_facts(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        # The level is the root logger's, so that loggers which are bound already follow when it changes.
        wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def settle() -> None:
    """Write what is held back of repetitions: after it comes the last word of this process."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _Handler):
            handler.settle()


def _colors(stream: TextIO) -> bool:
    """Whether a person sees it who has not asked for no colours (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


#: Calls a function in so many seconds, and returns what stops it.
Later: TypeAlias = "Callable[[float, Callable[[], None]], Callable[[], None]]"


def _in_a_thread(seconds: float, call: Callable[[], None]) -> Callable[[], None]:
    timer = threading.Timer(seconds, call)
    timer.daemon = True
    timer.start()
    return timer.cancel


class _Handler(logging.StreamHandler[TextIO]):
    """Writes lines; holds libraries to warnings and repetitions back."""

    def __init__(self, stream: TextIO, *, clock: Callable[[], float], later: Later) -> None:
        super().__init__(stream)
        self._clock = clock
        self._later = later
        self._repeats = Repeats()
        self._stop: Callable[[], None] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        # Also here and not only by the loggers' levels: a library may set its own.
        if record.levelno < logging.WARNING and record.name.partition(".")[0] in CAPPED:
            return
        now = self._clock()
        for held in self._repeats.ended(now):
            super().emit(held)
        if self._repeats.admit(record, now):
            super().emit(record)
        self._arm(now)

    def _arm(self, now: float) -> None:
        """See to it that what is held back is told in time, even if nothing else is ever logged."""
        due = self._repeats.due()
        if due is not None and self._stop is None:
            self._stop = self._later(max(due - now, 0.0), self._ring)

    def _ring(self) -> None:
        self.acquire()
        try:
            if self._stop is None:  # closed meanwhile
                return
            self._stop = None
            now = self._clock()
            for held in self._repeats.ended(now):
                super().emit(held)
            self._arm(now)
        finally:
            self.release()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the standard library's name
        # The default prints the arguments and a traceback, both unredacted.
        kind = sys.exc_info()[0]
        with_name = kind.__name__ if kind else "unknown error"
        try:
            self.stream.write(f"feedbridge: a log line of {record.name} could not be written: {with_name}\n")
        except (OSError, ValueError):  # the stream itself is gone: nobody is left to tell
            return

    def settle(self) -> None:
        """Write all that is held back."""
        self.acquire()
        try:
            if self._stop is not None:
                self._stop()
                self._stop = None
            for held in self._repeats.ended(float("inf")):
                super().emit(held)
        finally:
            self.release()

    def close(self) -> None:
        try:
            self.settle()
        finally:
            super().close()


def _formatter(*, console: bool, colors: bool) -> structlog.stdlib.ProcessorFormatter:
    renderer: Processor = (
        # Plain tracebacks: the default, rich's, prints local variables, and with them keys.
        structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)
        if console
        else structlog.processors.JSONRenderer()
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder(_PLACES), *_facts()],
        processors=[
            _repeated_in_words if console else _repeated,
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            _redacted,
            renderer,
            _redacted_line,
        ],
    )


def _facts() -> list[Processor]:
    """Return what each event is given, ours and the libraries'."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


#: What a record of the standard library may bear as attributes, and says as fields.
_PLACES: Final = ("client", "gateway", "connection", "lane")


def _repeated(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    held: Held | None = getattr(event["_record"], "held", None)
    if held is not None:
        event["repeated"] = held.count
        event["repeated_seconds"] = round(held.seconds)
    return event


def _repeated_in_words(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    held: Held | None = getattr(event["_record"], "held", None)
    if held is not None and held.count > 1:
        event["event"] = f"{event.get('event')} ({held.count - 1:,} more like it in {held.seconds:.0f} s)"
    return event


#: Text of a gateway must not start a line of its own or steer the terminal.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CONTROL_IN_BLOCK: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_BLOCKS: Final = frozenset({"exception", "stack"})


def _redacted(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Mask secrets and escape control characters in every field."""
    clean: EventDict = {}
    for name, value in event.items():
        shown = redactor.value(value, field=name)
        if isinstance(shown, str):
            shown = (_CONTROL_IN_BLOCK if name in _BLOCKS else _CONTROL).sub(_escaped, shown)
        clean[redactor.text(name)] = shown
    return clean


def _redacted_line(_: WrappedLogger, __: str, line: EventDict | str) -> str:
    """Mask known secrets in the finished line: what rendering has joined or spelled anew."""
    return redactor.known(str(line))


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Log what nobody caught: the interpreter would print it without redaction."""
    if issubclass(kind, KeyboardInterrupt):
        return
    structlog.get_logger("bridge").critical("uncaught_error", exc_info=(kind, error, trace))


def _uncaught_in_thread(facts: threading.ExceptHookArgs) -> None:
    if facts.exc_value is not None:
        thread = facts.thread.name if facts.thread else None
        structlog.get_logger("bridge").critical(
            "uncaught_error", thread=thread, exc_info=(facts.exc_type, facts.exc_value, facts.exc_traceback)
        )
