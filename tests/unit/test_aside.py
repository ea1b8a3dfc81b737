"""What must not be published is kept whole, in a file that anybody can read."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from bridge import aside
from bridge.frame import STREAM, Frame


def test_every_frame_is_a_line_with_its_bytes(tmp_path: Path) -> None:
    """Text as text, anything else in base64."""
    frames = [Frame("cs2", "list", 5, STREAM, '{"é":"\\n"}'.encode()), Frame("cs2", "m1", 6, STREAM, b"\xff\n", "m1")]
    name = "j-40.jsonl"
    aside.write(tmp_path / "expired", name, list(enumerate(frames, 40)))
    first, second = map(json.loads, (tmp_path / "expired" / name).read_bytes().splitlines())
    assert first == {
        "position": 40,
        "gateway": "cs2",
        "connection": "list",
        "received": 5,
        "source": "stream",
        "hint": None,
        "raw": '{"é":"\\n"}',
    }
    assert base64.b64decode(second["base64"]) == b"\xff\n"
    assert (second["position"], second["hint"]) == (41, "m1")


def test_a_batch_that_is_made_again_writes_the_same_file(tmp_path: Path) -> None:
    """After a crash between file and commit nothing is there twice."""
    frames = [(7, Frame("cs2", "list", 5, STREAM, b"{}"))]
    aside.write(tmp_path, "7.jsonl", frames)
    before = (tmp_path / "7.jsonl").read_bytes()
    aside.write(tmp_path, "7.jsonl", frames)
    assert [path.name for path in tmp_path.iterdir()] == ["7.jsonl"]
    assert (tmp_path / "7.jsonl").read_bytes() == before
