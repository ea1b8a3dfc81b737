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

#: Bits of a link below those of the topic.
BITS: Final = 48
_REST: Final = (1 << BITS) - 1


class Linker:
    """Makes the links of one installation. prefix: of its topics (``topics.prefix``)."""

    def __init__(self, prefix: str) -> None:
        """Nothing is known yet."""
        self._prefix = prefix
        self._seeds: dict[str, int] = {}

    def links(self, records: Iterable[Record]) -> bytes:
        """The links of one transaction's records, little-endian, in their order."""
        link = self.link
        return packed(array("Q", [link(record.topic, record.key, record.value) for record in records]))

    def link(self, topic: str, key: bytes, value: bytes) -> int:
        """The link of one record; headers and timestamp are not part of it."""
        seed = self._seeds.get(topic)
        if seed is None:
            seed = self._seeds[topic] = xxhash.xxh3_64_intdigest(topic.removeprefix(self._prefix).encode())
        return (seed & ~_REST) | (xxhash.xxh3_64_intdigest(value, xxhash.xxh3_64_intdigest(key, seed)) & _REST)

    def tag(self, topic: str) -> int:
        """What the links of that topic's records begin with: `link` ``>> BITS``."""
        return self.link(topic, b"", b"") >> BITS


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
