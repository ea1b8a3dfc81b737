"""feedbridge: live WebSocket feeds into Kafka, exactly once."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("feedbridge")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"

__all__ = ["__version__"]
