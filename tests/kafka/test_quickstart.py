"""docs/quickstart.md, block by block, in one shell as a reader would type it, on a real Kafka."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.blocks import ROOT, Block, blocks
from tests.kafka.conftest import Kafka
from tests.servers.process import Port

pytestmark = pytest.mark.timeout(180)

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
    shell = await asyncio.create_subprocess_exec(
        "bash", "-c", script, cwd=tmp_path, start_new_session=True,
        env={**os.environ, "PATH": f"{shim.parent}:{os.environ['PATH']}"},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        out, _ = await asyncio.wait_for(shell.communicate(), 150)
    finally:
        if shell.returncode != 0:
            os.killpg(shell.pid, signal.SIGKILL)
        for port in ports.values():
            port.close()
    said = out.decode()
    assert shell.returncode == 0, said + logs(tmp_path)
    parts = iter(re.split(r"^<(\d+)>$", said, flags=re.MULTILINE)[1:])
    shown = {name: next(parts) for name in parts}
    told = {first_command(block): shown[str(block.line)] for block in PAGE if block.kind == "sh"}
    assert told["feedbridge run"].count(f"{topic_prefix}cs2.") >= 3
    assert "active" in told["feedbridge status"]
    assert "standby" in told["JOURNAL=./journal-2 PORT=8082"]
    assert "active" in told["kill -9"]
    assert "each record is published once" in told["feedbridge verify"]
    assert "reason:" in told["feedbridge dead-letters"]


def logs(folder: Path) -> str:
    """The ends of what the processes wrote, for whoever looks why it failed."""
    return "".join(f"\n--- {path.name}\n{path.read_text()[-3000:]}" for path in sorted(folder.glob("*.log")))


def first_command(block: Block) -> str:
    """The first two words, by which a block is known here."""
    return " ".join(block.text.split()[:2])
