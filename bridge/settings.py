"""What all settings are made of: the base of the models, and types for secrets, URLs, durations and sizes.

`Settings` is the base of every model of the configuration, those of the gateways included. It is frozen, refuses
unknown keys, and its errors never repeat what was entered. The types below it are for the fields::

    class PollSettings(Settings):
        url: HttpUrl = Field(description="Scheme and host.")
        api_key: Token = Field(description="The key.")
        every: Duration = Field(5.0, gt=0, description="How often.")

Their errors are plain words (``expected a duration such as 250ms, 1.5s or 6h``): a person who has never heard of this
program's insides reads them beside the line of the file, see `bridge.config`.
"""

from __future__ import annotations

import functools
import hmac
import math
import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Self, Union, get_args, get_origin
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationInfo,
    field_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

MASK: Final = "***"


class Settings(BaseModel):
    """Base of all settings: frozen, no unknown keys, no values in errors, dumps are masked.

    A whole number is text where text is wanted (token ids, keys), digits are a number where a number is wanted (what
    comes from the environment is text); true and false are neither. Choices match by their text, so `1` and `"1"`
    are the same choice.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        coerce_numbers_to_str=True,
        serialize_by_alias=True,
        allow_inf_nan=False,
    )

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: object, info: ValidationInfo) -> object:
        """Match choices by their text; refuse true and false where a number or text is wanted."""
        shape = _shape(cls, str(info.field_name))
        if isinstance(value, bool):
            if shape.refuses_bool:
                raise _unexpected(shape.words)
        elif isinstance(value, str | int) and value not in shape.choices.values():
            return shape.choices.get(str(value), value)
        return value


class Secret:
    """A key, token or password. Shows as ``***`` everywhere; `reveal` is the only way to its text.

    Not empty; a line break or control character, mostly a file read by mistake, is refused except within PEM text.
    """

    __slots__ = ("_text", "origin")

    def __init__(self, text: str) -> None:
        """Keep `text`; the checks are made where a setting is read."""
        self._text = text
        #: What the file has in its place, such as ``${NAME}``; None: the text itself, or nobody has said.
        self.origin: str | None = None

    def reveal(self) -> str:
        """Return the text. Call it where the secret is used, and keep the result nowhere."""
        return self._text

    def __repr__(self) -> str:
        """Masked."""
        return f"Secret({MASK!r})"

    def __str__(self) -> str:
        """Masked."""
        return MASK

    def __format__(self, spec: str) -> str:
        """Masked."""
        return format(MASK, spec)

    def __eq__(self, other: object) -> bool:
        """Compare in constant time."""
        return isinstance(other, Secret) and hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        """Agree with equality; Python salts the hash of text per process."""
        return hash(self._text)

    def __reduce__(self) -> str:
        """Refuse to be pickled: the bytes would hold the text."""
        raise TypeError("a secret can't be pickled")

    def __copy__(self) -> Self:
        """Return itself: immutable."""
        return self

    def __deepcopy__(self, memo: object) -> Self:
        """Return itself: immutable."""
        return self

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validate as `_read` says; dump as the mask, in Python and in JSON."""
        return core_schema.no_info_plain_validator_function(
            cls._read, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Text that no form should show."""
        return {"type": "string", "minLength": 1, "writeOnly": True}

    @classmethod
    def _read(cls, value: object) -> Secret:
        if isinstance(value, Secret):
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            raise _unexpected("text")
        if not value:
            raise PydanticCustomError("secret_empty", "is empty")
        if _CONTROL.search(value) and not value.startswith("-----BEGIN "):
            raise PydanticCustomError("secret_control", "holds a line break or another control character")
        return cls(value)


class Url:
    """A URL. Its text form masks userinfo and query, both may hold credentials; `reveal` returns it whole.

    scheme: lower case. host: as written, without brackets. port: None where the URL names none. username and password:
    percent-decoded, None where absent. path: as written, percent-encoded.
    """

    __slots__ = ("_parts", "_text", "host", "password", "path", "port", "scheme", "username")

    def __init__(self, text: str) -> None:
        """Take a URL apart. Raises ValueError, without the text, where it is none."""
        parts = _split(text)
        if parts is None or not parts.scheme or not parts.hostname:
            raise ValueError("not a URL")
        self._text = text
        self._parts = parts
        self.scheme = parts.scheme
        self.host = parts.hostname
        self.port = parts.port
        self.username = None if parts.username is None else unquote(parts.username)
        self.password = None if parts.password is None else Secret(unquote(parts.password))
        self.path = parts.path

    @property
    def origin(self) -> str:
        """Scheme, host and port: `wss://host:8443`. Holds no secret."""
        return f"{self.scheme}://{self._parts.netloc.rpartition('@')[2]}"

    def reveal(self) -> str:
        """Return the whole URL, credentials and all."""
        return self._text

    def secrets(self) -> Iterator[str]:
        """Yield what must not be shown: password (a lone user name may be a token) and query, as written and decoded."""
        userinfo = self._parts.username if self._parts.password is None else self._parts.password
        for part in (userinfo, self._parts.query):
            if part:
                yield part
                yield unquote(part)

    def __repr__(self) -> str:
        """Masked."""
        return f"Url({str(self)!r})"

    def __str__(self) -> str:
        """Masked; the URL itself where it holds no credentials."""
        userinfo, query = self._parts.netloc.rpartition("@")[0], self._parts.query
        if not userinfo and not query:
            return self._text
        host = self._parts.netloc.rpartition("@")[2]
        place = f"{MASK}@{host}" if userinfo else host
        return f"{self.scheme}://{place}{self.path}{f'?{MASK}' if query else ''}"

    def __eq__(self, other: object) -> bool:
        """Equal as text."""
        return isinstance(other, Url) and self._text == other._text

    def __hash__(self) -> int:
        """Agree with equality."""
        return hash(self._text)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validate as `_read` says; dump masked."""
        return core_schema.no_info_plain_validator_function(
            cls._read, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Text with a scheme."""
        return {"type": "string", "pattern": r"^[A-Za-z][A-Za-z0-9+.-]*://.+"}

    @classmethod
    def _read(cls, value: object) -> Url:
        if isinstance(value, Url):
            return value
        if not isinstance(value, str):
            raise _unexpected("a URL")
        try:
            return cls(value)
        except ValueError:
            raise _unexpected("a URL with scheme and host, such as https://host") from None


@dataclass(frozen=True)
class Schemes:
    """Metadata of a `Url` field: the schemes it may have."""

    allowed: tuple[str, ...]

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check after the URL was read."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Name the schemes in the pattern."""
        return {"type": "string", "pattern": f"^({'|'.join(self.allowed)})://.+"}

    def _check(self, url: Url) -> Url:
        if url.scheme not in self.allowed:
            raise _unexpected(f"a URL that starts with {' or '.join(f'{scheme}://' for scheme in self.allowed)}")
        return url


@dataclass(frozen=True)
class Text:
    """Metadata of a `str` field: what it must look like, and how to say so. The whole text must match."""

    pattern: str
    words: str

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check after the text was read."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Give the pattern to editors."""
        return {**handler(schema), "pattern": f"^(?:{self.pattern})$"}

    def _check(self, text: str) -> str:
        if not re.fullmatch(self.pattern, text):
            raise _unexpected(self.words)
        return text


@dataclass(frozen=True)
class Unit:
    """Metadata of a number that may be written with its unit."""

    read: Callable[[str], float | None]
    write: Callable[[float], str]
    pattern: str
    words: str
    noun: str

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read before the number is checked; dump with the unit."""
        return core_schema.no_info_before_validator_function(
            self._number, handler(source), serialization=core_schema.plain_serializer_function_ser_schema(self.write)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Allow a number or text with a unit."""
        forms: list[JsonSchemaValue] = [{"type": "number", "minimum": 0}, {"type": "string", "pattern": self.pattern}]
        return {"$comment": self.noun, "anyOf": forms}

    def _number(self, value: object) -> float:
        number = None
        if isinstance(value, str):
            number = self.read(value.strip())
        elif isinstance(value, int | float) and not isinstance(value, bool):
            number = value
        if number is None or not math.isfinite(number) or number < 0:
            raise _unexpected(self.words)
        return number


def read_duration(text: str) -> float | None:
    """Return the seconds of `250ms`, `1.5s`, `1h30m` or plain seconds; None where it is no duration."""
    if _NUMBER.fullmatch(text):
        return float(text)
    if not re.fullmatch(_DURATION, text):
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(text))


def write_duration(seconds: float) -> str:
    """Return seconds as a person writes them: `6h`, `90s`, `1.5s`, `250ms`."""
    for unit in ("d", "h", "m"):
        if seconds >= _SECONDS[unit] and seconds % _SECONDS[unit] == 0:
            return f"{seconds / _SECONDS[unit]:.0f}{unit}"
    number, unit = (seconds * 1000, "ms") if 0 < seconds < 1 else (seconds, "s")
    return f"{repr(round(number, 9)).removesuffix('.0')}{unit}"


def read_size(text: str) -> float | None:
    """Return the bytes of `2GiB`, `500MB`, `64Ki` or plain bytes; None where it is no whole number of bytes."""
    found = re.fullmatch(_SIZE, text)
    if not found:
        return None
    prefix = found["prefix"].lower()
    size = float(found["number"]) * (1024 if found["binary"] else 1000) ** " kmgt".index(prefix or " ")
    return int(size) if size == int(size) else None


def write_size(size: float) -> str:
    """Return bytes as a person writes them: `2GiB`, `64KiB`, `1500B`."""
    for power, prefix in ((4, "T"), (3, "G"), (2, "M"), (1, "K")):
        if size >= 1024**power and size % 1024**power == 0:
            return f"{size / 1024**power:.0f}{prefix}iB"
    return f"{size:.0f}B"


MINUTE: Final = 60.0
HOUR: Final = 3600.0
DAY: Final = 86400.0
MIB: Final = 1 << 20
GIB: Final = 1 << 30

_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": MINUTE, "h": HOUR, "d": DAY}
_NUMBER: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_DURATION: Final = r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h|d))+"
_DURATION_PART: Final = re.compile(r"([0-9.]+)(ms|s|m|h|d)")
_SIZE: Final = r"(?P<number>[0-9]+(?:\.[0-9]+)?) ?(?:(?P<prefix>[kKMGT]?)(?P<binary>i?)B?)"
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_SPACE: Final = re.compile(r"[\x00-\x20\x7f]")

#: Seconds; `6h`, `1.5s`, `250ms`, `1h30m` or a number of seconds in the file.
Duration = Annotated[
    float,
    Unit(read_duration, write_duration, rf"^{_DURATION}$", "expected a duration such as 250ms, 1.5s or 6h", "duration"),
]
#: Bytes; `2GiB`, `500MB` or a number of bytes in the file.
Size = Annotated[
    int,
    Unit(
        read_size,
        write_size,
        r"^[0-9]+(\.[0-9]+)? ?[kKMGT]?i?B?$",
        "expected a size such as 512KiB, 64MiB or 2GiB",
        "size",
    ),
]
#: The user's name for an installation or a gateway: part of topic names and transactional ids.
Name = Annotated[
    str,
    Text("[a-z][a-z0-9-]*", "a name of lower-case letters, digits and dashes that starts with a letter"),
    Field(max_length=100),
]
WebSocketUrl = Annotated[Url, Schemes(("wss", "ws"))]
HttpUrl = Annotated[Url, Schemes(("https", "http"))]
AmqpUrl = Annotated[Url, Schemes(("amqps", "amqp"))]


@dataclass(frozen=True)
class Visible:
    """Metadata of a `Secret` that goes into a header: visible ASCII only, or the client would quote it in an error."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check after the secret was read."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def _check(self, secret: Secret) -> Secret:
        if re.fullmatch(r"[\x21-\x7e]+", secret.reveal()) is None:
            raise PydanticCustomError("secret_visible", "holds a blank or another character that no header may hold")
        return secret


#: A secret that goes into an HTTP header: an API key, a bearer token.
Token = Annotated[Secret, Visible()]


class RestSettings(Settings):
    """REST calls of a gateway: look-ups and backfill."""

    url: HttpUrl = Field(description="Scheme and host of the REST interface; the paths are the gateway's.")


def secrets(value: object) -> Iterator[str]:
    """Yield the text of every secret within settings, containers included: what logs must never show."""
    if isinstance(value, Secret):
        yield value.reveal()
    elif isinstance(value, Url):
        yield from value.secrets()
    elif isinstance(value, BaseModel):
        yield from secrets([part for _, part in value])
    elif isinstance(value, Mapping):
        yield from secrets(list(value.values()))
    elif isinstance(value, list | tuple | set | frozenset):
        for part in value:
            yield from secrets(part)


def _split(text: str) -> SplitResult | None:
    """Take a URL apart; None where that fails. The standard library's own errors quote the text."""
    if _SPACE.search(text):
        return None
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises on what is no port
    except ValueError:
        return None
    return None if parts.fragment else parts


def _unexpected(words: str) -> PydanticCustomError:
    text = words if words.startswith("expected ") else f"expected {words}"
    return PydanticCustomError("unexpected", "{text}", {"text": text})


@dataclass(frozen=True)
class _Shape:
    """What the annotation of a field says about plain values."""

    choices: Mapping[str, object]
    refuses_bool: bool
    words: str


@functools.cache
def _shape(model: type[Settings], field: str) -> _Shape:
    """Read the annotation of a field once."""
    info = model.model_fields[field]
    parts = [object] if _has_unit(info.metadata) else list(_leaves(info.annotation))
    choices = {str(part[1]): part[1] for part in parts if isinstance(part, tuple)}
    plain = {part for part in parts if isinstance(part, type)}
    refuses = bool(plain & {int, float, str}) and not plain & {bool, object}
    words = "text" if str in plain else "a number" if float in plain else "a whole number"
    return _Shape(choices, refuses, words)


def _leaves(annotation: Any) -> Iterator[object]:
    """Yield the types of a union, and each choice of a literal as a tuple `("choice", value)`."""
    origin = get_origin(annotation)
    if origin is Literal:
        yield from (("choice", choice) for choice in get_args(annotation))
    elif origin is Annotated:
        inner, *metadata = get_args(annotation)
        # A number with a unit checks and words everything itself.
        yield from [object] if _has_unit(metadata) else _leaves(inner)
    elif origin in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from _leaves(part)
    else:
        yield object if annotation is Any else annotation


def _has_unit(metadata: Iterable[object]) -> bool:
    return any(isinstance(mark, Unit) for mark in metadata)
