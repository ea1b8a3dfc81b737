"""An installation's topics as an AsyncAPI 3 document: ``feedbridge schemas asyncapi``.

Source: AsyncAPI 3.0.0 and its Kafka bindings 0.5.0. The document says where records are, which headers and keys they
have and their Avro schemas, for catalogues, code generators and people. It holds nothing secret: no address of a gateway, no
credential.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from bridge import __version__, cloudevents, topics
from bridge.topics import Role

if TYPE_CHECKING:
    from bridge.catalog import Catalog
    from bridge.config import Config
    from bridge.topics import SubjectPlan, TopicPlan

_AVRO: Final = "application/vnd.apache.avro;version=1.9.0"
_BINDING: Final = "0.5.0"
_ID: Final = re.compile(r"[^A-Za-z0-9_-]")

#: The headers of a record (design 6.3).
HEADERS: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["type", "source", "received"],
    "properties": {
        "type": {"type": "string", "description": "The frame's own type, as the gateway sent it."},
        "seq": {
            "type": "string",
            "pattern": "^-?[0-9]+$",
            "description": "The gateway's sequence number; absent if none.",
        },
        "source": {
            "type": "string",
            "enum": ["stream", "rest", "amqp", "standby", "dead-letter"],
            "description": "How it came: over the socket, by a backfill, late by a standby, replayed from a dead letter.",
        },
        "received": {
            "type": "string",
            "pattern": "^[0-9]+$",
            "description": "When it was received, ms since the epoch.",
        },
        "collision": {"const": "1", "description": "The same sequence number came before with other content."},
    },
}
#: Those of a gap record.
GAP_HEADERS: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["type", "received"],
    "properties": {
        "type": {"const": "gap", "description": "Always `gap`."},
        "received": {
            "type": "string",
            "pattern": "^[0-9]+$",
            "description": "When it was written, ms since the epoch.",
        },
    },
}
#: Those of a dead letter.
DEAD_HEADERS: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["gateway", "reason", "detail", "received"],
    "properties": {
        "gateway": {"type": "string", "description": "The gateway's name in the configuration."},
        "reason": {"type": "string", "description": "A short code, such as wrong_type."},
        "detail": {"type": "string", "description": "One line for a person."},
        "path": {"type": "string", "description": "The field to blame, if one is."},
        "type": {"type": "string", "description": "The frame's type, if known."},
        "received": {
            "type": "string",
            "pattern": "^[0-9]+$",
            "description": "When it was received, ms since the epoch.",
        },
        "size": {"type": "string", "description": "Bytes of a frame that was cut."},
        "sha256": {"type": "string", "description": "Of a frame that was cut."},
    },
}


def document(config: Config, catalog: Catalog) -> dict[str, Any]:
    """Return the document for a configuration; its own ledger and request topics are nobody's business and left out."""
    shown = [topic for topic in topics.plan(config, catalog) if topic.role in {Role.DATA, Role.DEAD_LETTERS, Role.GAPS}]
    messages = {name: message for topic in shown for name, message in _messages(topic, config).items()}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": f"feedbridge {config.name}",
            "version": __version__,
            "description": (
                "What this installation publishes. Read with isolation.level=read_committed: then each distinct frame of a "
                "gateway is there once, in the order received per topic and key."
            ),
        },
        "defaultContentType": "application/octet-stream",
        "servers": {"kafka": _server(config)},
        "channels": {_id(topic.name): _channel(topic) for topic in shown},
        "operations": {
            f"publish-{_id(topic.name)}": {
                "action": "send",
                "channel": {"$ref": f"#/channels/{_id(topic.name)}"},
                "summary": _summary(topic),
            }
            for topic in shown
        },
        "components": {
            "messages": messages,
            "schemas": {
                "headers": _headers(config, HEADERS),
                "deadLetterHeaders": _headers(config, DEAD_HEADERS, absent=frozenset({"ce_dataschema"})),
                "gapHeaders": _headers(config, GAP_HEADERS),
            },
        },
    }


def _server(config: Config) -> dict[str, Any]:
    kafka = str(config.kafka.get("bootstrap.servers", ""))
    secure = str(config.kafka.get("security.protocol", "plaintext")).lower() in {"ssl", "sasl_ssl"}
    server: dict[str, Any] = {"host": kafka, "protocol": "kafka-secure" if secure else "kafka"}
    if config.registry is not None:
        url = urlsplit(str(config.registry.url[0].origin + config.registry.url[0].path))
        server["bindings"] = {
            "kafka": {
                "schemaRegistryUrl": url.geturl(),
                "schemaRegistryVendor": "confluent",
                "bindingVersion": _BINDING,
            }
        }
    return server


def _channel(topic: TopicPlan) -> dict[str, Any]:
    names = [_message_name(each) for each in topic.subjects] or [_id(topic.name)]
    kafka: dict[str, Any] = {"topic": topic.name, "partitions": topic.partitions, "bindingVersion": _BINDING}
    if topic.replication is not None:
        kafka["replicas"] = topic.replication
    return {
        "address": topic.name,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "description": _summary(topic) + (" Private: it belongs to a wallet." if topic.private else ""),
        "bindings": {"kafka": kafka},
    }


def _summary(topic: TopicPlan) -> str:
    match topic.role:
        case Role.DEAD_LETTERS:
            return f"Frames of {topic.gateway} that could not become records: the original bytes."
        case Role.GAPS:
            return "Times for which frames may be missing; a later record of the same id replaces the earlier."
        case _ if len(topic.types) == 1:
            return str(topic.subjects[0].schema["doc"])
        case _:
            return f"All frame types of {topic.gateway}, so that those of one entity keep their order across types."


def _messages(topic: TopicPlan, config: Config) -> dict[str, dict[str, Any]]:
    if not topic.subjects:
        return {
            _id(topic.name): {
                "name": "deadLetter",
                "summary": _summary(topic),
                "contentType": "application/octet-stream",
                "headers": {"$ref": "#/components/schemas/deadLetterHeaders"},
                "payload": {"type": "string", "description": "The frame as it came, byte for byte, unframed."},
                "bindings": {"kafka": _key("The entity's key if it is known, else the gateway's name.")},
            }
        }
    return {_message_name(each): _message(topic, each, config) for each in topic.subjects}


def _message(topic: TopicPlan, subject: SubjectPlan, config: Config) -> dict[str, Any]:
    binding = _key(
        "The gap's id." if topic.role is Role.GAPS else "Match id or condition id, else the frame's own entity, UTF-8."
    )
    if config.registry is not None:
        binding |= {"schemaIdLocation": "payload", "schemaIdPayloadEncoding": "confluent"}
        binding |= {"schemaLookupStrategy": "TopicRecordNameStrategy" if len(topic.types) > 1 else "TopicNameStrategy"}
    message: dict[str, Any] = {
        "name": str(subject.schema["name"]),
        "title": subject.type,
        "summary": str(subject.schema["doc"]),
        "contentType": cloudevents.AVRO if _events(config) else "application/vnd.apache.avro",
        "payload": {"schemaFormat": _AVRO, "schema": subject.schema},
        "bindings": {"kafka": binding},
    }
    name = "headers" if topic.role is Role.DATA else "gapHeaders"
    return message | {"headers": {"$ref": f"#/components/schemas/{name}"}}


def _headers(config: Config, own: dict[str, Any], *, absent: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The schema of a record's headers, with those of CloudEvents where they are written."""
    if not _events(config):
        return own
    more = {name: text for name, text in cloudevents.HEADERS.items() if name not in absent}
    return {
        **own,
        "required": [*own["required"], *more],
        "properties": own["properties"]
        | {name: {"type": "string", "description": text} for name, text in more.items()},
    }


def _events(config: Config) -> bool:
    return config.topics.headers == "cloudevents"


def _key(description: str) -> dict[str, Any]:
    return {"key": {"type": "string", "description": description}, "bindingVersion": _BINDING}


def _message_name(subject: SubjectPlan) -> str:
    return _id(subject.subject.removesuffix("-value"))


def _id(name: str) -> str:
    """An AsyncAPI key: dots are not among what every tool takes in one."""
    return _ID.sub("-", name)
