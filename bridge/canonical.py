"""JSON texts compared: the canonical form, and whether an object has two members of one name.

Both look at a frame as it was sent, never through a schema: two versions of feedbridge must agree on them.
"""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec
from msgspec import Raw

from bridge.errors import BadFrame

#: What msgspec raises where a text is no JSON, or not of the type that is wanted.
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
#: A colon may be written ``\u003a``.
_ESCAPED: Final = b"\\u003"


def canonical(raw: bytes | Raw) -> bytes:
    """Return a JSON text with its members sorted and no white space; strings as they read, numbers as they were sent.

    Only ``-0`` reads as ``0``. Of equal names the last survives. An empty text (no value) gives an empty text.
    Raises `BadFrame`: not JSON, nested too deep, an integer of more than 4300 digits.
    """
    if not raw:
        return b""
    try:
        return _ENCODE(_DECODE(raw))
    except msgspec.ValidationError as error:
        # The untyped decoder has one thing to validate: integers that Python won't read.
        raise BadFrame("out_of_range", "an integer has too many digits") from error
    except UNREADABLE as error:
        raise not_json(error) from error


def not_json(error: Exception) -> BadFrame:
    """Return the `BadFrame` for what a JSON decoder raised. Its text names positions and bytes, no contents."""
    detail = "nested too deep" if isinstance(error, RecursionError) else str(error)
    return BadFrame("not_json", detail)


def repeats_a_name(raw: bytes, surviving: int) -> bool:
    """Whether any object of a JSON text has two members of the same name.

    surviving: how many colons the text has after decoding, or fewer: one for each member that survived and those in
    their names and strings. Every member brings one and the decoder adds none, so equal counts prove that no member was
    dropped, white space or not. Only an escaped colon could hide another. Where the counts differ the answer is
    found by reading the names one by one. Raises `BadFrame` where that is nested too deep.
    """
    if raw.count(b":") == surviving and not (b"\\" in raw and _ESCAPED in raw):
        return False
    try:
        json.loads(raw.decode(), object_pairs_hook=_distinct, parse_int=str, parse_float=str)
    except _Repeated:
        return True
    except (ValueError, RecursionError) as error:
        raise not_json(error) from error
    return False


class _Repeated(Exception):
    """Two members of one name."""


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Repeated
    return found


_DECODE: Final = msgspec.json.Decoder(float_hook=Raw).decode
_ENCODE: Final = msgspec.json.Encoder(order="sorted").encode
