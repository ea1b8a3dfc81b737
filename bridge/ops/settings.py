"""What of the configuration is for operators: ``http``, ``log``, ``telemetry`` (design 6.2)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from bridge.settings import MINUTE, Duration, HttpUrl, Secret, Settings, Text


def _port(listen: str) -> str:
    if int(listen.rpartition(":")[2]) > 65_535:  # noqa: PLR2004 - the largest port
        raise PydanticCustomError("unexpected", "expected a port up to 65535")
    return listen


class HttpSettings(Settings):
    """Status page, health and metrics."""

    listen: (
        Annotated[
            str,
            Text(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]*):[0-9]{1,5}", "host:port, or :port for all addresses"),
            AfterValidator(_port),
        ]
        | None
    ) = Field(default="127.0.0.1:8080", description="Where to listen, `host:port`; null: nowhere.")


class LogSettings(Settings):
    """The log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="The least that is logged.")
    format: Literal["auto", "console", "json"] = Field(
        default="auto", description="`auto`: for people on a terminal, JSON elsewhere."
    )


class OtlpSettings(Settings):
    """An OpenTelemetry collector that the metrics are sent to, by OTLP over HTTP."""

    endpoint: HttpUrl = Field(
        description="URL of the collector, such as `http://collector:4318`; `/v1/metrics` is added where it is not there."
    )
    headers: dict[Annotated[str, Text(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", "the name of a header")], Secret] = Field(
        default={}, description="Headers of each request; their values are secrets."
    )
    interval: Duration = Field(default=10.0, ge=1, le=10 * MINUTE, description="How often the metrics are sent.")


class TelemetrySettings(Settings):
    """Metrics for those who do not scrape them."""

    otlp: OtlpSettings | None = Field(
        default=None, description="The collector; null: none. Needs the extra `feedbridge[otlp]`."
    )
