"""What commands that read a stretch of topics share: the span, the decoders, the width of what they show."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TYPE_CHECKING, Final

from bridge.commands.command import load_catalog

if TYPE_CHECKING:
    from bridge.config import Config
    from bridge.tail import Decoder
    from bridge.verdict import Span


def span_of(since: str | None, until: str | None) -> Span:
    """The stretch of time that ``--since`` and ``--until`` mean. Raises ConfigError."""
    from bridge.tail import parse_start
    from bridge.verdict import Span

    now = time.time_ns() // 1_000_000

    def moment(text: str | None) -> int | None:
        found = None if text is None else parse_start(text, now=now)
        return found if isinstance(found, int) else None

    return Span(since=moment(since), until=moment(until))


def decoder_of(config: Config) -> Decoder:
    """What reads the values of an installation: by the schemas that are installed, and its registry."""
    from bridge.registry import Registry
    from bridge.tail import Decoder

    return Decoder.of(load_catalog(), registry=Registry(config.registry) if config.registry else None)


def gap_decoder_of(config: Config) -> Decoder:
    """What reads the gaps of an installation: as `decoder_of`, also while the registry is away."""
    from bridge.gap_decoder import GapDecoder
    from bridge.registry import Registry

    return GapDecoder.of(load_catalog(), registry=Registry(config.registry) if config.registry else None)


def width() -> int:
    """Columns of the terminal; without end where there is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _WIDE


_WIDE: Final = 10_000
