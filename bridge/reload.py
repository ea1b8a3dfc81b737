"""Another configuration while the bridge runs: read again, compared, applied whole or not at all.

SIGHUP reads the file anew. Beside that, the files that ``${file:PATH}`` names are watched: a mounted secret that changes is
taken over by itself, with the text of the configuration as it was last read. A configuration that can't be read, or that
changes what can't be changed while the bridge runs, changes nothing; the log and the status say so in one line.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import structlog
from pydantic import BaseModel

from bridge import config as configuration
from bridge import gateways, settings, source
from bridge.errors import ConfigError
from bridge.ops.redaction import redactor

if TYPE_CHECKING:
    from bridge.config import Config
    from bridge.gateways.gateway import GatewaySettings
    from bridge.ops.metrics import Metrics

#: Seconds between looks at the watched files, and for which a changed file must stay as it is: it may be half written.
LOOK: Final = 1.0
SETTLED: Final = 0.2
#: Causes and outcomes of a reload.
SIGNAL: Final = "signal"
FILE: Final = "file"
APPLIED: Final = "applied"
UNCHANGED: Final = "unchanged"
REFUSED: Final = "refused"
#: Keys that an error names.
_NAMED: Final = 5

log = structlog.get_logger(__name__)


class Change(NamedTuple):
    """What another configuration changes. gateways: the new settings of those that are to be told. keys: their paths."""

    gateways: Mapping[str, GatewaySettings]
    keys: list[str]


def compare(old: Config, new: Config) -> Change:
    """Return what changes from one configuration to the other. Raises ConfigError where something may not."""
    fixed = list(_differences(old, new, skip=("gateways", "log")))
    told: dict[str, GatewaySettings] = {}
    keys = list(_differences(old.log, new.log, "log."))
    kinds = gateways.kinds()
    for name in dict.fromkeys([*old.gateways, *new.gateways]):
        path, before, after = f"gateways.{name}", old.gateways.get(name), new.gateways.get(name)
        if before is None or after is None or before.kind != after.kind:
            fixed.append(path)
        elif before != after:
            told[name] = after
            free = kinds[after.kind].reloadable
            for field in _changed(before, after):
                (keys if field in free else fixed).append(f"{path}.{field}")
    if fixed:
        more = f" and {len(fixed) - _NAMED} more" if len(fixed) > _NAMED else ""
        raise ConfigError(
            f"{', '.join(fixed[:_NAMED])}{more} can't be changed while it runs: nothing was changed", mend="restart it"
        )
    return Change(told, keys)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a reload ended. at: ms since the epoch. changed: paths of keys. error: one line, where it was refused."""

    at: int
    cause: str
    outcome: str
    changed: list[str]
    error: str | None


class Reloader:
    """Reads the configuration at `path` again, for a bridge that runs with `current`.

    apply: takes the new configuration into force, and what of it is new; must not fail. relog: sets logging up anew.
    now: ms since the epoch.
    """

    def __init__(
        self,
        path: Path,
        current: Config,
        *,
        environ: Mapping[str, str],
        apply: Callable[[Config, Change], None],
        relog: Callable[[Config], None],
        metrics: Metrics,
        now: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        look: float = LOOK,
    ) -> None:
        """Read the text that is in force. Raises ConfigError where it is gone already."""
        self.last: Outcome | None = None
        self._path = path
        self._current = current
        self._environ = environ
        self._apply = apply
        self._relog = relog
        self._metrics = metrics
        self._now = now
        self._look = look
        self._text = source.read(path)
        self._asked = asyncio.Event()
        self._seen = self._marks()

    def ask(self) -> None:
        """Have the file read again soon; for the handler of a signal."""
        self._asked.set()

    def status(self) -> dict[str, Any] | None:
        """How the last reload ended, as plain values; None: there was none."""
        return None if self.last is None else msgspec.to_builtins(self.last)

    async def run(self) -> None:
        """Look after file and signal until cancelled."""
        # A key may have changed between the time when the configuration was read and now.
        with contextlib.suppress(ConfigError):
            if self._read(self._text)[1].keys:
                self.reload(FILE)
        while True:
            try:
                async with asyncio.timeout(self._look):
                    await self._asked.wait()
            except TimeoutError:
                if await asyncio.to_thread(self._marks) == self._seen:
                    continue
                await self._settled()
                self.reload(FILE)
            else:
                self._asked.clear()
                self.reload(SIGNAL)

    def reload(self, cause: str) -> Outcome:
        """Read again, compare, apply. A key file's change leaves the text of the configuration as it was read last."""
        self._seen = self._marks()
        changed: list[str] = []
        error: str | None = None
        outcome = UNCHANGED
        try:
            text = source.read(self._path) if cause == SIGNAL else self._text
            fresh, change = self._read(text)
        except ConfigError as fault:
            outcome, error = REFUSED, redactor.text("; ".join([str(fault), *getattr(fault, "__notes__", [])]))
            log.error("reload_refused", cause=cause, reason=error)  # noqa: TRY400 - the file is to blame
        else:
            self._text = text
            if change.keys:
                outcome, changed = APPLIED, change.keys
                if fresh.log != self._current.log:
                    self._relog(fresh)
                self._apply(fresh, change)
                self._current = fresh
            log.info("reloaded", cause=cause, outcome=outcome, changed=changed)
            self._seen = self._marks()
        self._metrics.reloads.labels(outcome).inc()
        self.last = Outcome(at=self._now(), cause=cause, outcome=outcome, changed=changed, error=error)
        return self.last

    def _read(self, text: str) -> tuple[Config, Change]:
        """Return what a text means now, and what that changes. Raises ConfigError."""
        fresh = configuration.parse(
            text,
            where=str(self._path),
            environ=self._environ,
            folder=self._path.parent,
            kinds=configuration.known_kinds(),
        )
        # Before anything of it can be told.
        redactor.add(*settings.secrets(fresh))
        return fresh, compare(self._current, fresh)

    async def _settled(self) -> None:
        """Return when the files have stayed as they are for a moment."""
        before = None
        while (marks := await asyncio.to_thread(self._marks)) != before:
            before = marks
            await asyncio.sleep(SETTLED)

    def _marks(self) -> dict[Path, tuple[int, int, int] | None]:
        """Return of each file that the text names how to know that it changed; a mounted secret's is behind links."""
        files = source.parse(self._text, environ=self._environ, folder=self._path.parent).files
        return {file: _mark(file) for file in sorted(files)}


def _mark(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except (OSError, ValueError):
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _changed(old: BaseModel, new: BaseModel) -> Iterator[str]:
    """Yield the fields that differ, as the file calls them."""
    for name, field in type(old).model_fields.items():
        if getattr(old, name) != getattr(new, name):
            yield field.alias or name


def _differences(old: object, new: object, path: str = "", *, skip: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the paths of all that differs."""
    if isinstance(old, BaseModel) and type(old) is type(new):
        for name, field in type(old).model_fields.items():
            if name not in skip:
                yield from _differences(getattr(old, name), getattr(new, name), f"{path}{field.alias or name}.")
    elif isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            yield from _differences(old.get(key), new.get(key), f"{path}{key}.")
    elif old != new:
        yield path.removesuffix(".")
