"""The chart rendered: what helm makes of values, as objects; and what it says where it refuses."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from tests.helm.tools import helm

CHART: Final = Path(__file__).resolve().parents[2] / "helm" / "feedbridge"
#: The values that ship with the chart for its tests.
CASES: Final = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml"))


class Refused(Exception):
    """Helm refuses the values; the text is its message."""


def values(case: str) -> dict[str, Any]:
    """Return the values of a case."""
    found: dict[str, Any] = yaml.safe_load((CHART / "ci" / f"{case}-values.yaml").read_text())
    return found


def with_(case: str, **changes: Any) -> dict[str, Any]:
    """Return the values of a case with some changed; ``config__kafka={…}`` reaches into ``config.kafka``."""
    found = values(case)
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = found
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return found


class Rendered:
    """All objects that a release has, hooks apart."""

    def __init__(self, given: Mapping[str, Any], *, release: str = "main", namespace: str = "feeds") -> None:
        """Render. Raises `Refused`."""
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump(dict(given), file)
            file.flush()
            done = subprocess.run(
                [helm(), "template", release, CHART, "--namespace", namespace, "--values", file.name],
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode:
            raise Refused(done.stderr)
        self.text = done.stdout
        everything = [each for each in yaml.safe_load_all(done.stdout) if each]
        self.hooks = [each for each in everything if "helm.sh/hook" in annotations_of(each)]
        self.objects = [each for each in everything if each not in self.hooks]

    def all(self, kind: str) -> list[dict[str, Any]]:
        """Return the objects of a kind."""
        return [each for each in self.objects if each["kind"] == kind]

    def one(self, kind: str) -> dict[str, Any]:
        """Return the only object of a kind."""
        [found] = self.all(kind)
        return found

    @property
    def pod(self) -> dict[str, Any]:
        """The pod template of the StatefulSet."""
        found: dict[str, Any] = self.one("StatefulSet")["spec"]["template"]
        return found

    @property
    def container(self) -> dict[str, Any]:
        """Its only container."""
        [found] = self.pod["spec"]["containers"]
        assert isinstance(found, dict)
        return found

    @property
    def config(self) -> str:
        """The text of the configuration file."""
        [text] = [
            each["data"]["feedbridge.yaml"] for each in self.all("ConfigMap") if "feedbridge.yaml" in each["data"]
        ]
        assert isinstance(text, str)
        return text

    def pods(self) -> list[tuple[str, dict[str, Any]]]:
        """Return (name, pod template) of everything that runs, hooks and the test included."""
        found = []
        for each in (*self.objects, *self.hooks):
            if each["kind"] == "Pod":
                found.append((each["metadata"]["name"], each))
            elif each["kind"] in {"StatefulSet", "Job"}:
                found.append((each["metadata"]["name"], each["spec"]["template"]))
        return found


def annotations_of(thing: Mapping[str, Any]) -> dict[str, str]:
    """Return an object's annotations."""
    found: dict[str, str] = thing["metadata"].get("annotations") or {}
    return found
