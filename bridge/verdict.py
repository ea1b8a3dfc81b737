"""What `bridge.verify` found: which promises hold, and what breaks the others."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from bridge.frame import Disposition

#: Violations of one kind that are told one by one; more are only counted.
TOLD: Final = 1000


class Kind(StrEnum):
    """What may be wrong."""

    DUPLICATE = "duplicate"
    ORDER = "order"
    OUTSIDE = "outside"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One broken promise. topic, partition and offset: of the record to blame, or of the ledger entry. text: one line.

    key: of the record; None where it is not known or there is no record.
    """

    kind: Kind
    topic: str
    partition: int
    offset: int
    text: str
    key: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Which ledger entries are judged, by the broker's time (ms); None: no bound."""

    since: int | None = None
    until: int | None = None

    def holds(self, at: int) -> bool:
        """Whether a time lies within."""
        return (self.since is None or at >= self.since) and (self.until is None or at <= self.until)


@dataclass(kw_only=True)
class Verdict:
    """What came out.

    entries, frames (by disposition): of the span. records: read. linked: records with their entry, of the span. keys: how
    many sequences of one topic and key were compared. counts: violations; violations: the first of each kind. older:
    records from before the ledger, or the part of it that was read, begins: not judged. unlinked: entries without links,
    from a version that wrote none. deleted: topic → records that it no longer holds. strange: records of topics that are
    not read.
    """

    entries: int = 0
    frames: Counter[Disposition] = field(default_factory=Counter)
    records: int = 0
    linked: int = 0
    keys: int = 0
    counts: Counter[Kind] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)
    older: int = 0
    unlinked: int = 0
    deleted: Counter[str] = field(default_factory=Counter)
    strange: int = 0

    @property
    def good(self) -> bool:
        """Whether no promise is broken."""
        return not self.counts

    def add(self, violation: Violation) -> None:
        """Count it, and keep it if it is one of the first."""
        self.counts[violation.kind] += 1
        if self.counts[violation.kind] <= TOLD:
            self.violations.append(violation)
