"""The gateways: remote feeds, one module for each vendor, and those that other packages bring.

A module of this package with a ``KINDS`` tuple adds kinds to the configuration; there is nothing else to register. Another
package adds one by an entry point of the group `GROUP` that leads to a subclass of `Gateway`, which says in `schemas` where
its frame types are (``docs/gateway-guide.md``).
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Final

from bridge.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.gateways.gateway import Gateway

__all__ = ["GROUP", "kinds", "schemas"]

#: The entry points by which other packages add gateways.
GROUP: Final = "feedbridge.gateways"


@functools.cache
def kinds() -> dict[str, type[Gateway]]:
    """Return the kinds of gateways by the name that `kind` has in the configuration.

    Raises ConfigError for another package's that can't be loaded, is none, or takes a name that is taken.
    """
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    found: dict[str, type[Gateway]] = {
        gateway.kind: gateway for module in modules for gateway in getattr(module, "KINDS", ())
    }
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        gateway = _load(entry)
        if gateway.kind in found:
            raise _unusable(entry, f"there is a kind {gateway.kind!r} already")
        found[gateway.kind] = gateway
    return found


def schemas() -> list[Path]:
    """Return the folders of schemas that gateways of other packages bring, see `bridge.catalog.Catalog.load`."""
    return sorted({gateway.schemas for gateway in kinds().values() if gateway.schemas is not None})


def _load(entry: EntryPoint) -> type[Gateway]:
    from bridge.gateways.gateway import Gateway

    try:
        gateway: Any = entry.load()
    except Exception as error:  # whatever the import of somebody else's code raises: the configuration names it
        raise _unusable(entry, f"{type(error).__name__}: {error}") from error
    if not (isinstance(gateway, type) and issubclass(gateway, Gateway)):
        raise _unusable(entry, "it is no subclass of bridge.gateways.gateway.Gateway")
    if gateway.schemas is None or not (gateway.schemas / gateway.kind).is_dir():
        raise _unusable(entry, f"its `schemas` must be a folder that holds a folder {gateway.kind!r}")
    return gateway


def _unusable(entry: EntryPoint, why: str) -> ConfigError:
    package = entry.dist.name if entry.dist is not None else entry.value
    return ConfigError(
        f"the gateway {entry.name!r} of the package {package} can't be used: {why}",
        where="gateways",
        mend=f"mend or uninstall {package}",
    )
