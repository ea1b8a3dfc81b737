"""XML messages as frames: an AMQP message becomes the JSON text that a stream would have sent.

``<odds_change product="2" …>…</odds_change>`` becomes ``{"type":"feed.odds_change","data":{"product":"2", …}}``. The
rules know no schema, so the same bytes always give the same text, and nothing of a message is left out but comments,
processing instructions and white space between elements:

* An attribute is a member of its name, and text, as XML has it. Only the root's ``timestamp``, from which the record's
  time is taken, is an integer where it is written as one.
* A child element is a member of its name: an array, since several may stand there; those of `ONCE` are an object where
  there is one. Where an attribute has the name already, it is ``<name>``.
* Text within an element, all of it joined, is the member ``#text``, unless it is white space.
* Names of the root's own namespace are plain, and the namespace is the root's member ``xmlns``; an element of another, or of
  none, is ``{namespace}name``, and so is an attribute of any.

A frame keeps the XML itself (`bridge.frame.Frame.raw`), so that a dead letter holds what was sent. Entities are not
expanded, and a document type, which could define some, is refused: no message of the contract has one.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
from lxml import etree

from bridge.errors import BadFrame
from bridge.frame import AMQP, REPLAY, Frame

#: What goes before the root's name in a frame's type.
FEED: Final = "feed."
#: Elements that the contract has once in their parent.
ONCE: Final = frozenset({"odds", "outcomes", "sport_event_status", "period_scores", "scoreboard"})
TEXT: Final = "#text"

_TIME: Final = "timestamp"
_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]{0,17}")
_BLANK: Final = " \t\r\n"


def readable(frame: Frame) -> bytes:
    """Return the JSON text of a frame, whatever it came as. Raises `BadFrame` as `to_json` does."""
    if frame.source == AMQP or (frame.source == REPLAY and frame.raw.lstrip()[:1] == b"<"):
        return to_json(frame.raw)
    return frame.raw


def to_json(xml: bytes) -> bytes:
    """Return a message as the frame it means. Raises `BadFrame`: not_xml (malformed, too deep, a bomb), doctype."""
    root = parse(xml)
    data = _object(root, root, etree.QName(root).namespace)
    when = data.get(_TIME)
    if isinstance(when, str) and _INTEGER.fullmatch(when):
        data[_TIME] = int(when)
    return msgspec.json.encode({"type": FEED + name(root), "data": data})


def parse(xml: bytes) -> etree._Element:
    """Return the root of a message. Raises `BadFrame`, see `to_json`."""
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        # Bounds depth (256), the length of a text (10 MB) and what entities in attributes may amount to.
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(xml, parser)
    except etree.XMLSyntaxError as error:
        raise BadFrame("not_xml", str(error.msg)) from None
    except ValueError as error:  # an encoding that nobody knows
        raise BadFrame("not_xml", str(error)) from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise BadFrame("doctype", "a message must not define entities or a document type")
    return root


def name(root: etree._Element) -> str:
    """Return the name of a root element, without its namespace."""
    return etree.QName(root).localname


def _object(element: etree._Element, root: etree._Element, namespace: str | None) -> dict[str, Any]:
    """Return an element as an object. namespace: the root's."""
    found: dict[str, Any] = {}
    if element is root and namespace:
        found["xmlns"] = namespace
    for attribute, value in element.attrib.items():
        found[str(attribute)] = str(value)
    text = element.text or ""
    children: dict[str, list[Any]] = {}
    for child in element:
        text += child.tail or ""
        children.setdefault(_name(child, namespace), []).append(_object(child, root, namespace))
    for key, elements in children.items():
        one = key in ONCE and len(elements) == 1
        found[f"<{key}>" if key in found else key] = elements[0] if one else elements
    if text.strip(_BLANK):
        found[TEXT] = text
    return found


def _name(element: etree._Element, namespace: str | None) -> str:
    """Return the name of an element as it stands in the frame."""
    own = etree.QName(element)
    return own.localname if own.namespace == namespace else f"{{{own.namespace or ''}}}{own.localname}"
