"""Runs one program that must not outlive its owner: ``keeper.py LOG PROGRAM ARGUMENT…``.

The owner holds the other end of this process's standard input and never writes to it. When the owner ends, in whatever
way, the kernel closes that end and the program is killed. Should the keeper itself be killed, the kernel kills the
program too (``PR_SET_PDEATHSIG``). That signal alone would not do: it comes when the *thread* that started the program
ends, and tests start and restart servers from worker threads. Here the only thread lives as long as the process.

What the program has started itself, as a shell does in the background, is killed with it, and when it ends: all of its
process group.

Prints the program's pid, then its exit status when it ends. A session of its own keeps Ctrl-C in a terminal from
reaching the servers before the tests have ended.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Run the program of the command line until it ends or the owner does."""
    log, *command = sys.argv[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    keeper = os.getpid()

    def die_with_keeper() -> None:
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0 or os.getppid() != keeper:
            os._exit(1)

    with Path(log).open("ab") as output:
        program = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            preexec_fn=die_with_keeper,  # noqa: PLW1509 - there is one thread
            process_group=0,
        )
    sys.stdout.write(f"{program.pid}\n")
    sys.stdout.flush()
    ended = os.pidfd_open(program.pid)
    select.select([sys.stdin, ended], [], [])
    # Before it is waited for: until then the number is surely its own.
    os.killpg(program.pid, signal.SIGKILL)
    return abs(program.wait())


if __name__ == "__main__":
    sys.exit(main())
