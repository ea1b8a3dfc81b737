"""The gateways: remote feeds, one module for each vendor.

A module of this package with a ``KINDS`` tuple adds kinds to the configuration; there is nothing else to register.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.gateways.gateway import Gateway

__all__ = ["kinds"]


@functools.cache
def kinds() -> dict[str, type[Gateway]]:
    """Return the kinds of gateways by the name that `kind` has in the configuration."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    gateways: list[type[Gateway]] = [kind for module in modules for kind in getattr(module, "KINDS", ())]
    return {gateway.kind: gateway for gateway in gateways}
