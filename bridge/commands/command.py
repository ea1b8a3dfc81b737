"""What all commands share: how they end, their options, and the way to the configuration."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from bridge.errors import CheckFailed

if TYPE_CHECKING:
    from bridge.catalog import Catalog
    from bridge.config import Config

#: The logger of `bridge.kafka`, which librdkafka writes to.
LIBRDKAFKA: Final = "bridge.kafka"
#: What a shell reports for a process that ended because nobody reads its output any more.
PIPE_CLOSED: Final = 128 + signal.SIGPIPE


class Command(click.Command):
    """A command whose errors are one line and an exit code, and that takes ``--log-level``.

    examples: command lines that its help shows.
    """

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        """Add the option to the command's own."""
        super().__init__(*args, **kwargs)
        self.examples = examples
        self.params.append(
            click.Option(
                ["--log-level"],
                type=click.Choice(("debug", "info", "warning", "error")),
                metavar="LEVEL",
                expose_value=False,
                callback=_keep_level,
                help="Log from debug, info, warning or error on; debug adds tracebacks to errors.",
            )
        )

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; turn what it raises into its exit code."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # Whoever read our output has enough. The interpreter flushes once more at exit: let that go nowhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(PIPE_CLOSED)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:  # noqa: BLE001 - the outermost boundary: told in one line, with an exit code of its own
            from bridge import terminal

            ctx.exit(terminal.fail(error, debug=log_level() == "debug"))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, then what else there is."""
        _write_examples(formatter, self.examples)
        super().format_epilog(ctx, formatter)


class Group(click.Group):
    """A group of such commands, and of such groups. examples: as for `Command`."""

    command_class = Command
    group_class = type

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        """Keep the examples."""
        super().__init__(*args, **kwargs)
        self.examples = examples

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, then what else there is."""
        _write_examples(formatter, self.examples)
        super().format_epilog(ctx, formatter)


def _write_examples(formatter: click.HelpFormatter, examples: Sequence[str]) -> None:
    if examples:
        with formatter.section("Examples" if len(examples) > 1 else "Example"):
            for example in examples:
                # As it is: a command line that is wrapped can't be copied.
                formatter.write(f"{'':>{formatter.current_indent}}{example}\n")


config_option: Final = click.option(
    "-c",
    "--config",
    "path",
    envvar="FEEDBRIDGE_CONFIG",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The configuration file; also FEEDBRIDGE_CONFIG.",
)
maybe_config_option: Final = click.option(
    "-c",
    "--config",
    "path",
    envvar="FEEDBRIDGE_CONFIG",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The configuration file; also FEEDBRIDGE_CONFIG.",
)
json_option: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def load(path: Path, *, log_as_configured: bool = False, secrets: bool = True) -> Config:
    """Read the configuration, tell the logs its secrets, and set logging up.

    log_as_configured: log as the file says; else warnings only, since the output of a command is its result, and nothing
    of librdkafka, whose words are in the command's own error. ``--log-level`` has the last word.
    """
    from bridge import config, settings
    from bridge.ops.redaction import redactor

    if not log_as_configured:
        quiet_kafka()
    loaded = config.load(path, environ=os.environ, **({} if secrets else {"spare": _login}))
    redactor.add(*settings.secrets(loaded))
    configure_logs(
        level=loaded.log.level if log_as_configured else "warning",
        form=loaded.log.format if log_as_configured else "auto",
    )
    return loaded


def quiet_kafka() -> None:
    """Log nothing of librdkafka unless ``--log-level`` asks for it: what matters of it is in the command's own error."""
    if log_level() is None:
        logging.getLogger(LIBRDKAFKA).setLevel(logging.CRITICAL + 1)


def _login(path: tuple[str | int, ...]) -> bool:
    """Whether a key only matters to who logs in: no name of a topic, of a right or of a user follows from it."""
    return path[0] in {"gateways", "registry", "kafka"} and path[-1] not in {"sasl.username", "bootstrap.servers"}


def configure_logs(*, level: str, form: str = "auto") -> None:
    """Set logging up; ``--log-level`` has the last word over `level`."""
    from bridge.ops import logs
    from bridge.ops.settings import LogSettings

    logs.configure(LogSettings.model_validate({"level": log_level() or level, "format": form}))


def log_level() -> str | None:
    """Return what ``--log-level`` says, None where it is not given."""
    level: str | None = click.get_current_context().meta.get(_LEVEL)
    return level


def load_catalog() -> Catalog:
    """Read the schemas of all kinds of gateways that are installed."""
    from bridge import gateways
    from bridge.catalog import Catalog

    return Catalog.load(extra=gateways.schemas())


def show_findings(findings: Sequence[tuple[str, bool, str]], *, as_json: bool) -> None:
    """Print what a check found: (what was checked, whether it is good, one line). Raises CheckFailed if any is bad."""
    from bridge import terminal

    if as_json:
        terminal.document([{"name": name, "ok": ok, "text": text} for name, ok, text in findings])
    else:
        terminal.table(["", "", ""], [[terminal.verdict(ok=ok), name, text] for name, ok, text in findings])
    bad = [f"{name}: {text}" for name, ok, text in findings if not ok]
    if bad:
        raise CheckFailed(f"{len(bad)} of {len(findings)} failed, the first: {bad[0]}")


_LEVEL: Final = "feedbridge.log_level"


def _keep_level(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    ctx.meta[_LEVEL] = value
