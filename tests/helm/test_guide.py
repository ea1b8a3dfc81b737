"""The guide for Kubernetes does what it says, as far as a machine without containers can tell; the rest is in tests/kafka."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from bridge.cli import cli
from bridge.config import known_kinds, parse
from tests.blocks import blocks
from tests.guide import Step, files, merged, steps
from tests.helm import restricted
from tests.helm.chart import CHART, Rendered
from tests.helm.test_chart import _MUTABLE, VERSIONS

FILES = files()
STEPS = steps()


def options(step: Step, name: str) -> list[str]:
    """The values of an option that may be repeated."""
    return [step.words[at + 1] for at, word in enumerate(step.words) if word == name]


def after(words: list[str], flag: str) -> list[str]:
    """The words behind a flag."""
    return words[words.index(flag) + 1 :]


RELEASES = [step for step in STEPS if step.words[0] == "helm" and step.words[3] in {"install", "upgrade"}]


def rendered(step: Step) -> Rendered:
    """What a release installs."""
    given = merged(*(FILES[name] for name in options(step, "-f")))
    for setting in options(step, "--set"):
        key, _, value = setting.partition("=")
        given = merged(given, {key.split(".")[0]: {key.split(".")[1]: value}})
    return Rendered(given, release=step.words[4], namespace=options(step, "-n")[0])


def test_every_file_is_used_and_every_command_is_known() -> None:
    """Nothing stands there that this page or these tests pass by."""
    assert {name for step in RELEASES for name in options(step, "-f")} == set(FILES)
    assert {step.words[0] for step in STEPS} == {"helm", "kubectl", "yq", "feedbridge"}
    assert all(step.words[5] == "helm/feedbridge" for step in RELEASES)
    assert CHART.name == "feedbridge"


@pytest.mark.parametrize("step", RELEASES, ids=lambda step: " ".join(step.words[3:]))
def test_every_release_is_one_that_kubernetes_and_feedbridge_take(step: Step, tmp_path: Path) -> None:
    """Its objects are valid and fit for `restricted`; its configuration loads once the secrets of the guide are mounted."""
    found = rendered(step)
    for each in (*found.objects, *found.hooks):
        for version in VERSIONS:
            kubernetes_validate.validate(each, version, strict=True)
    assert {name: list(restricted.faults(pod)) for name, pod in found.pods()} == {n: [] for n, _ in found.pods()}
    text = found.config
    made = secrets()
    mounts = {each["mountPath"]: each["name"] for each in found.container["volumeMounts"]}
    volumes = {each["name"]: each.get("secret", {}).get("secretName") for each in found.pod["spec"]["volumes"]}
    for path in re.findall(r"/etc/feedbridge/secrets/[\w./-]+", text):
        folder, _, key = path.rpartition("/")
        assert key in made[volumes[mounts[folder]]], path
        file = tmp_path / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("secret")
    known = set().union(*(made[each["secretRef"]["name"]] for each in found.container["envFrom"]))
    names = set(re.findall(r"\$\{([A-Z_]+)\}", text))
    assert names <= known
    text = text.replace("/etc/feedbridge/secrets", f"{tmp_path}/etc/feedbridge/secrets")
    config = parse(text, where="values", environ=dict.fromkeys(names, "s"), folder=tmp_path, kinds=known_kinds())
    assert config.name == "main"
    if "--set" in step.words:
        assert found.container["image"].endswith(":0.2.0")


def secrets() -> dict[str, set[str]]:
    """Secret → the keys that the guide puts into it."""
    found: dict[str, set[str]] = {}
    for step in STEPS:
        if "secret" in step.words and "create" in step.words:
            name = after(step.words, "generic")[0]
            keys = {word.split("=")[1] for word in step.words if word.startswith("--from-file=")}
            assert keys, step.line
            found[name] = keys
    return found


def test_no_upgrade_changes_what_kubernetes_keeps() -> None:
    """From step to step no immutable field of the StatefulSet is another."""
    releases = [rendered(step).one("StatefulSet") for step in RELEASES if step.words[4] == "main"]
    assert [each["spec"]["replicas"] for each in releases] == [2, 2, 4, 4, 2]
    for before, now in pairwise(releases):
        for name in (before["spec"].keys() | now["spec"].keys()) - _MUTABLE:
            assert before["spec"][name] == now["spec"][name], name


def test_kubectl_names_what_is_there() -> None:
    """Pods, StatefulSets, labels and jobs of the releases; secrets that were made, or that Strimzi makes."""
    objects = {step.words[4]: rendered(step) for step in RELEASES}
    sets = {release: each.one("StatefulSet")["metadata"]["name"] for release, each in objects.items()}
    pods = {f"{name}-{number}" for name in sets.values() for number in range(2)}
    for step in STEPS:
        if "exec" in step.words:
            assert step.words[4] in pods, step.line
        for word in step.words:
            if word.startswith("statefulset/"):
                assert word.partition("/")[2] in sets.values(), step.line
        if "pvc" in step.words:
            key, _, value = options(step, "-l")[0].partition("=")
            claim = objects["main"].one("StatefulSet")["spec"]["volumeClaimTemplates"][0]
            assert claim["metadata"]["labels"][key] == value
    jobs = {each["metadata"]["name"] for each in objects["main"].hooks if each["kind"] == "Job"}
    assert "main-feedbridge-topics" in jobs


def feedbridges() -> list[list[str]]:
    """The arguments of each feedbridge command, on one's own machine or in a pod."""
    found = [step.words[1:] for step in STEPS if step.words[0] == "feedbridge"]
    return found + [after(step.words, "--")[1:] for step in STEPS if "exec" in step.words]


@pytest.mark.parametrize("words", feedbridges(), ids=" ".join)
def test_feedbridge_has_the_commands(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With these options; in a pod the file is that of FEEDBRIDGE_CONFIG."""
    monkeypatch.setenv("FEEDBRIDGE_CONFIG", "feedbridge.yaml")
    command: Any = cli
    rest = words
    while isinstance(command, click.Group):
        command, rest = command.commands[rest[0]], rest[1:]
    command.make_context(command.name, list(rest), resilient_parsing=False)


def test_the_environment_of_a_pod_names_the_configuration() -> None:
    """So that commands in it need no `-c`."""
    found = rendered(RELEASES[0])
    env = {each["name"]: each["value"] for each in found.container["env"]}
    assert env["FEEDBRIDGE_CONFIG"] == "/etc/feedbridge/config/feedbridge.yaml"
    assert yaml.safe_load(found.config)["lanes"]["own"] == "ordinal"


def test_the_example_in_the_readme_of_the_chart(tmp_path: Path) -> None:
    """It can be installed as it stands there, and its configuration loads."""
    found = {block.kind: block.text for block in blocks() if block.page == "helm/feedbridge/README.md"}
    assert found.keys() == {"sh", "yaml"}
    create, install = (shlex.split(line) for line in found["sh"].splitlines())
    given = yaml.safe_load(found["yaml"])
    assert given["existingSecrets"] == [after(create, "generic")[0]]
    (key,) = [word.split("=")[1] for word in create if word.startswith("--from-literal=")]
    assert install == ["helm", "install", "main", "helm/feedbridge", "-f", "values.yaml"]
    assert found["yaml"].startswith("# values.yaml\n")
    config = parse(
        Rendered(given).config, where="values", environ={key: "s"}, folder=tmp_path, kinds=known_kinds()
    )  # fmt: skip
    assert list(config.gateways) == ["cs2"]
