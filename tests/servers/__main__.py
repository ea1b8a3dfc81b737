"""``python -m tests.servers up|down|status``: keep the shared servers running between test runs."""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor

from tests.servers.fetch import FetchError
from tests.servers.process import ServerError
from tests.servers.shared import KINDS, Running, find, leave, use


def main() -> int:
    """Do what the command line says; errors are one line on stderr and exit code 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.servers", description="Kafka and registry for tests.")
    parser.add_argument("action", choices=("up", "down", "status"))
    action = parser.parse_args().action
    try:
        with ThreadPoolExecutor() as pool:
            if action == "up":
                for running in pool.map(_up, KINDS):
                    print(_line(running))
            elif action == "down":
                for kind, ended in zip(KINDS, pool.map(leave, KINDS), strict=True):
                    print(f"{kind}: {'stopped' if ended else 'in use by a test run, stops after it'}")
            else:
                for kind in KINDS:
                    print(_line(here) if (here := find(kind)) else f"{kind}: not running")
    except (FetchError, ServerError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _up(kind: str) -> Running:
    with use(kind, stay=True) as running:
        return running


def _line(running: Running) -> str:
    host, server = running.pids
    return f"{running.kind}: {running.address} (pid {server}, host {host})"


if __name__ == "__main__":
    sys.exit(main())
