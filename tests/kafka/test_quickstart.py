"""docs/quickstart.md, block by block, in one shell as a reader would type it, on a real Kafka; and the commands of the other guides.

Those of docs/kubernetes.md are in `test_guide`.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import Final

import pytest
import yaml

from bridge.sim import TickTockSim
from tests.blocks import ROOT, Block, blocks, commands
from tests.kafka.conftest import Kafka, Registry
from tests.running import BridgeHere, configuration, ticktock
from tests.servers.process import Port, Process

pytestmark = pytest.mark.timeout(420)

PAGE: Final = [block for block in blocks() if block.page == "docs/quickstart.md"]
#: The ports that the page names; the test has others.
PORTS: Final = ("8765", "8080", "8082")


async def test_the_quick_start_from_the_first_block_to_the_last(
    kafka: Kafka, topic_prefix: str, tmp_path: Path
) -> None:
    """A decoded record is on the screen, the second process takes over, dead letters are found, and nothing is doubled."""
    ports = {name: Port() for name in PORTS}
    (configuration,) = [block for block in PAGE if block.kind == "yaml"]
    assert configuration.text.startswith("# feedbridge.yaml\n")

    def here(text: str) -> str:
        for name, port in ports.items():
            text = text.replace(name, str(port.number))
        return text.replace("localhost:9092", kafka.bootstrap)

    config = yaml.safe_load(here(configuration.text))
    (tmp_path / "feedbridge.yaml").write_text(json.dumps({**config, "topics": {"prefix": topic_prefix}}))
    shim = tmp_path / "bin" / "feedbridge"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m bridge.cli "$@"\n')
    shim.chmod(0o755)
    script = "set -eu\n" + "".join(f"echo '<{block.line}>'\n{here(block.text)}" for block in PAGE if block.kind == "sh")
    # Kept, since what the page starts in the background must not outlive tests that are killed.
    shell = Process(
        "quick start", ["bash", "-c", f"cd '{tmp_path}'\n{script}"], log=tmp_path / "shell.out",
        environ={"PATH": f"{shim.parent}:{os.environ['PATH']}"},
    )  # fmt: skip
    shell.start()
    try:
        code = await asyncio.to_thread(shell.wait, timeout=360)
    finally:
        shell.kill()
        for port in ports.values():
            port.close()
    said = shell.log.read_text()
    assert code == 0, said + logs(tmp_path)
    parts = iter(re.split(r"^<(\d+)>$", said, flags=re.MULTILINE)[1:])
    shown = {name: next(parts) for name in parts}
    told = {first_command(block): shown[str(block.line)] for block in PAGE if block.kind == "sh"}
    assert told["feedbridge run"].count(f"{topic_prefix}cs2.") >= 3
    assert "active" in told["feedbridge status"]
    assert "standby" in told["JOURNAL=./journal-2 PORT=8082"]
    assert "active" in told["kill -9"]
    assert "each record is published once" in told["feedbridge verify"]
    assert "\nreason " in told["feedbridge dead-letters"]


#: Runs command lines, one after the other in one process, and says how each ended.
_EACH: Final = """
import json, sys
from bridge.cli import main
for words in json.load(sys.stdin):
    try:
        main(words)
    except SystemExit as end:
        print("\\n<ended>", end.code, *words, flush=True)
"""
#: What goes on for ever, or is run elsewhere.
_LONG: Final = {"run", "demo", "simulate", "status"}


def elsewhere() -> list[list[str]]:
    """The command lines of all guides but this and the one for Kubernetes, in order, each once: what their blocks have told to type."""
    found: dict[tuple[str, ...], None] = {}
    for block in blocks():
        if block.kind == "sh" and block.page not in {
            "docs/quickstart.md",
            "docs/kubernetes.md",
            "docs/reference/cli.md",
        }:
            for name, *words in commands(block.text):
                if name == "feedbridge" and words[0] not in _LONG:
                    found[tuple(words)] = None
    return [list(words) for words in found]


async def test_the_commands_of_the_other_guides(
    kafka: Kafka, registry: Registry, topic_prefix: str, tmp_path: Path
) -> None:
    """Each does what it is for on an installation: those that prepare it before the bridge runs, those that look at it after."""
    script = [[f"{topic_prefix}{word}" if word.startswith("cs2.") else word for word in words] for words in elsewhere()]
    for words in script:
        if words[0] == "tail" and "--no-follow" not in words:
            words += ["--count", "1"]
    at = next(number for number, words in enumerate(script) if words[0] == "check") + 1
    async with TickTockSim(seed=4, rate=400, faults={"unknown_field": 0.9, "malformed": 0.05}) as sim:
        config = configuration(
            {"cs2": ticktock(sim)}, kafka=kafka.bootstrap, prefix=topic_prefix, registry=registry.url, register=False
        )  # fmt: skip
        (tmp_path / "feedbridge.yaml").write_text(json.dumps(config))
        await told(script[:at], tmp_path)
        async with BridgeHere(config, tmp_path / "bridge") as bridge:
            await bridge.received(600, gateway="cs2")
            await bridge.drained()
    listed = await told([["dead-letters", "list", "-c", "feedbridge.yaml", "--json"]], tmp_path)
    there = re.findall(r'^{"place": "([^"]+)"', listed, re.MULTILINE)
    meant = {"[0]@12": there[0], "[0]@13": there[1]}  # the guide's examples
    script = [[meant.get(word.partition(".dead-letters")[2], word) for word in words] for words in script]
    after = await told(script[at:], tmp_path)
    for said in ("each record is published once", '"topic":"', "not_json", "+  "):
        assert said in after, after
    assert (tmp_path / "schemas" / "ticktock" / "match.updated.avsc").exists()


async def told(script: list[list[str]], folder: Path) -> str:
    """What the commands print. Fails with it if one ends with anything but 0."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _EACH, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        out, _ = await asyncio.wait_for(process.communicate(json.dumps(script).encode()), 360)
    finally:
        if process.returncode is None:
            process.kill()
    ends = re.findall(r"^<ended> (\S+) (.*)$", out.decode(), re.MULTILINE)
    assert [words for code, words in ends if code == "0"] == [" ".join(words) for words in script], out.decode()
    return out.decode()


def logs(folder: Path) -> str:
    """The ends of what the processes wrote, for whoever looks why it failed."""
    return "".join(f"\n--- {path.name}\n{path.read_text()[-3000:]}" for path in sorted(folder.glob("*.log")))


def first_command(block: Block) -> str:
    """The first two words, by which a block is known here."""
    return " ".join(block.text.split()[:2])
