"""Secrets that would blot out what should be read: those so short, or so common, that masking them hides other words. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from pydantic import BaseModel

from bridge.settings import Secret, Url

#: A secret of fewer characters stands in other words by chance.
SHORT: Final = 8


def blots(settings: BaseModel) -> list[str]:
    """One line for each secret within settings that is short, or that stands in them as something else too.

    Which other setting it equals is not said: that would tell the secret.
    """
    secrets: dict[str, str] = {}
    plain: set[str] = set()
    for path, value in _leaves(settings, ""):
        if isinstance(value, Secret):
            secrets[path] = value.reveal()
        elif isinstance(value, Url):
            secrets |= dict.fromkeys([path] if any(value.secrets()) else [], min(value.secrets(), key=len, default=""))
            plain.add(value.host)
        else:
            plain.add(value)
    found = []
    for path, text in secrets.items():
        why = [
            *([f"has only {len(text)} characters"] if len(text) < SHORT else []),
            *(["is also the text of a setting or name that is no secret"] if text in plain else []),
        ]
        if why:
            found.append(
                f"{path} {' and '.join(why)}: masked wherever it stands, it makes logs and errors hard to read"
            )
    return found


def _leaves(value: object, path: str) -> Iterator[tuple[str, Secret | Url | str]]:
    """Yield path and value of every text within settings, and the names in them."""
    if isinstance(value, Secret | Url | str):
        yield path, value
    elif isinstance(value, BaseModel):
        for name, part in value:
            yield from _leaves(part, f"{path}.{name}".removeprefix("."))
    elif isinstance(value, Mapping):
        for name, part in value.items():
            yield path, str(name)
            yield from _leaves(part, f"{path}.{name}".removeprefix("."))
    elif isinstance(value, list | tuple | set | frozenset):
        for number, part in enumerate(value):
            yield from _leaves(part, f"{path}[{number}]")
