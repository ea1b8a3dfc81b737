"""Compiles the extension while the package is built or installed; where that can't be, the package is pure Python.

A hook of hatchling. An editable install finds the result in ``bridge/``, beside the Python code; a wheel gets it from there.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT: Final = Path(__file__).resolve().parents[1]
SOURCES: Final = sorted(path for path in Path(__file__).parent.iterdir() if path.suffix in {".c", ".h"})
TARGET: Final = ROOT / "bridge" / f"_native{sysconfig.get_config_var('EXT_SUFFIX')}"
FLAGS: Final = (
    "-std=c11 -O2 -fPIC -fvisibility=hidden -fno-strict-aliasing -fstack-protector-strong "
    "-Wall -Wextra -Wno-cast-function-type -Wno-missing-field-initializers"
)
LINK: Final = "-bundle -undefined dynamic_lookup" if sys.platform == "darwin" else "-shared"


class NativeHook(BuildHookInterface[Any]):
    """What hatchling calls."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before anything is packed. version: ``standard`` or ``editable``."""
        TARGET.unlink(missing_ok=True)  # one of older sources is worse than none
        reason = build()
        if reason is not None:
            self.app.display_warning(f"feedbridge becomes pure Python, and frames take 1.7 times the CPU: {reason}")
        elif version == "standard":
            build_data["pure_python"] = False
            build_data["infer_tag"] = True
            build_data["artifacts"].append(f"/bridge/{TARGET.name}")


def digest() -> str:
    """A hash of all sources, which the extension has as ``SOURCES``."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in SOURCES)).hexdigest()[:16]


def build() -> str | None:
    """Compile the extension into ``bridge/``. Returns why it could not be, or None."""
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    files = [str(path) for path in SOURCES if path.suffix == ".c"]
    include = {f"-I{sysconfig.get_path(name)}" for name in ("include", "platinclude")}
    extra = shlex.split(os.environ.get("CFLAGS", ""))
    part = TARGET.with_suffix(".part")
    command = [
        *shlex.split(compiler),
        *shlex.split(FLAGS),
        *extra,
        *shlex.split(LINK),
        f'-DSOURCES="{digest()}"',
        *include,
    ]
    try:
        done = subprocess.run(
            [*command, *files, "-o", part], capture_output=True, text=True, errors="replace", check=False
        )
    except OSError as error:
        return f"{compiler}: {error.strerror}"
    if done.returncode:
        part.unlink(missing_ok=True)
        lines = done.stderr.strip().splitlines()
        return next((line for line in lines if "error" in line), lines[-1] if lines else f"{compiler} failed")
    part.replace(TARGET)
    return None


if __name__ == "__main__":
    sys.exit(build())
