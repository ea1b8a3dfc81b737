"""Gateways of other packages: found by their entry point, and a broken one is named."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "gateway"


def install(folder: Path, code: str | None, *, target: str = "plug:Plug") -> None:
    """What an installed package leaves behind: its module, and metadata with the entry point."""
    meta = folder / "plug-1.0.dist-info"
    meta.mkdir(parents=True)
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: plug\nVersion: 1.0\n")
    (meta / "entry_points.txt").write_text(f"[feedbridge.gateways]\nplug = {target}\n")
    if code is not None:
        (folder / "plug.py").write_text(code)


def feedbridge(*arguments: str, path: Path) -> subprocess.CompletedProcess[str]:
    """The command, with that folder among those where packages are looked for."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(path), str(EXAMPLE), str(ROOT)])}
    return subprocess.run(
        [sys.executable, "-m", "bridge.cli", *arguments],
        env=environ, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_gateway_of_another_package(tmp_path: Path) -> None:
    """Its kind is in the configuration, its types are listed, and their topics planned."""
    install(tmp_path / "site", None, target="tally_feed:Tally")
    config = tmp_path / "feedbridge.yaml"
    config.write_text(
        "name: main\ngateways:\n  exchange: {kind: tally, url: ws://127.0.0.1:1, symbols: [BTC-EUR]}\n"
        "kafka: {bootstrap.servers: localhost:9092}\n"
    )
    done = feedbridge("schemas", "list", "-c", str(config), "--json", path=tmp_path / "site")
    assert done.returncode == 0, done.stderr
    topics = {row["topic"] for row in json.loads(done.stdout) if row["gateway"] == "exchange"}
    assert topics == {"exchange.trade", "exchange.ticker", "exchange.unknown"}
    config.write_text(config.read_text().replace("symbols", "symbol"))
    done = feedbridge("config", "show", "-c", str(config), path=tmp_path / "site")
    assert done.returncode == 78
    assert "symbols" in done.stderr


def test_the_guide_counts_the_lines_of_the_example() -> None:
    """Each file of it, and no other."""
    guide = (ROOT / "docs" / "gateway-guide.md").read_text(encoding="utf-8")
    counted = {name: int(lines) for name, lines in re.findall(r"^\| `([^`]+)` \| (\d+) \|", guide, re.MULTILINE)}
    files = [path for path in EXAMPLE.rglob("*") if path.is_file() and path.suffix in {".py", ".avsc", ".toml"}]
    assert counted == {
        str(path.relative_to(EXAMPLE)): len(path.read_text(encoding="utf-8").splitlines()) for path in files
    }


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import nowhere", "ModuleNotFoundError"),
        ("Plug = 1", "no subclass"),
        ("from bridge.gateways.ticktock import TickTock as Plug", "must be a folder that holds a folder 'ticktock'"),
        (
            (
                "from bridge.gateways.ticktock import TickTock\nfrom pathlib import Path\n"
                "class Plug(TickTock):\n    schemas = Path('SCHEMAS')\n"
            ),
            "there is a kind 'ticktock' already",
        ),
    ],
)
def test_a_broken_one_is_named(tmp_path: Path, code: str, words: str) -> None:
    """With the package to blame, in one line."""
    install(tmp_path, code.replace("SCHEMAS", str(ROOT / "schemas")))
    done = feedbridge("schemas", "list", path=tmp_path)
    assert done.returncode == 78
    assert "the package plug can't be used" in done.stderr
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
