"""Asks Kafka's own Java client which partition a key belongs to."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from tests.servers.fetch import HERE, fetch, java
from tests.servers.process import ServerError


def java_partitions(keys: Sequence[bytes], partitions: int) -> list[int]:
    """Return for each key the partition, of that many, that ``org.apache.kafka.clients.producer`` sends it to.

    Starts a JVM (about a second): ask for many keys at once. Raises ServerError with what Java says.
    """
    command = [java(), "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-cp", f"{fetch('kafka')}/*"]
    done = subprocess.run(
        [*command, str(HERE / "Murmur2.java"), str(partitions)],
        input="".join(f"{key.hex()}\n" for key in keys),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ServerError(f"Murmur2.java failed:\n{done.stderr}")
    return [int(line) for line in done.stdout.split()]
