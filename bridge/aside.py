"""Frames set aside: what must not be published, kept in a file beside the journal for a person to look at.

A file is JSON lines, one frame each: ``position`` in the journal, ``gateway``, ``connection``, ``received`` (ms since the
epoch), ``source``, ``hint`` (an entity key that its connection knew, or null), and the bytes as received, as ``raw`` where
they are UTF-8, else in base64 as ``base64``.
"""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Any

import msgspec

from bridge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from bridge.batch import Batch
    from bridge.frame import Frame


def keep(oversize: Path, batch: Batch) -> None:
    """Write what Kafka can't hold, or must not, to files of its own, before what says so is committed.

    A frame that no dead letter can hold: ``oversize/<sha256>``. Frames that can't be proved unpublished, beside that folder:
    ``expired/<journal>-<position>.jsonl``. A batch that is made again writes the same files. Raises ConfigError.
    """
    try:
        for digest, raw in batch.oversize:
            oversize.mkdir(0o700, parents=True, exist_ok=True)
            (oversize / digest).write_bytes(raw)
        if batch.expired:
            write(oversize.parent / "expired", batch.kept, batch.expired)
    except OSError as error:
        raise ConfigError(
            f"frames that must not go to Kafka can't be kept: {error.strerror}",
            where=str(oversize.parent),
            mend="make room on the disk",
        ) from error


def write(folder: Path, name: str, frames: Sequence[tuple[int, Frame]]) -> None:
    """Write (position, frame) to the file `name` in `folder`. It is on the disk then. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as file:
        for line in _lines(frames):
            file.write(line)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _lines(frames: Sequence[tuple[int, Frame]]) -> Iterator[bytes]:
    for position, frame in frames:
        told: dict[str, Any] = {
            "position": position,
            "gateway": frame.gateway,
            "connection": frame.connection,
            "received": frame.received,
            "source": frame.source,
            "hint": frame.hint,
        }
        try:
            told["raw"] = frame.raw.decode()
        except UnicodeDecodeError:
            told["base64"] = base64.b64encode(frame.raw).decode()
        yield msgspec.json.encode(told) + b"\n"
