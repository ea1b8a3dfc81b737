"""The command line (design 6.1): puts the commands of `bridge.commands` together and says how they end.

Exit codes are those of `bridge.errors`; an error is one line on standard error: where, what, what to do.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

import click

from bridge import __version__
from bridge.commands import filling, gaps, letters, profiles, proofs, records, replaying, running, schemas, setup
from bridge.commands.command import Group

USAGE: Final = 2
#: What a shell reports for a process that was interrupted.
INTERRUPTED: Final = 128 + signal.SIGINT


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit. args: without the program's name; None: those of the process."""
    try:
        code = cli.main(args, prog_name="feedbridge", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(USAGE)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "feedbridge"
        where = " ".join(path.split()[1:])
        text = " ".join(error.format_message().split()).rstrip(".")
        sys.stderr.write(
            f"feedbridge: {where}{': ' if where else ''}{text[:1].lower()}{text[1:]}; see `{path} --help`\n"
        )
        sys.exit(USAGE)
    except click.Abort:
        sys.exit(INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


@click.group(
    cls=Group,
    examples=[
        "feedbridge demo",
        "feedbridge topics apply -c feedbridge.yaml",
        "feedbridge schemas register -c feedbridge.yaml",
        "feedbridge check -c feedbridge.yaml",
        "feedbridge run -c feedbridge.yaml",
    ],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    epilog="Exit codes: 0 done, 1 a check failed, 2 usage, 65 bad data, 69 a service can't be reached, 70 a bug, "
    "77 credentials refused, 78 bad configuration.",
)
@click.version_option(__version__, "-V", "--version", message="feedbridge %(version)s")
def cli() -> None:
    """Live WebSocket feeds into Kafka, exactly once.

    Begin with `feedbridge demo`: it shows what happens, with nothing to set up. Each command says more with --help.
    """


gaps.gaps.add_command(filling.gaps_fill)
letters.dead_letters.add_command(replaying.dead_letters_replay)
for command in (
    gaps.gaps,
    proofs.verify,
    profiles.profile,
    letters.dead_letters,
    records.tail,
    running.demo,
    running.run,
    running.simulate,
    running.status,
    schemas.schemas,
    setup.check,
    setup.config,
    setup.topics,
):
    cli.add_command(command)


if __name__ == "__main__":
    main()
