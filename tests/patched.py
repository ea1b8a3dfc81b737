"""A later release of feedbridge, whose schemas take what the present ones do not: ``python -m tests.patched run -c FILE``.

`loosened` writes its schemas; the program reads them from the folder that FEEDBRIDGE_TEST_SCHEMAS names. Where
FEEDBRIDGE_TEST_LETTERS gives a number, the process is killed (SIGKILL) as it is about to hand in a dead letter after so many.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any, Final

from bridge import catalog
from bridge.cli import main
from bridge.replayer import Replayer

FOLDER: Final = "FEEDBRIDGE_TEST_SCHEMAS"
LETTERS: Final = "FEEDBRIDGE_TEST_LETTERS"
#: Type → field that may also be a number there.
LOOSE: Final = {"event.kill": "type", "market.updated": "textEN"}


def loosened(folder: Path) -> Path:
    """Write the schemas of the later release into a folder; returns it."""
    shutil.copytree(Path(__file__).parents[1] / "schemas", folder)
    for name, field in LOOSE.items():
        file = folder / "ticktock" / f"{name}.avsc"
        schema = json.loads(file.read_text())
        payload: dict[str, Any] = next(each for each in schema["fields"] if each["name"] == "data")
        found = next(each for each in payload["type"]["fields"] if each["name"] == field)
        found["type"] = [*found["type"], "long"]
        file.write_text(json.dumps(schema))
    return folder


def mortal(letters: int) -> None:
    """Have this process die as it replays."""
    put, left = Replayer._put, itertools.repeat(None, letters)

    def mutant(self: Replayer, *letter: Any) -> None:
        if next(left, self) is self:
            os.kill(os.getpid(), signal.SIGKILL)
        put(self, *letter)

    setattr(Replayer, "_put", mutant)  # noqa: B010 - a type checker takes no method for another


if __name__ == "__main__":
    if FOLDER in os.environ:
        catalog._shipped = lambda: Path(os.environ[FOLDER])
    if LETTERS in os.environ:
        mortal(int(os.environ[LETTERS]))
    main()
