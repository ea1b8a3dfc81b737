"""XML messages become frames by plain rules, lose nothing on the way, and can do no harm."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import BadFrame
from bridge.frame import AMQP, REPLAY, REST, STREAM, Frame
from bridge.markup import ONCE, readable, to_json
from bridge.sim.feed import bomb

NAMES = st.sampled_from(
    ["market", "outcome", "odds", "outcomes", "id", "status", "timestamp", "product", "new-1", "ä", "x.y"]
)
#: What an XML document can hold; others can't be sent at all.
TEXTS = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff", include_characters="\t\n\r"),
    max_size=12,
)
Tree = tuple[str, dict[str, str], str, list[Any]]


def trees() -> st.SearchStrategy[Tree]:
    """Elements as (name, attributes, text, children)."""
    attributes = st.dictionaries(NAMES, TEXTS, max_size=3)
    leaves: st.SearchStrategy[Tree] = st.tuples(NAMES, attributes, TEXTS, st.builds(list[Any]))
    return st.recursive(
        leaves, lambda inner: st.tuples(NAMES, attributes, TEXTS, st.lists(inner, max_size=4)), max_leaves=12
    )


def write(tree: Tree) -> str:
    """A tree as XML. A carriage return is only kept as a reference."""
    name, attributes, text, children = tree
    entities = {"\r": "&#13;", "\n": "&#10;", "\t": "&#9;"}
    inside = "".join(map(write, children))
    outside = "".join(f" {each}={quoteattr(value, entities)}" for each, value in attributes.items())
    return f"<{name}{outside}>{escape(text, entities)}{inside}</{name}>"


def facts(tree: Tree, path: tuple[str, ...] = ()) -> Counter[tuple[str, ...]]:
    """Every attribute, text and element of a tree, with its place."""
    name, attributes, text, children = tree
    path = (*path, name)
    found = Counter([path, *((*path, "@", each, value) for each, value in attributes.items())])
    if text.strip(" \t\r\n"):
        found[*path, "#", text] += 1
    for child in children:
        found += facts(child, path)
    return found


def back(data: dict[str, Any], name: str, path: tuple[str, ...] = ()) -> Counter[tuple[str, ...]]:
    """The same facts, read from the JSON by the rules that are documented."""
    path = (*path, name)
    found = Counter([path])
    for key, value in data.items():
        if key == "#text":
            found[*path, "#", value] += 1
        elif isinstance(value, (str, int)):
            found[*path, "@", key, str(value)] += 1
        else:
            for child in value if isinstance(value, list) else [value]:
                found += back(child, key.strip("<>"), path)
    return found


@given(trees())
def test_nothing_is_lost(tree: Tree) -> None:
    """Each attribute, text and element, unknown ones too, stands in the frame, once, where it stood in the message."""
    frame = json.loads(to_json(write(tree).encode()))

    assert frame["type"] == f"feed.{tree[0]}"
    assert back(frame["data"], tree[0]) == facts(tree)


@given(trees())
def test_the_same_bytes_give_the_same_frame(tree: Tree) -> None:
    """So a message that is delivered again is known, whatever encoding it came in."""
    text = write(tree)

    assert to_json(text.encode()) == to_json(text.encode())
    assert to_json(text.encode("utf-16")) == to_json(text.encode())


@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: f"<a {text}>".encode(errors="replace")))
def test_rubbish_is_a_bad_frame_and_nothing_else(raw: bytes) -> None:
    """Whatever comes, it is a frame or a dead letter."""
    try:
        found = json.loads(to_json(raw))["type"]
    except BadFrame as bad:
        found = f"{bad.reason}: {bad.detail}"
    assert found.startswith(("feed.", "not_xml: ", "doctype: "))


def test_the_rules_by_example() -> None:
    """Attributes are text, elements arrays but for those the contract has once, and the time is an integer."""
    message = b"""<?xml version="1.0" encoding="UTF-8"?><!-- made by hand -->
        <odds_change product="2" timestamp="1778420531123" note="1.10">
          <odds><market id="101"><outcome id="1" odds="1.10"/><outcome id="2" odds="1e2"/></market></odds>
          <news lang="en">fresh</news>
        </odds_change>"""

    assert json.loads(to_json(message)) == {
        "type": "feed.odds_change",
        "data": {
            "product": "2",
            "timestamp": 1778420531123,
            "note": "1.10",
            "odds": {"market": [{"id": "101", "outcome": [{"id": "1", "odds": "1.10"}, {"id": "2", "odds": "1e2"}]}]},
            "news": [{"lang": "en", "#text": "fresh"}],
        },
    }


@pytest.mark.parametrize("written", ["", "soon", "01", "+1", "1.0", " 1", "9" * 19, "2026-05-10T13:42:11Z"])
def test_a_time_that_is_no_plain_integer_stays_text(written: str) -> None:
    """Nothing is rounded, and nothing that Avro's long can't hold becomes a number."""
    assert json.loads(to_json(f"<a timestamp='{written}'/>".encode()))["data"] == {"timestamp": written}


def test_an_element_does_not_hide_an_attribute_of_its_name() -> None:
    """Both are there, under names that no XML can have."""
    data = json.loads(to_json(b'<a odds="1"><odds b="2"/><market/></a>'))["data"]

    assert data == {"odds": "1", "<odds>": {"b": "2"}, "market": [{}]}


def test_an_element_that_should_be_single_and_is_not_is_an_array() -> None:
    """None of them is dropped; the schema then refuses the frame."""
    for name in ONCE:
        data = json.loads(to_json(f'<a><{name} n="1"/><{name} n="2"/></a>'.encode()))["data"]
        assert data == {name: [{"n": "1"}, {"n": "2"}]}


def test_namespaces_are_kept_apart() -> None:
    """A prefix or a default namespace on the whole message changes no name; other namespaces are named."""
    data = json.loads(to_json(b'<n:a xmlns:n="u" n:q="1" q="2"><n:b/><b/><c xmlns="z"/></n:a>'))["data"]

    assert data == {"xmlns": "u", "{u}q": "1", "q": "2", "b": [{}], "{}b": [{}], "{z}c": [{}]}


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"", "not_xml"),
        (b"{}", "not_xml"),
        (b"<a><b></a>", "not_xml"),
        (b'<a x="1" x="2"/>', "not_xml"),
        (b"<a>\xff</a>", "not_xml"),
        (b"<a/><a/>", "not_xml"),
        (b"<a>&undefined;</a>", "not_xml"),
        (b'<?xml version="1.0" encoding="x-nobody"?><a/>', "not_xml"),
        (b"<a>" * 300 + b"</a>" * 300, "not_xml"),
        (b"<!DOCTYPE a><a/>", "doctype"),
        (b'<!DOCTYPE a [<!ENTITY x "y">]><a b="&x;"/>', "doctype"),
        (b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><a>&x;</a>', "doctype"),
        (b'<!DOCTYPE a SYSTEM "http://127.0.0.1:1/a.dtd"><a/>', "doctype"),
    ],
)
def test_what_is_refused(message: bytes, reason: str) -> None:
    """Malformed documents, entities, document types: dead letters, each with its reason."""
    with pytest.raises(BadFrame) as refused:
        to_json(message)
    assert refused.value.reason == reason


@pytest.mark.parametrize("message", [bomb(1), bomb(1).replace(b">&l9;<", b' x="&l9;"><')])
def test_a_bomb_does_not_go_off(message: bytes) -> None:
    """A billion laughs, in text or in an attribute, is refused at once."""
    begin = time.process_time()
    with pytest.raises(BadFrame):
        to_json(message)
    assert time.process_time() - begin < 1


def test_which_frames_are_xml() -> None:
    """What came over AMQP, and what was such a frame's dead letter; a stream that sends XML sends rubbish."""

    def of(source: str, raw: bytes) -> bytes:
        return readable(Frame("cs2", "amqp", 1, source, raw))

    assert of(AMQP, b"<a/>") == of(REPLAY, b"\n<a/>") == b'{"type":"feed.a","data":{}}'
    assert of(STREAM, b"<a/>") == of(REST, b"<a/>") == b"<a/>"
    assert of(REPLAY, b"{}") == b"{}"
