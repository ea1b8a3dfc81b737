"""The extension is compiled where that can be, from the sources that are there; where it can't, the package is whole without."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from bridge import native

ROOT = Path(__file__).resolve().parents[2]
#: As a front end such as pip calls hatchling.
BUILD = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"


def hook(folder: Path) -> ModuleType:
    """``native/hook.py`` of a source tree."""
    spec = importlib.util.spec_from_file_location("hook", folder / "native/hook.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What a wheel is made of, as a checkout has it, with an extension of older sources."""
    for name in ("native", "bridge", "schemas", "docs/runbooks"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, tmp_path)
    target: Path = hook(tmp_path).TARGET
    target.write_bytes(b"old")
    return tmp_path


def wheel(tree: Path, compiler: str) -> Path:
    """Build one."""
    subprocess.run(
        [sys.executable, "-c", BUILD, "dist"],
        cwd=tree,
        env={"CC": compiler, "PATH": "/usr/bin:/bin"},
        check=True,
        capture_output=True,
    )
    [made] = tree.glob("dist/*.whl")
    return made


def test_without_a_compiler_the_wheel_is_pure(tree: Path) -> None:
    """And an extension that lay there from before is gone."""
    made = wheel(tree, "no-such-compiler")
    assert made.name.endswith("py3-none-any.whl")
    assert not [name for name in zipfile.ZipFile(made).namelist() if name.endswith(".so")]
    assert not list((tree / "bridge").glob("*.so"))


def test_with_one_the_wheel_is_of_this_platform(tree: Path) -> None:
    """The extension is in it, its sources are not."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    made = wheel(tree, "cc")
    names = zipfile.ZipFile(made).namelist()
    assert "none-any" not in made.name
    assert f"bridge/{hook(tree).TARGET.name}" in names
    assert not [name for name in names if name.endswith((".c", ".h", "hook.py"))]


def test_a_source_that_does_not_compile_is_told(tree: Path) -> None:
    """By the compiler's first error."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    (tree / "native/json.c").write_text("int f(void) { return g; }\n")
    found = hook(tree)
    assert "error" in found.build()
    assert found.TARGET.read_bytes() == b"old"


def test_the_extension_is_of_these_sources() -> None:
    """Else `make install` makes it anew."""
    if not native.available():
        pytest.skip(native.absent)
    assert hook(ROOT).digest() == native.extension.SOURCES
