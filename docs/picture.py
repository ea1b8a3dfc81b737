"""Makes docs/demo.svg, the picture in the README, from a real run of the demo: ``python docs/picture.py``."""  # noqa: INP001 - a script

from __future__ import annotations

import asyncio
import io
import re
from pathlib import Path
from typing import Final

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from bridge import demo, screen
from bridge.screen import Facts

SECONDS: Final = 45.0
WIDTH, HEIGHT = 80, 23
TARGET: Final = Path(__file__).with_name("demo.svg")


def main() -> None:
    """Run the demo and keep its last screen."""
    shown: list[Facts] = []
    quiet = Console(file=io.StringIO())
    asyncio.run(demo.run(seconds=SECONDS, out=quiet, paint=shown.append))
    picture = Console(record=True, file=io.StringIO(), width=WIDTH, height=HEIGHT, force_terminal=True)
    picture.print(screen.screen(shown[-1], width=WIDTH, height=HEIGHT))
    # The format's own fonts come from another host: a picture must not ask anyone.
    form = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    svg = picture.export_svg(title="feedbridge demo", code_format=form, unique_id="demo")
    TARGET.write_text(svg.replace("Fira Code, monospace", "ui-monospace, monospace"), encoding="utf-8")


if __name__ == "__main__":
    main()
