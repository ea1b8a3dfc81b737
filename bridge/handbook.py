"""The reference for consumers and operators, ``docs/reference/``: ``python -m bridge.handbook``.

All pages are made from what the bridge itself goes by: settings, topic plan, schemas, headers. Part of ``make format``; a test
compares. One page for each kind of gateway, since types of one gateway are read together, and an index.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bridge import classes, cloudevents, config, manual, portrait, topics
from bridge.asyncapi import DEAD_HEADERS, GAP_HEADERS, HEADERS
from bridge.catalog import OWN as OWN_KIND
from bridge.catalog import Catalog
from bridge.config import Config, TopicsSettings
from bridge.example import NAMES
from bridge.gateways.gateway import GatewaySettings
from bridge.manual import escaped
from bridge.registry import COMPATIBILITY
from bridge.settings import Url, write_duration, write_size
from bridge.topics import Role

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bridge.catalog import FrameType, Kind
    from bridge.topics import TopicPlan

FOLDER: Final = Path(__file__).parents[1] / "docs" / "reference"
#: The page of feedbridge's own records.
OWN: Final = "feedbridge.md"
_MADE: Final = "<!-- Made by `python -m bridge.handbook`: do not edit. -->"
_TEXTS: Final = {"number": "number, as text", "any": "JSON text"}
_ABOUT: Final = {
    Role.DATA: "the records of frames",
    Role.DEAD_LETTERS: "frames that could not become records: the bytes as they came, without framing",
    Role.LEDGER: "what is published, in the same transactions; the bridge's own, not for consumers",
    Role.GAPS: "times for which frames may be missing, keyed by gap; the last record of a key counts, see [gaps](../gaps.md)",
    Role.REQUESTS: "what commands ask of a running bridge; not for consumers",
}


def pages(catalog: Catalog) -> dict[str, str]:
    """File name of each page → its text."""
    found = {
        "README.md": "\n".join(_index(catalog)) + "\n",
        OWN: "\n".join(_own(catalog)) + "\n",
        "config.md": config.reference(),
        "cli.md": "\n".join(_page("Commands", manual.commands())) + "\n",
        "metrics.md": "\n".join(_page("Metrics", manual.metrics())) + "\n",
    }
    return found | {f"{kind.name}.md": "\n".join(_kind(kind)) + "\n" for kind in catalog.kinds.values()}


def _page(title: str, lines: Iterator[str]) -> Iterator[str]:
    yield from (f"# {title}", "", _MADE, "")
    yield from lines


def anchor(heading: str) -> str:
    """What a heading is called in a link, as code hosts make it."""
    return re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-")


# --- the index --------------------------------------------------------------------------------------------------------


def _index(catalog: Catalog) -> Iterator[str]:
    yield from ("# Reference", "", _MADE, "")
    yield "What is in the topics. All settings: [config.md](config.md); all commands: [cli.md](cli.md); all metrics: [metrics.md](metrics.md). How a"
    yield "schema may change: [schemas.md](../schemas.md)."
    yield "For an installation of yours, `feedbridge topics plan`, `schemas list`, `schemas show TYPE` and `schemas asyncapi` say the same."
    yield "Read with `isolation.level=read_committed`: only then is each frame there exactly once."
    yield from ("", "## Types", "")
    yield "Topics are those of layout `type` without a prefix, for gateways called " + _listed(
        f"`{name}` ({kind})" for kind, name in NAMES.items()
    )
    for kind in catalog.kinds.values():
        yield from ("", f"### [{kind.name}]({kind.name}.md)", "")
        yield from ("| type | topic | key | |", "|---|---|---|---|")
        for each in _types(kind):
            told = portrait.facts(kind.name, each)
            what = "is not published" if told["topic"] is None else each.kind
            topic = f"`{told['topic']}`" if told["topic"] else ""
            yield f"| [`{each.type}`]({kind.name}.md#{anchor(each.type)}) | {topic} | {_own_key(each)} | {what} |"
    yield from ("", "## Topics", "", "| topic | holds | partitions | kept |", "|---|---|---|---|")
    yield from _topics(catalog)
    yield ""
    yield "`<prefix>` is `topics.prefix`, `<name>` the installation's `name`, `<gateway>` the gateway's. In `<type>` an underscore is a dash. Both layouts may be"
    yield "had at once: each record then goes to both, in the same transaction. Topics of a private gateway hold what belongs to a wallet."
    yield from ("", "## Keys", "")
    yield "A key is a match id or a condition id, UTF-8, without framing. What has neither itself is looked up: learned from other frames, then over REST. Else"
    yield "the key is the frame's own entity: token, wallet, vault or order. The partitioner is `murmur2_random`, as in Java's client, so that keys of topics with as"
    yield "many partitions lie together. Dead letters have the key of their entity as far as it can be made out, else the gateway's name."
    yield from (
        "",
        "## Values",
        "",
        "| | before the Avro bytes | subject in layout `type` | in layout `gateway` |",
        "|---|---|---|---|",
    )
    yield "| with a registry | `00`, the schema's id in 4 bytes (Confluent's wire format) | `<topic>-value` | `<topic>-<full name of the record>` |"
    yield "| without | `C3 01`, the schema's CRC-64-AVRO fingerprint in 8 bytes (Avro single-object encoding) | | |"
    yield ""
    yield f"Subjects are held to `{COMPATIBILITY}`. Every record has `meta`, what the envelope says, and `data`, the payload. What no schema knows is in their `extensions`."
    yield from (
        "",
        "The record's timestamp is the event time, where it lies within 7 days back and 5 minutes ahead of now, else the time received.",
    )
    yield from ("", "## Headers", "")
    yield from _headers("Of records:", HEADERS)
    yield from _headers("Of dead letters:", DEAD_HEADERS)
    yield from _headers("Of gap records:", GAP_HEADERS)
    yield from ("### CloudEvents", "")
    yield "With `topics.headers: cloudevents` these stand behind them, on records, dead letters and gap records: binary content mode of CloudEvents' Kafka"
    yield "protocol binding, version 1.0. The value stays as it is."
    yield from ("", "| header | value |", "|---|---|")
    yield from (f"| `{name}` | {escaped(text)} |" for name, text in cloudevents.HEADERS.items())


def _own_key(frame_type: FrameType) -> str:
    """Where a frame has its key, in short; the pages of the kinds tell what else it may be."""
    return ", else ".join(f"`{'.'.join(path)}`" for path in frame_type.key) or "looked up"


def _listed(words: Iterator[str]) -> str:
    *some, last = words
    return f"{', '.join(some)} and {last}."


def _headers(title: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield from (title, "", "| header | value |", "|---|---|")
    for name, each in schema["properties"].items():
        choices = f" One of {', '.join(f'`{one}`' for one in each['enum'])}." if "enum" in each else ""
        only = f" Always `{each['const']}` where it is there." if "const" in each and name != "type" else ""
        absent = "" if name in schema["required"] else " May be absent."
        yield f"| `{name}` | {escaped(each['description'])}{choices}{only}{absent} |"
    yield ""


def _topics(catalog: Catalog) -> Iterator[str]:
    """A row for each form of topic, from the plan of an installation that has them all."""
    plan = topics.plan(_installation(catalog), catalog)
    seen: set[str] = set()
    for topic in plan:
        name = topic.name.removeprefix("prefix.")
        if topic.role is Role.DATA and topic.gateway is not None:
            form = "<prefix><gateway>" + (".<type>" if name != topic.gateway else "")
            about = "all types of a gateway (layout `gateway`)" if name == topic.gateway else "one type (layout `type`)"
        else:
            form = "<prefix>" + name.replace(str(topic.gateway), "<gateway>").replace(".main.", ".<name>.")
            about = _ABOUT[topic.role]
        if form not in seen:
            seen.add(form)
            yield f"| `{form}` | {about} | {_partitions(topic)} | {_kept(topic)} |"


def _partitions(topic: TopicPlan) -> str:
    match topic.role:
        case Role.DATA | Role.DEAD_LETTERS:
            return "`topics.partitions`, 6"
        case Role.LEDGER:
            return "`lanes.count`, 1"
    return str(topic.partitions)


def _kept(topic: TopicPlan) -> str:
    size = f"records up to {write_size(int(topic.config['max.message.bytes']))}"
    if "retention.ms" not in topic.config:
        return f"as long as the broker does; {size}"
    kept = write_duration(int(topic.config["retention.ms"]) / 1000)
    longer = ", or twice `dedupe.window` if that is more" if topic.role is Role.LEDGER else ""
    return f"{kept}{longer}; {size}"


def _installation(catalog: Catalog) -> Config:
    """A gateway of each kind, both layouts."""
    gateways = {
        NAMES.get(kind, kind): GatewaySettings(kind=kind, url=Url("wss://gateway.invalid")) for kind in catalog.kinds
    }
    fields = Config.model_fields
    return Config.model_construct(
        name="main",
        gateways=gateways,
        kafka={},
        topics=TopicsSettings(prefix="prefix.", layout=("type", "gateway")),
        registry=None,
        dedupe=fields["dedupe"].default,
        lanes=fields["lanes"].default,
    )


# --- a kind of gateway ------------------------------------------------------------------------------------------------


def _types(kind: Kind) -> list[FrameType]:
    return [*kind.types.values(), kind.unknown]


def _kind(kind: Kind) -> Iterator[str]:
    private = " They belong to a wallet: topics and dead letters are private." if kind.unknown.private else ""
    yield from (f"# Records of gateways of kind `{kind.name}`", "", _MADE, "")
    yield f"Typed classes for Python are in `bridge.records.{kind.name.replace('-', '_')}`. Topics, headers and framing: [README.md](README.md).{private}"
    yield from _legend()
    yield from ("", "Types: " + ", ".join(f"[`{each.type}`](#{anchor(each.type)})" for each in _types(kind)) + ".")
    yield from ("", "## Meta", "", f"{kind.meta['doc']} The same in every record, in its field `meta`.", "")
    shared: dict[str, Mapping[str, Any]] = {}
    yield from _fields(kind.meta, shared)
    for each in _types(kind):
        yield from _type(kind, each, shared)
    yield from _shared(shared)


def _legend() -> Iterator[str]:
    yield ""
    yield "A field may be null unless its type ends in an exclamation mark. `number, as text` is the text of a JSON number, `JSON text` the exact text of any JSON"
    yield "value. The last word of a field's meaning says how certain it is: see [schemas/README.md](../../schemas/README.md)."


def _type(kind: Kind, each: FrameType, shared: dict[str, Mapping[str, Any]]) -> Iterator[str]:
    told = portrait.facts(kind.name, each)
    yield from ("", f"## {each.type}", "", str(told["doc"]), "", "| | |", "|---|---|")
    yield f"| record | `{told['record']}` |"
    yield "| topic | " + (f"`{told['topic']}`" if told["topic"] else "none: it is consumed and not published") + " |"
    if each.publish:
        yield from (f"| {name} | {escaped(str(told[name]))} |" for name in ("key", "identity", "kind", "timestamp"))
    for field in each.schema["fields"]:
        if field["name"] != "meta":
            schema = field["type"]
            yield from ("", f"`{field['name']}`: {escaped(str(schema['doc']))}", "")
            yield from _fields(schema, shared)


def _shared(shared: dict[str, Mapping[str, Any]]) -> Iterator[str]:
    """The records within records; each may hold others."""
    done: set[str] = set()
    while todo := [name for name in shared if name not in done]:
        for name in todo:
            done.add(name)
            yield from ("", f"## {name}", "", str(shared[name].get("doc", "Within another record.")), "")
            yield from _fields(shared[name], shared)


def _fields(schema: Mapping[str, Any], shared: dict[str, Mapping[str, Any]]) -> Iterator[str]:
    """The table of a record's fields. shared: takes the records that are within."""
    yield from ("| field | type | meaning |", "|---|---|---|")
    for field in schema["fields"]:
        branches = field["type"] if isinstance(field["type"], list) else [field["type"]]
        words = " or ".join(_words(each, shared, name=field["name"]) for each in branches if each != "null")
        yield f"| `{field['name']}` | {words}{'' if 'null' in branches else '!'} | {escaped(field['doc'])} |"


def _words(schema: Any, shared: dict[str, Mapping[str, Any]], *, name: str | None = None) -> str:
    """A type in words. name: of the field."""
    if isinstance(schema, str):
        return schema if schema not in shared else _link(schema)
    if isinstance(schema, list):
        return " or ".join(_words(each, shared) for each in schema)
    match schema["type"]:
        case "record":
            shared.setdefault(schema["name"], schema)
            return _link(schema["name"])
        case "array":
            return f"list of {_words(schema['items'], shared)}"
        case "map":
            return f"map of {'JSON text' if name == 'extensions' else _words(schema['values'], shared)}"
        case "enum":
            return "one of " + ", ".join(f"`{each}`" for each in schema["symbols"])
        case "string" if "json" in schema:
            return _TEXTS[schema["json"]]
        case "long" if "logicalType" in schema:
            return "time (timestamp-millis)"
    return _words(schema["type"], shared)


def _link(record: str) -> str:
    return f"[{record}](#{anchor(record)})"


# --- feedbridge's own -------------------------------------------------------------------------------------------------


def _own(catalog: Catalog) -> Iterator[str]:
    yield from ("# Records of feedbridge itself", "", _MADE, "")
    yield "Topics, headers and framing: [README.md](README.md). Ledger and requests are the bridge's own: no consumer needs them."
    yield from _legend()
    shared: dict[str, Mapping[str, Any]] = {}
    for name in classes.SHOWN:
        schema = catalog.own(name)
        told = portrait.of(catalog, f"{OWN_KIND}/{name}")
        yield from (
            "",
            f"## {name}",
            "",
            str(told["doc"]),
            "",
            "| | |",
            "|---|---|",
            f"| record | `{told['record']}` |",
        )
        if told["topic"]:
            yield f"| topic | `{told['topic']}` |"
        yield ""
        yield from _fields(schema, shared)
    yield from _shared(shared)


def main() -> None:
    """Write the pages, into the documentation or a folder that is named."""
    folder = FOLDER
    if sys.argv[1:]:
        folder = Path(sys.argv[1])
        folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages(Catalog.load()).items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
