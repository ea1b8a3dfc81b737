"""Avro's integers as bytes: zigzag, then seven bits a byte, the lowest first (Avro specification, Binary Encoding)."""

from __future__ import annotations

from typing import Final

_LEAST: Final = -(1 << 63)
_MOST: Final = (1 << 63) - 1
#: Integers are cut into chunks of 14 bits: two bytes of the result each, and tables of a size that caches like.
_CHUNK: Final = 14
_MASK: Final = (1 << _CHUNK) - 1
#: Integers from here have three bytes or more, and from there five.
_THREE: Final = 1 << _CHUNK - 1
_FIVE: Final = 1 << 2 * _CHUNK - 1


class Longs(dict[int, bytes]):
    """Integer → its bytes, after a prefix: small ones are looked up, the others computed.

    Holds what lengths, states and scores usually are. A subscript is the quickest call Python has: this is why it is
    no function.
    """

    #: The bounds of what is looked up.
    LEAST: Final = -64
    END: Final = 4096

    def __init__(self, prefix: bytes = b"") -> None:
        """prefix: what goes before each, e.g. the index of a union's branch."""
        super().__init__((value, prefix + varint(value)) for value in range(self.LEAST, self.END))
        self.prefix = prefix

    def __missing__(self, value: int) -> bytes:
        """Compute one. Raises `OverflowError` beyond 64 bits."""
        if _THREE <= value < _FIVE:  # sequence numbers, mostly
            return self.prefix + _HEAD[value << 1 & _MASK] + _LAST[value >> _CHUNK - 1]
        return self.prefix + varint(value)


def varint(value: int) -> bytes:
    """Return the bytes of an integer of 64 bits. Raises `OverflowError` beyond."""
    if not _LEAST <= value <= _MOST:
        raise OverflowError(f"{value} has more than 64 bits")
    rest = (value << 1) ^ (value >> 63)
    head = b""
    while rest > _MASK:
        head += _HEAD[rest & _MASK]
        rest >>= _CHUNK
    return head + _LAST[rest]


def _last(chunk: int) -> bytes:
    return bytes((chunk,)) if chunk < 0x80 else bytes((chunk & 0x7F | 0x80, chunk >> 7))  # noqa: PLR2004 - seven bits


#: What a chunk becomes where more follow it, and where it is the last.
_HEAD: Final = [bytes((chunk & 0x7F | 0x80, chunk >> 7 | 0x80)) for chunk in range(_MASK + 1)]
_LAST: Final = [_last(chunk) for chunk in range(_MASK + 1)]
