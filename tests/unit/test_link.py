"""A link names a record by topic, key and value, and by nothing else."""

from __future__ import annotations

from array import array

from bridge.frame import Record
from bridge.link import BITS, Linker, packed, unpacked


def test_links_depend_on_topic_key_and_value() -> None:
    """And not on headers or time, which a copy may lose."""
    linker = Linker("")
    links = {
        linker.link(topic, key, value) for topic in ("a", "b") for key in (b"", b"k") for value in (b"", b"k", b"v")
    }
    assert len(links) == 12
    first, second = Record("a", b"k", b"v", [("seq", b"1")], 1), Record("a", b"k", b"v", [], 2)
    assert linker.links([first]) == linker.links([second])


def test_links_are_the_same_in_every_process_and_version() -> None:
    """They are kept for days and read by other versions: the bytes are fixed."""
    links = Linker("").links([Record("cs2.event.kill", b"match", b"value", [], 0)])
    assert links.hex() == "a17bc7a882119ad5"


def test_the_prefix_is_not_part_of_a_link() -> None:
    """Topics that were copied under another prefix can still be proved."""
    assert Linker("x.").link("x.cs2", b"k", b"v") == Linker("").link("cs2", b"k", b"v")


def test_a_tag_tells_the_topic() -> None:
    """Of a record that is not there, at least its topic can be named."""
    linker = Linker("p.")
    assert linker.link("p.a", b"k", b"v") >> BITS == linker.tag("p.a") != linker.tag("p.b")


def test_links_are_read_as_written() -> None:
    """Eight bytes each, little-endian."""
    links = array("Q", [1, 2**64 - 1])
    assert packed(links) == b"\x01" + bytes(7) + b"\xff" * 8
    assert unpacked(packed(links)) == links
