"""docs/security.md says what is there; what it says happens is tested in tests/kafka."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
import yaml

from bridge.cli import cli
from bridge.config import known_kinds, parse

PAGE = (Path(__file__).parents[2] / "docs" / "security.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
REST = """
name: main
gateways: {cs2: {kind: ticktock, url: "wss://gateway.invalid", api_key: k}}
"""


@pytest.mark.parametrize("block", BLOCKS, ids=["scram", "mtls", "oauth", "registry"])
def test_each_example_is_a_configuration(block: str, tmp_path: Path) -> None:
    """With its files and variables there."""
    (tmp_path / "password").write_text("secret")
    text = re.sub(r"\$\{file:[^}]+\}", "${file:password}", block)
    kafka = "" if "kafka" in yaml.safe_load(text) else "kafka: {bootstrap.servers: a:1}\n"
    names = dict.fromkeys(re.findall(r"\$\{([A-Z_]+)\}", text), "s")
    config = parse(REST + kafka + text, where="page", environ=names, folder=tmp_path, kinds=known_kinds())
    assert config.kafka["bootstrap.servers"]


def test_each_command_can_be_typed() -> None:
    """With these options."""
    lines = re.findall(r"^feedbridge [^\n#]+", PAGE, re.MULTILINE)
    assert len(lines) == 5
    for line in lines:
        words = shlex.split(line)[1:]
        command: click.Command = cli
        context = click.Context(cli)
        while isinstance(command, click.Group):
            command = command.commands[words.pop(0)]
            context = click.Context(command, parent=context)
        command.parse_args(context, words)
