"""The image: built by the steps of the Dockerfile in a plain folder, and run as its user; no container is started here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge.config import known_kinds, parse
from bridge.sim import PredictStreetSim, TickTockSim
from tests.servers.fetch import fetch_prometheus

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
#: The user of the image, and of the chart's pods.
USER = 10001
pytestmark = pytest.mark.timeout(300)


def test_hadolint_has_no_complaint() -> None:
    """The usual faults of Dockerfiles are not in ours."""
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint is not None
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_user_is_that_of_the_chart() -> None:
    """A fixed number, which the chart's security context and the journal's owner agree on."""
    values = yaml.safe_load((ROOT / "helm/feedbridge/values.yaml").read_text())
    assert f"USER {USER}:{USER}" in DOCKERFILE
    assert values["podSecurityContext"]["runAsUser"] == values["podSecurityContext"]["fsGroup"] == USER


def test_versions_agree() -> None:
    """Image, chart, compose file and package are of one version."""
    import bridge

    chart = yaml.safe_load((ROOT / "helm/feedbridge/Chart.yaml").read_text())
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    assert chart["appVersion"] == bridge.__version__
    assert f"ARG VERSION={bridge.__version__}" in DOCKERFILE
    assert compose["services"]["bridge-a"]["image"] == f"feedbridge:{bridge.__version__}"


def test_only_what_the_image_needs_is_sent_to_the_builder() -> None:
    """Each path that the Dockerfile copies is let in, all else is left out: no .git, no keys, no tests."""
    ignore = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert ignore[0] == "*"
    let_in = {line[1:] for line in ignore if line.startswith("!")}
    copied = {
        next((each for each in let_in if word == each or word.startswith(f"{each}/")), word)
        for line in DOCKERFILE.splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    }
    assert copied == let_in


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the image copies from its build stage, made by the same script."""
    work = tmp_path_factory.mktemp("image")
    source, folder = work / "src", work / "feedbridge"
    parts = ("requirements", "image", "native", "bridge", "schemas", "docs/runbooks")
    for name in (*parts, "pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        else:
            shutil.copy(ROOT / name, source / name)
    for step in ("libraries", "program"):
        done = subprocess.run(
            ["sh", "image/build.sh", step, folder], cwd=source, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    for part in (work, *work.parents):
        if part.is_relative_to(tmp_path_factory.getbasetemp().parent):
            part.chmod(0o755)  # pytest's folders are for their owner alone
    return folder


def as_its_user(*command: str | Path, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a program as the image does: with nothing of our environment and, where that can be, as its user.

    It can't where we are not root, and where the Python that tests run with lies in a home that others may not enter;
    what every user may read is looked at by a test of its own.
    """
    open_to_all = all(part.stat().st_mode & 0o005 == 0o005 for part in Path(sys.executable).resolve().parents)
    user: dict[str, Any] = (
        {"user": USER, "group": USER, "extra_groups": []} if os.geteuid() == 0 and open_to_all else {}
    )
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin", **environ}, **user
    )


def test_it_runs_as_its_user_in_a_folder_it_cannot_write(image: Path) -> None:
    """The command works with a read-only root, and every schema is there."""
    done = as_its_user(image / "bin/feedbridge", "--version", cwd=image)
    assert done.returncode == 0, done.stderr
    listed = as_its_user(image / "bin/feedbridge", "schemas", "list", "--json", cwd=image)
    assert listed.returncode == 0, listed.stderr
    assert len(json.loads(listed.stdout)) > 25


def test_every_user_may_read_it_and_none_may_write(image: Path) -> None:
    """The image's user is not its owner."""
    for path in image.rglob("*"):
        if not path.is_symlink():
            mode = path.stat().st_mode
            assert mode & 0o004, path
            assert not mode & 0o022, path
            assert not path.is_dir() or mode & 0o001, path


def test_nothing_that_installs_or_builds_is_left(image: Path) -> None:
    """No pip, no build backend, no compiler's input: what is not there can't be abused."""
    assert not list(image.glob("bin/pip*"))
    packages = {path.name.lower() for path in image.glob("lib/python*/site-packages/*")}
    assert not packages & {"pip", "setuptools", "hatchling", "wheel", "pytest", "mypy"}


def test_the_extension_is_in_it_and_loads(image: Path) -> None:
    """Compiled in the build stage; the compiler stays there."""
    assert list(image.glob("lib/python*/site-packages/bridge/_native*.so"))
    assert not list(image.glob("lib/python*/site-packages/bridge/**/*.[ch]"))
    ask = "from bridge import native; print(native.available())"
    done = as_its_user(image / "bin/python", "-c", ask, cwd=image)
    assert done.stdout == "True\n", done.stderr


def test_it_is_small(image: Path) -> None:
    """What it adds to its base stays below 150 MB."""
    size = sum(path.stat().st_size for path in image.rglob("*") if path.is_file() and not path.is_symlink())
    assert size < 150e6, f"{size / 1e6:.0f} MB"


def test_the_compose_file_says_what_feedbridge_takes(tmp_path: Path) -> None:
    """Its configuration loads, its keys are those of the simulators, and every dependency exists."""
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    services = compose["services"]
    text = compose["configs"]["feedbridge"]["content"].replace("$${", "${")
    environ = services["bridge-a"]["environment"]
    config = parse(text, where="compose.yaml", environ=environ, folder=tmp_path, kinds=known_kinds())
    assert environ["TICKTOCK_API_KEY"] == TickTockSim.default_key
    assert environ["PREDICTSTREET_API_KEY"] == PredictStreetSim.default_key
    assert {each.url.host for each in config.gateways.values()} <= services.keys()
    assert str(config.kafka["bootstrap.servers"]).split(":")[0] in services
    for service in services.values():
        assert service.get("depends_on", {}).keys() <= services.keys()
    assert services["bridge-b"]["volumes"] != services["bridge-a"]["volumes"]


def test_the_compose_file_has_the_bridges_watched(tmp_path: Path) -> None:
    """Prometheus takes its configuration, with the rules, and scrapes both; Grafana finds it and the dashboard."""
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    services, configs = compose["services"], compose["configs"]
    (tmp_path / "prometheus.yml").write_text(configs["prometheus"]["content"])
    (tmp_path / "alerts.yaml").write_bytes((ROOT / configs["alerts"]["file"]).read_bytes())
    promtool = fetch_prometheus() / "promtool"
    done = subprocess.run(
        [promtool, "check", "config", tmp_path / "prometheus.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [scraped] = yaml.safe_load(configs["prometheus"]["content"])["scrape_configs"]
    assert {target.split(":")[0] for target in scraped["static_configs"][0]["targets"]} == {"bridge-a", "bridge-b"}
    [source] = yaml.safe_load(configs["grafana-source"]["content"])["datasources"]
    assert source["url"] == "http://prometheus:9090"
    [folder] = yaml.safe_load(configs["grafana-folder"]["content"])["providers"]
    places = {each["target"] for each in services["grafana"]["configs"]}
    assert f"{folder['options']['path']}/feedbridge.json" in places
    assert {each["source"] for service in services.values() for each in service.get("configs", [])} == configs.keys()
    assert json.loads((ROOT / configs["dashboard"]["file"]).read_text())["uid"] == "feedbridge"
