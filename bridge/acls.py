"""Rights as text that others take: commands of Kafka's own tool, or Strimzi's KafkaUser. Pure."""

from __future__ import annotations

import shlex
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import yaml

from bridge.rights import Kind, Operation, Right

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


def commands(rights: Sequence[Right], *, user: str, bootstrap: str) -> str:
    """Lines for a shell: ``kafka-acls.sh``, once for each set of operations. user: without ``User:``."""
    lines = ["# admin.properties: how somebody who may grant rights logs in"]
    for (_, private, prefixed, _), several in groupby(sorted(rights, key=_alike), key=_alike):
        alike = list(several)
        if private:
            lines.append("# private topics: what belongs to a wallet")
        words = [
            f"kafka-acls.sh --bootstrap-server {shlex.quote(bootstrap)} --command-config admin.properties",
            f"--add --allow-principal {shlex.quote(f'User:{user}')}",
            " ".join(f"--operation {each}" for each in _sorted(alike[0])),
            *(["--resource-pattern-type prefixed"] if prefixed else []),
            *(_OPTIONS[each.kind] + (f" {shlex.quote(each.name)}" if each.name else "") for each in alike),
        ]
        lines.append(" \\\n  ".join(words))
    return "\n".join(lines) + "\n"


def strimzi(rights: Sequence[Right], *, user: str, cluster: str, authentication: str | None) -> str:
    """A KafkaUser. user: its name. cluster: the Kafka's name. authentication: its type; None: somebody else makes the user."""
    head: dict[str, Any] = {
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "KafkaUser",
        "metadata": {"name": user, "labels": {"strimzi.io/cluster": cluster}},
    }
    text: str = yaml.safe_dump(head, sort_keys=False)
    lines = ["spec:"]
    if authentication is not None:
        lines += ["  authentication:", f"    type: {authentication}"]
    lines += ["  authorization:", "    type: simple", "    acls:"]
    for right in rights:
        if right.private:
            lines.append("      # private: what belongs to a wallet")
        resource: dict[str, str] = {"type": right.kind.value}
        if right.name:
            resource |= {"name": right.name, "patternType": "prefix" if right.prefixed else "literal"}
        lines.append(f"      - resource: {_flow(resource)}")
        lines.append(f"        operations: {_flow(_sorted(right))}")
    return text + "\n".join(lines) + "\n"


def facts(rights: Sequence[Right]) -> Iterator[Mapping[str, Any]]:
    """For programs."""
    for right in rights:
        yield {
            "resource": right.kind.value,
            "name": right.name,
            "pattern": "prefixed" if right.prefixed else "literal",
            "operations": _sorted(right),
            "private": right.private,
        }


def authentication(properties: Mapping[str, Any]) -> str | None:
    """Strimzi's word for how a client of these librdkafka properties logs in; None: a way that Strimzi makes no users for."""
    protocol = str(properties.get("security.protocol", "plaintext")).lower()
    mechanism = str(properties.get("sasl.mechanism", properties.get("sasl.mechanisms", ""))).upper()
    if protocol == "ssl":
        return "tls"
    return "scram-sha-512" if protocol.startswith("sasl") and mechanism == "SCRAM-SHA-512" else None


_OPTIONS: Final = {
    Kind.TOPIC: "--topic",
    Kind.TRANSACTIONAL_ID: "--transactional-id",
    Kind.GROUP: "--group",
    Kind.CLUSTER: "--cluster",
}


def _alike(right: Right) -> tuple[str, bool, bool, list[str]]:
    """What one command has in common. Topics come first, those that are not private before the others."""
    return _PLACES[right.kind], right.private, right.prefixed, _sorted(right)


_PLACES: Final = {Kind.TOPIC: "0", Kind.TRANSACTIONAL_ID: "1", Kind.GROUP: "2", Kind.CLUSTER: "3"}


def _sorted(right: Right) -> list[str]:
    return [each.value for each in Operation if each in right.operations]


def _flow(value: Any) -> str:
    """A value in one line of YAML."""
    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000)
    return text.strip()
