"""Links: what ties each record of a transaction to the ledger entry beside it.

The hashes of an entry are those of frames as they were sent, and can't be made from a record again: an absent member and
one that is null are one to Avro and two to JSON. So an entry also names its records, by eight bytes each, in the order
produced: two of the topic, six of topic, key and value together. `bridge.verify` holds the topics against them.

The topics' prefix is not part of a link, so that topics which were copied under another one can still be proved.
"""

from __future__ import annotations

import sys
from array import array
from typing import TYPE_CHECKING, Final

import xxhash

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.frame import Record

LINK_BYTES: Final = 8
#: Bits of a link below those of the topic.
BITS: Final = 48
_REST: Final = (1 << BITS) - 1


class Linker:
    """Makes the links of one installation. prefix: of its topics (``topics.prefix``)."""

    def __init__(self, prefix: str) -> None:
        """Nothing is known yet."""
        self._seed = _Seeds(prefix).__getitem__

    def links(self, records: Iterable[Record]) -> bytes:
        """The links of one transaction's records, little-endian, in their order."""
        digest, seed_of = xxhash.xxh3_64_intdigest, self._seed
        links = [  # as `link` makes each; a call for each would cost as much again
            ((seed := seed_of(record.topic)) & ~_REST) | (digest(record.value, digest(record.key, seed)) & _REST)
            for record in records
        ]
        return packed(array("Q", links))

    def link(self, topic: str, key: bytes, value: bytes) -> int:
        """The link of one record; headers and timestamp are not part of it."""
        seed = self._seed(topic)
        return (seed & ~_REST) | (xxhash.xxh3_64_intdigest(value, xxhash.xxh3_64_intdigest(key, seed)) & _REST)

    def tag(self, topic: str) -> int:
        """What the links of that topic's records begin with: `link` ``>> BITS``."""
        return self.link(topic, b"", b"") >> BITS


class _Seeds(dict[str, int]):
    """Topic → the hash of its name without the prefix."""

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix

    def __missing__(self, topic: str) -> int:
        seed = self[topic] = xxhash.xxh3_64_intdigest(topic.removeprefix(self._prefix).encode())
        return seed


def packed(links: array[int]) -> bytes:
    """Links as the ledger holds them."""
    return _turned(links).tobytes()


def unpacked(links: bytes) -> array[int]:
    """The links of a ledger entry."""
    found = array("Q")
    found.frombytes(links)
    return _turned(found)


def _turned(links: array[int]) -> array[int]:
    """In little-endian order, whatever the machine's is."""
    if sys.byteorder == "big":
        links.byteswap()
    return links
