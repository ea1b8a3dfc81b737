"""Makes ``helm/feedbridge/values.schema.json``: the chart's own values, and below ``config`` those of the configuration file.

Copies alerts and dashboard into the chart, too: Helm reads no file outside of it.

Run by ``make format``; a test compares. Where the configuration file may hold a secret, values may not: what is written
in values lands in a ConfigMap, so only a substitution (``${NAME}``, ``${file:PATH}``) is taken there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

import yaml

from bridge import properties
from bridge.config import json_schema

FILE: Final = Path(__file__).with_name("feedbridge") / "values.schema.json"
OPS: Final = FILE.parents[2] / "ops"
#: Files of it that the chart renders.
COPIED: Final = ("alerts.yaml", "dashboard.json")
_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_SUBSTITUTED: Final = r"^\$\{[^}]+\}$"
_SECRET: Final[dict[str, Any]] = {
    "type": "string",
    "pattern": _SUBSTITUTED,
    "description": "A secret: write ${NAME} (from existingSecrets) or ${file:PATH} (from secretFiles).",
}
#: No password in a URL but a substituted one.
_NO_PASSWORD: Final = {"pattern": r"^[^@]*$|://[^:@/]*(:\$\{[^}]+\})?@"}


def schema() -> dict[str, Any]:
    """Return the JSON Schema of the chart's values."""
    config = json_schema()
    definitions = config.pop("$defs")
    config.pop("$schema")
    config.pop("title", None)
    # Made of namespace and release where it is left out. What is required below stays so: `checks.yaml` asks for the rest.
    config["required"] = []
    for part in (config, definitions):
        _guard(part)
    for name in config["properties"]["kafka"]["properties"]:
        if properties.secret(name):
            config["properties"]["kafka"]["properties"][name] = _SECRET
    config["properties"]["gateways"].pop("minProperties", None)
    return {
        "$schema": _DRAFT,
        "title": "Values of the chart feedbridge",
        "type": "object",
        "additionalProperties": False,
        "properties": {"config": config, **_chart()},
        "$defs": definitions,
    }


def text() -> str:
    """Return the file's text."""
    return json.dumps(schema(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _guard(node: Any) -> None:
    """Forbid plain secrets, here and below."""
    if isinstance(node, list):
        for each in node:
            _guard(each)
    elif isinstance(node, dict):
        for name, each in node.items():
            if isinstance(each, dict) and each.get("writeOnly"):
                words = (each.get("description"), _SECRET["description"])
                node[name] = _SECRET | {"description": " ".join(filter(None, words))}
            else:
                if name in {"url", "endpoint"} and isinstance(each, dict):
                    each.setdefault("allOf", []).append(_urls(_NO_PASSWORD))
                _guard(each)


def _urls(rule: dict[str, Any]) -> dict[str, Any]:
    return {"if": {"type": "array"}, "then": {"items": rule}, "else": rule}


def _object(**members: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": members}


def _chart() -> dict[str, Any]:
    """The values beside ``config``. What Kubernetes itself defines is left to Kubernetes."""
    boolean, any_object, array = {"type": "boolean"}, {"type": "object"}, {"type": "array"}
    string, port = {"type": "string"}, {"type": "integer", "minimum": 1, "maximum": 65535}
    name = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", "maxLength": 253}
    texts = {"type": "object", "additionalProperties": {"type": "string"}}
    seconds = {"type": "integer", "minimum": 1}
    retention = {"enum": ["Retain", "Delete"]}
    probe = {
        "type": "object",
        "additionalProperties": False,
        "properties": dict.fromkeys(
            ("periodSeconds", "timeoutSeconds", "failureThreshold", "initialDelaySeconds"), seconds
        ),
    }
    groups = yaml.safe_load((OPS / "alerts.yaml").read_text())["groups"]
    alert = {"enum": [rule["alert"] for group in groups for rule in group["rules"]]}
    monitor = _object(enabled=boolean, interval={"type": "string", "pattern": "^[0-9]+(ms|s|m)$"}, labels=texts)
    quantity = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?([KMGT]i?)?$"}
    mount = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 50}
    return {
        "global": any_object,
        "replicas": {"type": "integer", "minimum": 0, "maximum": 1000},
        "image": _object(
            repository={"type": "string", "minLength": 1},
            tag=string,
            digest={"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
            pullPolicy={"enum": ["Always", "IfNotPresent", "Never"]},
        ),
        "imagePullSecrets": {"type": "array", "items": _object(name=name) | {"required": ["name"]}},
        "existingSecrets": {"type": "array", "items": name, "uniqueItems": True},
        "secretFiles": {"type": "array", "items": _object(name=name, mount=mount) | {"required": ["name", "mount"]}},
        "persistence": _object(
            enabled=boolean,
            size=quantity,
            storageClass=string,
            accessModes={
                "type": "array",
                "minItems": 1,
                "items": {"enum": ["ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany"]},
            },
            annotations=texts,
            retention=_object(whenScaled=retention, whenDeleted=retention),
        ),
        "terminationGracePeriodSeconds": seconds,
        "resources": any_object,
        "probes": _object(startup=probe, liveness=probe, readiness=probe),
        "podDisruptionBudget": _object(
            enabled=boolean,
            maxUnavailable={"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]+%$"}]},
        ),
        "podAntiAffinity": {"enum": ["soft", "hard", ""]},
        "affinity": any_object,
        "topologySpreadConstraints": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["maxSkew", "topologyKey", "whenUnsatisfiable"],
                # The chart adds it: with another one the constraint would count other pods.
                "not": {"required": ["labelSelector"]},
            },
        },
        "nodeSelector": texts,
        "tolerations": array,
        "priorityClassName": string,
        "serviceAccount": _object(create=boolean, name=string, annotations=texts),
        "podSecurityContext": any_object,
        "securityContext": any_object,
        "service": _object(port=port, annotations=texts),
        "networkPolicy": _object(enabled=boolean, extraEgressPorts={"type": "array", "items": port}, ingressFrom=array),
        "metrics": _object(
            podMonitor=monitor,
            serviceMonitor=monitor,
            prometheusRule=_object(enabled=boolean, labels=texts, without={"type": "array", "items": alert}),
            dashboard=_object(enabled=boolean, labels=texts, annotations=texts),
        ),
        "hooks": _object(
            topicsApply=boolean, schemasCheck=boolean, schemasRegister=boolean, activeDeadlineSeconds=seconds
        ),
        "extraEnv": {"type": "array", "items": {"type": "object", "required": ["name"]}},
        "extraVolumes": {"type": "array", "items": {"type": "object", "required": ["name"]}},
        "extraVolumeMounts": {"type": "array", "items": {"type": "object", "required": ["name", "mountPath"]}},
        "extraObjects": {"type": "array", "items": {"type": ["object", "string"]}},
        "nameOverride": string,
        "fullnameOverride": string,
        "commonLabels": texts,
        "commonAnnotations": texts,
        "podLabels": texts,
        "podAnnotations": texts,
    }


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(None if FILE.read_text() == text() else f"{FILE.name} is out of date: run `make format`")
    FILE.write_text(text())
    (FILE.parent / "files").mkdir(exist_ok=True)
    for name in COPIED:
        (FILE.parent / "files" / name).write_bytes((OPS / name).read_bytes())
