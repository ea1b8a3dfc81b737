"""What a check found: one line for a person, and whether it is good."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of a check.

    name: what was checked: ``config``, ``kafka``, ``registry`` or a gateway's name. text: one line without secrets,
    which says what to do where it is not ok.
    """

    name: str
    ok: bool
    text: str
