"""Gets the servers' archives into ``.cache/servers``: through Maven, every file checked against its SHA-256, or from Debian.

Versions are pinned in ``pom-<server>.xml``, the files with their sums in ``<server>.sha256`` (as ``sha256sum`` writes
them). A second call finds the folder complete and returns at once. Needs nothing but Python, a JDK and Maven, so it
also runs as a program (``python3 tests/servers/fetch.py``) while the virtual environment is still being made.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
CACHE: Final = HERE.parent.parent / ".cache"
SERVERS: Final = ("kafka", "apicurio")
RABBITMQ: Final = "rabbitmq"
KCAT: Final = "kcat"
PROMETHEUS: Final = "prometheus"
CHROMIUM: Final = "chromium"
#: What comes from Debian's packages.
DEBIAN: Final = (RABBITMQ, KCAT, PROMETHEUS, CHROMIUM)

#: What RabbitMQ needs of Erlang, besides itself; apt checks their signatures.
_RABBITMQ_PACKAGES: Final = (
    "rabbitmq-server",
    *(f"erlang-{part}" for part in (
        "asn1", "base", "crypto", "eldap", "inets", "mnesia", "os-mon", "parsetools", "public-key", "runtime-tools",
        "ssl", "syntax-tools", "tools", "xmerl",
    )),
)  # fmt: skip

_KCAT_PACKAGES: Final = ("kcat", "librdkafka1", "libyajl2")
#: A browser without letters would show boxes.
_CHROMIUM_PACKAGES: Final = ("chromium", "fonts-dejavu-core", "fonts-roboto-unhinted")
_CHROMIUM_PROGRAM: Final = "usr/lib/chromium/chromium"

#: Pinned, as another plugin may lay the files out differently.
_GOAL: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_ATTEMPTS: Final = 3
_NEEDS: Final = "install a JDK 17 or newer and Maven 3.8 or newer (Debian: openjdk-17-jdk-headless and maven)"


class FetchError(Exception):
    """A server's archives can't be had; the text says why and what to do."""


def fetch(server: str) -> Path:
    """Return the folder with the server's files, complete and checked; fetch them first where they are missing.

    server: one of `SERVERS`. Several processes may call at once: one fetches, the others wait for it.
    Raises FetchError: no JDK or Maven, Maven failed three times, a file is missing, unexpected or not the pinned one.
    """
    java()
    sums = _sums(server)
    version = hashlib.sha256((HERE / f"pom-{server}.xml").read_bytes() + repr(sums).encode()).hexdigest()[:12]
    folder = CACHE / "servers" / f"{server}-{version}"
    if folder.is_dir():
        return folder
    with _locked(server):
        if not folder.is_dir():
            fresh = _download(server)
            _check(server, fresh, sums)
            for archive in fresh.glob("*.tar.gz"):
                _unpack(archive, fresh)
            # Only a complete folder ever has the final name
            fresh.rename(folder)
    return folder


def fetch_rabbitmq() -> Path:
    """Return the folder that holds ``usr/lib/erlang`` and ``usr/lib/rabbitmq``: the machine's own, or one unpacked here.

    Raises FetchError.
    """
    folder = _debian(RABBITMQ, _RABBITMQ_PACKAGES, _has_rabbitmq)
    _relocate(folder / "usr/lib/erlang/bin/erl")
    return folder


def fetch_kcat() -> tuple[Path, dict[str, str]]:
    """Return the path of kcat and what must be added to its environment. Raises FetchError."""
    folder = _debian(KCAT, _KCAT_PACKAGES, lambda root: (root / "usr/bin/kcat").exists())
    libraries = ":".join(str(each.parent) for each in folder.glob("usr/lib/*/librdkafka.so.1"))
    return folder / "usr/bin/kcat", {} if folder == Path("/") else {"LD_LIBRARY_PATH": libraries}


def fetch_prometheus() -> Path:
    """Return the folder that holds ``prometheus`` and ``promtool``. Raises FetchError."""
    return _debian(PROMETHEUS, (PROMETHEUS,), lambda root: (root / "usr/bin/promtool").exists()) / "usr/bin"


def fetch_chromium() -> tuple[Path, dict[str, str]]:
    """Return the path of Chromium and what must be added to its environment. Raises FetchError."""
    folder = _debian(CHROMIUM, _CHROMIUM_PACKAGES, lambda root: (root / _CHROMIUM_PROGRAM).exists(), needed=True)
    if folder == Path("/"):
        return folder / _CHROMIUM_PROGRAM, {}
    fonts = folder / "fonts.conf"
    if not fonts.exists():
        places = "".join(f"<dir>{each}</dir>" for each in ("/usr/share/fonts", folder / "usr/share/fonts"))
        fonts.write_text(f"<fontconfig>{places}<cachedir>{folder / 'fonts.cache'}</cachedir></fontconfig>\n")
    libraries = sorted({str(each.parent) for each in folder.glob("usr/lib/*-linux-*/**/*.so*")})
    return folder / _CHROMIUM_PROGRAM, {"LD_LIBRARY_PATH": ":".join(libraries), "FONTCONFIG_FILE": str(fonts)}


def _debian(name: str, packages: Sequence[str], complete: Callable[[Path], bool], *, needed: bool = False) -> Path:
    """The root under which packages of Debian are: the machine's, or a folder of the cache.

    needed: with all that they need and this machine lacks. No package is installed and no right is needed: apt downloads
    and checks, dpkg unpacks. Raises FetchError.
    """
    if complete(Path("/")):
        return Path("/")
    needs = f"install {name} (Debian: {packages[0]}), or on Debian have `apt-get update` run first"
    folder = CACHE / "servers" / name
    with _locked(name):
        if not folder.is_dir():
            fresh = folder.with_suffix(".part")
            shutil.rmtree(fresh, ignore_errors=True)
            (fresh / "packages/partial").mkdir(parents=True)
            way = ["download"]
            if needed:
                way = ["install", "--yes", "--download-only", "--reinstall", "--no-install-recommends"]
                way += ["--option=Debug::NoLocking=1", f"--option=Dir::Cache::archives={fresh / 'packages'}"]
            _run([_program("apt-get", needs), "-qq", *way, *packages], fresh / "packages", needs)
            for package in (fresh / "packages").glob("*.deb"):
                _run([_program("dpkg-deb", needs), "--extract", str(package), str(fresh)], fresh, needs)
            shutil.rmtree(fresh / "packages")
            if not complete(fresh):
                raise FetchError(f"{name}: the packages do not hold what is expected; {needs}")
            fresh.rename(folder)
    return folder


def java() -> str:
    """Return the path of the ``java`` program; FetchError where there is none."""
    return _program("java")


def lock(server: str) -> None:
    """Write ``<server>.sha256`` anew from what Maven delivers now; to be run after a change of versions, and reviewed."""
    with _locked(server):
        fresh = _download(server)
        lines = [f"{_sha256(file)}  {file.name}\n" for file in sorted(fresh.iterdir())]
        (HERE / f"{server}.sha256").write_text("".join(lines))
        shutil.rmtree(fresh)


def main() -> int:
    """``fetch [SERVER…]`` (the default: all that serve) or ``lock [SERVER…]``; errors are one line on stderr."""
    parser = argparse.ArgumentParser(description="Gets the servers that the tests run against.")
    parser.add_argument("action", choices=("fetch", "lock"), nargs="?", default="fetch")
    parser.add_argument(
        "servers",
        nargs="*",
        metavar="server",
        help=f"of {', '.join((*SERVERS, *DEBIAN))}; the default is all but {CHROMIUM}",
    )
    options = parser.parse_args()
    servers = options.servers or (
        SERVERS if options.action == "lock" else (*SERVERS, *(each for each in DEBIAN if each != CHROMIUM))
    )
    if unknown := set(servers) - {*SERVERS, *(() if options.action == "lock" else DEBIAN)}:
        parser.error(f"no such server: {', '.join(sorted(unknown))}")
    try:
        for server in servers:
            if options.action == "lock":
                lock(server)
            else:
                _FETCH.get(server, partial(fetch, server))()
    except FetchError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _download(server: str) -> Path:
    """Let Maven copy the files of the pom into a new folder beside the final one, and return it."""
    maven = _program("mvn")
    fresh = CACHE / "servers" / f"{server}.part"
    command = [maven, "-q", "-B", "-f", str(HERE / f"pom-{server}.xml"), _GOAL]
    command += [f"-DoutputDirectory={fresh}", "-DincludeScope=runtime", "-Dstyle.color=never"]
    said = ""
    for _ in range(_ATTEMPTS):
        shutil.rmtree(fresh, ignore_errors=True)
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode == 0:
            return fresh
        said = (run.stdout + run.stderr).strip()
    raise FetchError(
        f"{server}: Maven could not get the files in {_ATTEMPTS} attempts; its last words:\n{said[-2000:]}"
    )


def _check(server: str, folder: Path, sums: dict[str, str]) -> None:
    found = {file.name: _sha256(file) for file in folder.iterdir()}
    if found != sums:
        wrong = sorted(name for name in found.keys() | sums.keys() if found.get(name) != sums.get(name))
        raise FetchError(f"{server}: not the files that {server}.sha256 lists: {', '.join(wrong)}")


def _unpack(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as tar:
        if hasattr(tarfile, "data_filter"):
            tar.extractall(folder, filter="data")
        else:  # the first Python 3.11s lack filters; the sum of the archive is checked
            tar.extractall(folder)  # noqa: S202
    archive.unlink()


def _sums(server: str) -> dict[str, str]:
    lines = (HERE / f"{server}.sha256").read_text().splitlines()
    return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _program(name: str, needs: str = _NEEDS) -> str:
    path = shutil.which(name)
    if path is None:
        raise FetchError(f"the tests run on real servers and need `{name}`, which is not on PATH: {needs}")
    return path


def _has_rabbitmq(root: Path) -> bool:
    found = ("usr/lib/erlang/erts-*/bin/erlexec", "usr/lib/rabbitmq/lib/rabbitmq_server-*/plugins")
    return all(any(root.glob(each)) for each in found)


def _relocate(erl: Path) -> None:
    """Have the program find Erlang where it lies: the packages expect it in ``/usr``."""
    here = 'ROOTDIR=$(dirname "$(dirname "$(readlink -f "$0")")")'
    text = erl.read_text()
    if not erl.is_relative_to("/usr") and here not in text:
        erl.write_text(text.replace("ROOTDIR=/usr/lib/erlang", here))


def _run(command: list[str], folder: Path, needs: str) -> None:
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        said = (run.stdout + run.stderr).strip()[-2000:]
        raise FetchError(f"{command[0]} failed; {needs}; its last words:\n{said}")


@contextmanager
def _locked(server: str) -> Iterator[None]:
    (CACHE / "servers").mkdir(parents=True, exist_ok=True)
    with (CACHE / "servers" / f"{server}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
        # Closing the file frees the lock, also when this process is killed


_FETCH: Final[dict[str, Callable[[], object]]] = {
    RABBITMQ: fetch_rabbitmq,
    KCAT: fetch_kcat,
    PROMETHEUS: fetch_prometheus,
    CHROMIUM: fetch_chromium,
}


if __name__ == "__main__":
    sys.exit(main())
