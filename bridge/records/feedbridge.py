"""What feedbridge writes about itself. Made by `python -m bridge.classes`: do not edit."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Final

import msgspec


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """A time span for which frames may be missing.

    A later record of the same id replaces the earlier ones.
    """

    TYPE: ClassVar[str] = "gap"

    id: str
    gateway: str
    connection: str
    lane: int
    instance: str
    entity: str | None = None
    from_: datetime = msgspec.field(name="from")
    to: datetime | None = None
    last_seq: str | None = None
    cause: str
    state: str
    recovered: int = 0
    superseded: int = 0
    how: str | None = None


#: Full name of a record → its class.
RECORDS: Final[dict[str, type[msgspec.Struct]]] = {
    "feedbridge.bridge.Gap": Gap,
}
