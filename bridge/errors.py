"""The one tree of errors.

::

    BridgeError                     exit code
    ├── ConfigError                 78   the configuration, or what it names, can't be used
    │   └── Locked                  78   another process holds the journal
    ├── Refused                     77   credentials refused by a gateway, Kafka or the registry
    ├── Unreachable                 69   a service can't be reached; worth another try later
    ├── BadData                     65   input that can't be read
    │   └── BadFrame                     becomes a dead letter (reason, detail, path)
    ├── CheckFailed                 1    a check ran and found something
    └── LaneError                        what the transactional producer reports, see publisher.py
        ├── Fenced                       another process owns the lane: stand by
        └── Restart                      the producer is spent: new producer, fence, ledger, journal

Callers care for three things: try again (`Unreachable`, `Restart`), dead letter (`BadFrame`), stop (the rest).
Exceptions carry facts; the one line a person reads is made in ``__str__``.
"""

from __future__ import annotations

from typing import ClassVar


class BridgeError(Exception):
    """Base of all errors that feedbridge raises on purpose.

    what: what went wrong. where: the thing it went wrong with (a file, a gateway, a service).
    mend: what to do about it. None of them may hold a secret.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: str | None = None, mend: str | None = None) -> None:
        """Keep the facts; the text is made when it is asked for."""
        super().__init__(what)
        self.what = what
        self.where = where
        self.mend = mend

    def __str__(self) -> str:
        """One line: where, what, what to do."""
        text = f"{self.where}: {self.what}" if self.where else self.what
        return " ".join((f"{text}; {self.mend}" if self.mend else text).split())


class ConfigError(BridgeError):
    """The configuration, or something it names, can't be used as it is."""

    exit_code = 78


class Locked(ConfigError):
    """Another process holds the journal."""


class Refused(BridgeError):
    """A service answered, and refused our credentials or rights."""

    exit_code = 77


class Unreachable(BridgeError):
    """A service did not answer; the same call may succeed later."""

    exit_code = 69


class BadData(BridgeError):
    """Input that can't be read."""

    exit_code = 65


class BadFrame(BadData):
    """A frame that can't become a record.

    reason: a short code (header ``reason`` of the dead letter). detail: one line without secrets.
    path: the field to blame, e.g. ``data.id``, if one is. topic: that would not take the record.
    """

    def __init__(self, reason: str, detail: str, *, path: str | None = None, topic: str | None = None) -> None:
        """Keep the facts; see the class."""
        super().__init__(detail, where=path)
        self.reason = reason
        self.detail = detail
        self.path = path
        self.topic = topic


class CheckFailed(BridgeError):
    """A check ran to its end and found something wrong."""


class LaneError(BridgeError):
    """Base of what ends the present life of a lane's producer."""


class Fenced(LaneError):
    """A newer producer of the same transactional id exists: this process no longer owns the lane."""


class Restart(LaneError):
    """The producer can't go on: make a new one, fence, read the ledger, go on from the journal."""
