"""A later release of feedbridge, whose schemas take what the present ones do not: ``python -m tests.patched run -c FILE``.

`loosened` writes its schemas; the program reads them from the folder that FEEDBRIDGE_TEST_SCHEMAS names.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any, Final

from bridge import catalog
from bridge.cli import main

FOLDER: Final = "FEEDBRIDGE_TEST_SCHEMAS"
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


if __name__ == "__main__":
    if FOLDER in os.environ:
        catalog._shipped = lambda: Path(os.environ[FOLDER])
    main()
