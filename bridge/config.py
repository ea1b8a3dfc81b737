"""The configuration file as frozen, typed, validated settings (design 6.2).

`load` reads a file, `masked` shows what is in force without a secret, `json_schema` is for editors and `reference` for
the documentation. `parse` is the pure part of `load`: text, environment and gateway kinds in, settings out.

The settings of a gateway are its own (`bridge.gateways`); here they are picked by ``kind``, so that a new gateway needs
nothing here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError, PydanticKnownError

from bridge import gateways, properties, source, wording
from bridge.errors import ConfigError
from bridge.gateways.gateway import GatewaySettings
from bridge.ops.settings import HttpSettings, LogSettings, TelemetrySettings
from bridge.reference import editor_schema, page
from bridge.settings import (
    GIB,
    HOUR,
    Duration,
    HttpUrl,
    Name,
    Secret,
    Settings,
    Size,
    Text,
    Token,
)
from bridge.source import KeyPath, Problem

#: The settings of each kind of gateway.
Kinds = Mapping[str, type[GatewaySettings]]


def load(path: Path | str, *, environ: Mapping[str, str], spare: source.Spare = lambda _: False) -> Config:
    """Read a configuration file.

    environ: what ``${NAME}`` stands for. ``${file:PATH}`` starts from the folder of the configuration file. spare: what may
    be missing of both.

    Raises ConfigError: one line with the first fault, its line in the file, the key and what to do; all further faults
    are in ``__notes__``, a line each. No text holds a value of the file.
    """
    path = Path(path)
    return parse(
        source.read(path), where=f"{path}", environ=environ, folder=path.parent, kinds=known_kinds(), spare=spare
    )


def parse(
    text: str,
    *,
    where: str,
    environ: Mapping[str, str],
    folder: Path,
    kinds: Kinds,
    spare: source.Spare = lambda _: False,
) -> Config:
    """Turn the text of a configuration file into settings; as `load`, without a file.

    where: what errors call the file. folder: where relative paths of ``${file:PATH}`` start.
    """
    document = source.parse(text, environ=environ, folder=folder, spare=spare)
    if isinstance(document.data, dict):
        try:
            config = Config.model_validate(document.data, context={"kinds": kinds})
        except ValidationError as error:
            locate = _locator(document.data, kinds)
            document.problems.extend(wording.problems(error, document, locate))
        else:
            if not document.problems:
                _trace(config, document.origins)
                return config
    elif not document.problems:
        document.problems.append(Problem(document.line(()), "", "expected a mapping (`key: value`)"))
    # Raised out here and not where validation failed: its error holds the values, and must not be carried along.
    raise _fault(document.problems, where)


def _trace(config: Config, origins: Mapping[source.KeyPath, str]) -> None:
    """Tell the secrets of gateways where they come from, for errors that blame one. origins: see `source.Document`."""
    for path, origin in origins.items():
        match path:
            case ("gateways", str(name), str(field)):
                secret = getattr(config.gateways[name], field, None)
                if isinstance(secret, Secret):
                    secret.origin = origin


def masked(config: Config) -> dict[str, Any]:
    """Return all settings in force, defaults included, as plain values for YAML or JSON; secrets are ``***``."""
    return config.model_dump(mode="json", by_alias=True)


def json_schema(kinds: Kinds | None = None) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the file, for editors. kinds: of gateways; None: all there are."""
    return editor_schema(
        Config, gateways=kinds or known_kinds(), properties=properties.KNOWN, refused=properties.REFUSED
    )


def reference(kinds: Kinds | None = None) -> str:
    """Return the reference of all keys as Markdown. kinds: of gateways; None: all there are."""
    return page(Config, gateways=kinds or known_kinds(), refused=properties.REFUSED, limits=properties.LIMITS)


def known_kinds() -> Kinds:
    """Return the settings class of every kind of gateway that there is."""
    return {kind: gateway.Settings for kind, gateway in gateways.kinds().items()}


#: How records are spread over topics (design 6.3).
Layout = Literal["type", "gateway"]


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _distinct(value: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(value)) != len(value):
        raise PydanticCustomError("twice", "names one twice")
    return value


def _plain(value: object) -> object:
    """Return a setting of a topic as Kafka spells it."""
    return str(value).lower() if isinstance(value, bool) else str(value) if isinstance(value, float) else value


def _lane(value: object) -> object:
    if isinstance(value, bool):
        raise PydanticCustomError("unexpected", "expected the number of a lane")
    return value


class TopicsSettings(Settings):
    """The topics that records go to."""

    prefix: Annotated[
        str,
        Text("[A-Za-z0-9._-]*", "letters, digits, dots, dashes and underscores, as Kafka takes them in topic names"),
        Field(max_length=100),
    ] = Field(default="", description="Begins the name of every topic and transactional id.")
    layout: Annotated[
        tuple[Layout, ...],
        BeforeValidator(_listed, json_schema_input_type=Layout | tuple[Layout, ...]),
        AfterValidator(_distinct),
        Field(min_length=1),
    ] = Field(
        default=("type",),
        description="`type`: a topic for each frame type, `<prefix><gateway>.<type>`. `gateway`: all types of a gateway in "
        "one topic, so that one entity's frames keep their order across types. Both: each record goes to both.",
    )
    headers: Literal["plain", "cloudevents"] = Field(
        default="plain",
        description="`plain`: `type`, `source`, `received`, `seq`. `cloudevents`: beside them those of CloudEvents 1.0, `ce_id`, "
        "`ce_type` and others, about 400 bytes a record.",
    )
    partitions: int = Field(default=6, ge=1, le=10_000, description="Partitions of a topic that is made.")
    replication_factor: Annotated[int, Field(ge=1, le=32_767)] | None = Field(
        default=None, description="Replicas of a topic that is made; null: the broker's default."
    )
    create: bool = Field(
        default=True, description="Whether `run` makes missing topics; else `feedbridge topics apply` must."
    )
    config: Annotated[
        dict[str, Annotated[str, BeforeValidator(_plain, json_schema_input_type=str | float | bool)]], Field()
    ] = Field(default={}, description="Kafka's own topic settings for topics that are made, such as `retention.ms`.")


class BasicSettings(Settings):
    """User and password."""

    username: str = Field(min_length=1, description="The user.")
    password: Secret = Field(description="The password.")


class RegistrySettings(Settings):
    """The schema registry."""

    url: Annotated[
        tuple[HttpUrl, ...],
        BeforeValidator(_listed, json_schema_input_type=HttpUrl | tuple[HttpUrl, ...]),
        Field(min_length=1),
    ] = Field(description="URL of the registry, or a list of several of one cluster.")
    register_schemas: bool = Field(
        default=False,
        alias="register",
        description="Whether `run` registers missing schemas; else `feedbridge schemas register` must.",
    )
    basic: BasicSettings | None = Field(default=None, description="Basic authentication.")
    bearer: Token | None = Field(default=None, description="Bearer token.")
    ca: Path | None = Field(default=None, description="PEM file of the CA that signed the registry's certificate.")
    certificate: Path | None = Field(default=None, description="PEM file of the client's certificate, for mutual TLS.")
    key: Path | None = Field(default=None, description="PEM file of the key to `certificate`.")
    timeout: Duration = Field(default=10.0, gt=0, le=HOUR, description="How long an answer may take.")
    ids: dict[str, Annotated[int, Field(ge=1, le=2**31 - 1)]] = Field(
        default={}, description="Pinned schema ids by subject: these are used without asking the registry."
    )

    @property
    def register(self) -> bool:
        """`register` of the file; as a field it would hide a method that every class has."""
        return self.register_schemas

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.basic and self.bearer:
            raise PydanticCustomError("registry_credentials", "has both basic and bearer; keep one")
        if any(url.username or url.password for url in self.url) and (self.basic or self.bearer):
            raise PydanticCustomError("registry_credentials", "has credentials in the URL and beside it; keep one")
        if (self.certificate is None) != (self.key is None):
            raise PydanticCustomError("registry_tls", "certificate and key need each other; give both")
        return self


class DedupeSettings(Settings):
    """The window in which a frame is known again."""

    window: Duration = Field(default=6 * HOUR, gt=0, le=30 * 24 * HOUR, description="How long a frame is remembered.")
    max_identities: int = Field(
        default=2_000_000,
        ge=1,
        le=1_000_000_000,
        description="How many frames each lane remembers at most; the shorter of both limits counts.",
    )
    unchanged: Literal["drop", "keep"] = Field(
        default="drop", description="What becomes of a state that equals the last one published of its entity."
    )
    seq_scope: Literal["global", "connection"] = Field(
        default="global",
        description="Whether two connections see the same sequence number for the same change; `connection` leaves it "
        "out of what identifies a frame. `feedbridge check --overlap 60s` tells which it is.",
    )


class JournalSettings(Settings):
    """The local queue of frames that are received and not yet committed."""

    path: Path = Field(default=Path("journal"), description="Folder, made where missing; one process holds it.")
    max_bytes: Size = Field(
        default=2 * GIB,
        ge=64 << 10,
        description="Disk it may use, for all lanes together; when full, sockets are not read.",
    )
    fsync: bool = Field(
        default=False, description="Whether a frame must be on the disk, not just with the system, to count."
    )


class StandbySettings(Settings):
    """How a second process on the same lane waits."""

    takeover_after: Duration = Field(
        default=1.5,
        ge=1.0,
        le=HOUR,
        description="Silence of the active after which the standby takes over; it reports each 0.5s.",
    )


class ShutdownSettings(Settings):
    """How the process ends."""

    timeout: Duration = Field(
        default=15.0, gt=0, le=HOUR, description="Time to drain after SIGTERM; the rest stays journaled."
    )


class LanesSettings(Settings):
    """The units of ownership: one active publisher each."""

    count: int = Field(
        default=1, ge=1, le=1_000, description="Lanes of the installation; the same for all its processes."
    )
    own: (
        Literal["all", "ordinal"]
        | Annotated[tuple[Annotated[int, BeforeValidator(_lane), Field(ge=0)], ...], Field(min_length=1)]
    ) = Field(
        default="all",
        description="Lanes that this process publishes, or stands by for where another does: `all`, a list of numbers from "
        "0, or `ordinal`: the one of the number at the end of the host's name (a StatefulSet's pod), modulo `count`.",
    )
    cover: (
        Literal["none", "all"]
        | Annotated[tuple[Annotated[int, BeforeValidator(_lane), Field(ge=0)], ...], Field(min_length=1)]
    ) = Field(
        default="none",
        description="Lanes that it only stands by for: `none`, `all` others, or a list. A covered lane is taken when its "
        "owner falls silent, never because it is vacant.",
    )

    def owned(self, host: str) -> tuple[int, ...]:
        """The lanes that this process owns. host: name of the machine, for ``ordinal``; ConfigError if it has no number."""
        if self.own == "all":
            return tuple(range(self.count))
        if self.own != "ordinal":
            return self.own
        number = re.search(r"-(\d+)$", host.partition(".")[0])
        if number is None:
            raise ConfigError(
                f"the host's name, {host}, does not end in a number",
                where="lanes.own",
                mend="name the lanes in a list, or run it in a StatefulSet",
            )
        return (int(number[1]) % self.count,)

    def covered(self, host: str) -> tuple[int, ...]:
        """The lanes that this process only stands by for. host: see `owned`."""
        others = range(self.count) if self.cover == "all" else () if self.cover == "none" else self.cover
        return tuple(sorted(set(others) - set(self.owned(host))))

    @model_validator(mode="after")
    def _within(self) -> Self:
        for name, lanes in (("own", self.own), ("cover", self.cover)):
            if isinstance(lanes, str):
                continue
            if len(set(lanes)) != len(lanes):
                raise _errors({name: ("names a lane twice", None)})
            if max(lanes) >= self.count:
                last = self.count - 1
                raise _errors({name: (f"names a lane beyond count; with {self.count} the last is {last}", None)})
        return self


def _gateway_name(name: str) -> str:
    if name == "feedbridge":
        raise PydanticCustomError(
            "gateway_name", "no gateway can be called feedbridge: its topics would be the bridge's own"
        )
    return name


def _pick(value: object, info: ValidationInfo) -> GatewaySettings:
    """Validate one gateway with the settings of its kind."""
    if isinstance(value, GatewaySettings):
        return value
    if not isinstance(value, dict):
        raise PydanticKnownError("dict_type")
    kinds: Kinds = (info.context or {}).get("kinds") or known_kinds()
    kind = value.get("kind")
    if kind is None:
        raise _errors({"kind": ("missing", f"add one of {', '.join(sorted(kinds))}")})
    if not isinstance(kind, str):
        raise _errors({"kind": (f"expected text, found {wording.kind_of(kind)}", None)})
    if kind not in kinds:
        near, known = source.nearest(kind, kinds), f"known: {', '.join(sorted(kinds))}"
        advice = known if near == known else f"{near} {known}"
        raise _errors({"kind": ("there is no such kind of gateway", advice)})
    return kinds[kind].model_validate(value, context=info.context)


def _librdkafka(value: object) -> dict[str, properties.Plain | Secret]:
    """Check librdkafka's properties, all of them in one go, and keep the credentials among them as secrets."""
    if not isinstance(value, dict):
        raise PydanticKnownError("dict_type")
    given: dict[str, properties.Plain] = {}
    faults: dict[str, tuple[str, str | None]] = {}
    for name, part in value.items():
        plain = part.reveal() if isinstance(part, Secret) else part
        if isinstance(plain, str | int | float):
            given[str(name)] = plain
        else:
            faults[str(name)] = (f"expected text, a number, true or false, found {wording.kind_of(plain)}", None)
    for name, what, mend in properties.faults(given):
        faults.setdefault(name, (what, mend))
    if faults:
        raise _errors(faults)
    return {name: properties.typed(name, part) for name, part in given.items()}


def _shown(value: dict[str, properties.Plain | Secret]) -> dict[str, properties.Plain]:
    return {name: str(part) if isinstance(part, Secret) else part for name, part in value.items()}


def _errors(faults: Mapping[str, tuple[str, str | None]]) -> ValidationError:
    """Return one error for several keys of a mapping: (what, mend) by key."""
    return ValidationError.from_exception_data(
        "mapping",
        [
            InitErrorDetails(
                type=PydanticCustomError("property", "{text}", {"text": f"{what}; {mend}" if mend else what}),
                loc=(name,),
                input=None,
            )
            for name, (what, mend) in faults.items()
        ],
        hide_input=True,
    )


#: librdkafka's properties by name; credentials are `Secret`.
Properties = Annotated[
    dict[str, str | int | float | bool | Secret],
    PlainValidator(_librdkafka),
    PlainSerializer(_shown),
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": {"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "boolean"}]},
        }
    ),
]


def _http(value: object) -> object:
    return HttpSettings(listen=None) if value is None else value


class Config(Settings):
    """The whole file."""

    name: Name = Field(
        description="Names the installation, and with it ledger and transactional ids: two installations on one cluster "
        "must differ, all processes of one must agree."
    )
    gateways: Annotated[
        dict[
            Annotated[Name, AfterValidator(_gateway_name)],
            Annotated[SerializeAsAny[GatewaySettings], PlainValidator(_pick), WithJsonSchema({})],
        ],
        Field(min_length=1),
    ] = Field(description="The feeds, by a name of your own: the first part of their topics.")
    kafka: Properties = Field(
        description="librdkafka's own properties; `bootstrap.servers` is required. Those that would break a promise are "
        "refused."
    )
    topics: TopicsSettings = Field(default=TopicsSettings(), description="The topics that records go to.")
    registry: RegistrySettings | None = Field(
        default=None, description="The schema registry; null or left out: none, values carry the schema's fingerprint."
    )
    dedupe: DedupeSettings = Field(default=DedupeSettings(), description="The window in which a frame is known again.")
    journal: JournalSettings = Field(
        default=JournalSettings(), description="The local queue of frames not yet committed."
    )
    standby: StandbySettings = Field(default=StandbySettings(), description="How a second process waits.")
    shutdown: ShutdownSettings = Field(default=ShutdownSettings(), description="How the process ends.")
    lanes: LanesSettings = Field(default=LanesSettings(), description="The units of ownership.")
    http: Annotated[HttpSettings, BeforeValidator(_http, json_schema_input_type=HttpSettings | None)] = Field(
        default=HttpSettings(), description="Status page, health and metrics; null: off."
    )
    log: LogSettings = Field(default=LogSettings(), description="The log, on standard error.")
    telemetry: TelemetrySettings = Field(
        default=TelemetrySettings(), description="Metrics for those who do not scrape them; see docs/opentelemetry.md."
    )


def _locator(data: dict[str, Any], kinds: Kinds) -> wording.Locate:
    """Return what finds the annotation of a place in a file; within a gateway that of its kind."""

    def locate(path: KeyPath) -> Any:
        if path[:1] == ("gateways",) and len(path) > 1:
            gateway = data["gateways"][path[1]]
            return wording.annotation_at(kinds.get(gateway.get("kind")), path[2:])
        return wording.annotation_at(Config, path)

    return locate


def _fault(problems: list[Problem], where: str) -> ConfigError:
    """Return all problems as one error: the first in its line, the others as notes."""
    # What is missing comes last: often it is there, under the wrong name that another problem tells of.
    first, *others = sorted(
        set(problems), key=lambda problem: (problem.what == "missing", problem.line, problem.path, problem.what)
    )
    more = f" (and {len(others)} more: `feedbridge config show --log-level debug` tells all)"
    error = _told(first, where, more if others else "")
    for other in others:
        error.add_note(str(_told(other, where)))
    return error


def _told(problem: Problem, where: str, more: str = "") -> ConfigError:
    what = f"{problem.path}: {problem.what}" if problem.path else problem.what
    if problem.mend is None:
        return ConfigError(what + more, where=f"{where}:{problem.line}")
    return ConfigError(what, where=f"{where}:{problem.line}", mend=problem.mend + more)
