"""The dashboard in the repository is the one that the code makes, and asks for metrics that there are."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.unit.ops.test_alerts import exposed

OPS: Final = Path(__file__).parents[3] / "ops"


def test_the_file_is_what_the_code_makes() -> None:
    """Else `make format` was forgotten."""
    subprocess.run([sys.executable, OPS / "dashboard.py", "--check"], check=True)


def test_panels_ask_for_metrics_that_there_are() -> None:
    """In every one, and each has words."""
    panels = [each for each in json.loads((OPS / "dashboard.json").read_text())["panels"] if each["type"] != "row"]
    assert len(panels) > 20
    for panel in panels:
        asked = {
            name for each in panel["targets"] for name in re.findall(r"\b(?:feedbridge|process)_\w+", each["expr"])
        }
        assert asked
        assert asked <= exposed()
        assert panel["description"].endswith(".")


def test_panels_lie_side_by_side() -> None:
    """None covers another, none leaves the grid."""
    taken: set[tuple[int, int]] = set()
    for panel in json.loads((OPS / "dashboard.json").read_text())["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells
