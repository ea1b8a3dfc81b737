"""The schema registry: which id a schema has under a subject, and what a change of schema would break.

A bridge only looks ids up; it registers where it is told to (``registry.register``, or `feedbridge schemas register`).
Ids that were found once are kept in a file beside the journal, and may be pinned (``registry.ids``), so that a bridge
whose ids are all known starts without the registry.

All calls block: use them in a thread.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar
from urllib.parse import quote

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.common._httpx_compat import httpx
from confluent_kafka.schema_registry.error import SchemaRegistryError

from bridge.errors import BridgeError, CheckFailed, ConfigError, Refused, Unreachable
from bridge.evolution import Change, changes
from bridge.finding import Finding
from bridge.topics import subjects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from bridge.config import RegistrySettings
    from bridge.topics import SubjectPlan, TopicPlan

_T = TypeVar("_T")

#: What every subject is held to (design 6.3).
COMPATIBILITY: Final = "FULL_TRANSITIVE"


@dataclass(frozen=True, slots=True)
class Registration:
    """What `Registry.register` did. what: ``new subject``, ``new version`` or ``unchanged``; note: what else to know."""

    subject: str
    type: str
    id: int
    what: str
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """How our schema differs from the latest of its subject. version: that one's, None where there is no such subject."""

    subject: str
    gateway: str | None
    type: str
    version: int | None
    changes: tuple[Change, ...]


class Registry:
    """A client of the registry; every failure is a `BridgeError`.

    Unreachable: no answer, try again. Refused: credentials. ConfigError: not registered, or no registry at that address.
    CheckFailed: the registry, or our own comparison, refuses a schema.

    settings: ``registry`` of the configuration. cache: the folder for the file with the ids (`CACHE_FILE`); None: none.
    """

    def __init__(self, settings: RegistrySettings, *, cache: Path | None = None) -> None:
        """Make the client; nothing is sent yet. Raises ConfigError for certificates that can't be read."""
        self._settings = settings
        self.where = ", ".join(str(url) for url in settings.url)
        self._ids = _Ids(cache / CACHE_FILE if cache else None, address=_address(settings))
        try:
            self._client = SchemaRegistryClient(_properties(settings))
        except (ValueError, TypeError, OSError) as error:
            # From None: the client's texts may quote what it was given.
            raise ConfigError(
                f"the client can't be made: {type(error).__name__}",
                where="registry",
                mend="check url, basic or bearer, and that ca, certificate and key are readable PEM files",
            ) from None

    def known(self, subject: str, schema: Mapping[str, Any]) -> int | None:
        """The id where it is pinned or cached; asks nobody."""
        pinned = self._settings.ids.get(subject)
        return pinned if pinned is not None else self._ids.get(subject, schema)

    def resolve(self, subject: str, schema: Mapping[str, Any]) -> int:
        """The id of `schema` under `subject`: pinned, cached or looked up. Registers nothing.

        Raises ConfigError where it is not registered, and the errors of the class.
        """
        found = self._resolve(subject, schema)
        if found is None:
            raise _missing(f"the schema is not registered under subject {subject!r}")
        return found

    def resolve_all(self, topics: Iterable[TopicPlan]) -> dict[str, int]:
        """The id for each subject of a plan; registers what is missing where ``registry.register`` is set.

        Does not ask the registry at all where all ids are pinned or cached. Raises as `resolve` and `register`.
        """
        plans = subjects(topics)
        found = {each.subject: self._resolve(each.subject, each.schema) for each in plans}
        missing = [each for each in plans if found[each.subject] is None]
        if missing and not self._settings.register_schemas:
            first, more = missing[0], f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise _missing(f"the schema of {first.type} is not registered under subject {first.subject!r}{more}")
        registered = {each.subject: each.id for each in self._register_all(missing)}
        return {subject: registered[subject] if known is None else known for subject, known in found.items()}

    def register(self, topics: Iterable[TopicPlan]) -> list[Registration]:
        """Register what is missing; new subjects become FULL_TRANSITIVE. May be repeated without harm.

        All are checked before the first is registered. Raises CheckFailed naming type and field of what would break.
        """
        return self._register_all(subjects(topics))

    def check(self, topics: Iterable[TopicPlan]) -> list[Finding]:
        """Would each registration succeed and break nobody, and is what we write the latest? One finding a subject."""
        return [self._check(each) for each in subjects(topics)]

    def diff(self, topics: Iterable[TopicPlan]) -> list[Difference]:
        """Field by field, how each schema differs from the latest version under its subject."""
        differences = []
        for each in subjects(topics):
            versions = self._versions(each.subject)
            latest = self._version(each.subject, versions[-1]) if versions else None
            differences.append(
                Difference(
                    subject=each.subject,
                    gateway=each.gateway,
                    type=each.type,
                    version=versions[-1] if versions else None,
                    changes=tuple(changes(latest, each.schema)) if versions else (),
                )
            )
        return differences

    def unregistered(self, topics: Iterable[TopicPlan]) -> list[SubjectPlan]:
        """The subjects whose id is neither known nor to be looked up: `run` would not start, or register them."""
        return [each for each in subjects(topics) if self._resolve(each.subject, each.schema) is None]

    def schema(self, schema_id: int) -> dict[str, Any]:
        """The schema with that id. Raises ConfigError where the registry has none, and the errors of the class."""
        found = self._ask(lambda: self._client.get_schema(schema_id))
        if found is None or found.schema_str is None:
            raise ConfigError(f"no schema has the id {schema_id}", where="registry")
        parsed: dict[str, Any] = json.loads(found.schema_str)
        return parsed

    def reach(self) -> None:
        """Ask for the registry's own settings: proves address, credentials and that it is a registry."""
        self._call(lambda: self._client.get_subjects(limit=1))

    def close(self) -> None:
        """Close the connections; the ids found stay known."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- one subject --------------------------------------------------------------------------------------------------

    def _resolve(self, subject: str, schema: Mapping[str, Any]) -> int | None:
        known = self.known(subject, schema)
        if known is not None:
            return known
        found, _ = self._lookup(subject, schema)
        if found is not None:
            self._ids.put(subject, schema, found)
        return found

    def _check(self, plan: SubjectPlan) -> Finding:
        who = f"{f'{plan.gateway} ' if plan.gateway else ''}{plan.type} ({plan.subject})"
        broken = None
        versions = self._versions(plan.subject)
        mine, version = self._lookup(plan.subject, plan.schema)
        if not versions:
            text = "new, not registered yet"
        elif mine is None:
            broken = self._broken(plan, versions)
            text = broken or f"compatible with all versions ({len(versions)}), not registered yet"
        elif version in {None, versions[-1]}:
            text = f"registered, id {mine}"
        else:
            newer = changes(plan.schema, self._version(plan.subject, versions[-1]))
            fields = "; ".join(str(change) for change in newer[:3]) or "the same fields"
            text = f"registered as version {version}, but the latest is version {versions[-1]}: {fields}"
        return Finding(name="registry", ok=broken is None, text=f"{who}: {text}")

    def _broken(self, plan: SubjectPlan, versions: Sequence[int]) -> str | None:
        """What registering would break, naming the field; None: nothing, by the registry's judgement and by ours."""
        ours = None
        for version in reversed(versions):
            broken = [each for each in changes(self._version(plan.subject, version), plan.schema) if each.breaks]
            if broken:
                more = f" (and {len(broken) - 1} more fields)" if len(broken) > 1 else ""
                ours = f"{broken[0]}, against version {version}{more}"
                break
        compatible, reason = self._verdict(plan.subject, plan.schema)
        if compatible:
            return ours
        said = f"the registry says: {reason}" if reason else "the registry says that it is incompatible"
        return f"{ours}; {said}" if ours else f"{_field(reason, plan.schema)}{said}"

    def _register_all(self, plans: Sequence[SubjectPlan]) -> list[Registration]:
        bad = [finding.text for finding in map(self._check, plans) if not finding.ok]
        if bad:
            more = f" (and {len(bad) - 1} more types)" if len(bad) > 1 else ""
            raise CheckFailed(bad[0] + more, where="registry", mend="nothing was registered")
        return [self._register(each) for each in plans]

    def _register(self, plan: SubjectPlan) -> Registration:
        subject = plan.subject
        before = self._versions(subject)
        found, _ = self._lookup(subject, plan.schema)
        schema_id = found
        if schema_id is None:
            schema_id, found = self._put(subject, plan.schema)
        # Also a subject whose only version is ours and which has no level: its registration was cut short just here.
        alone = not before or (found is not None and len(before) == 1)
        note = self._hold_to_level(subject) if alone else None
        self._ids.put(subject, plan.schema, schema_id)
        what = "unchanged" if found is not None else "new version" if before else "new subject"
        return Registration(subject, plan.type, schema_id, what, note)

    def _put(self, subject: str, schema: Mapping[str, Any]) -> tuple[int, int | None]:
        """Register; returns the id, and once more where somebody else did just now: two bridges may start at once."""
        try:
            return self._call(lambda: self._client.register_schema(subject, _schema(schema)), subject=subject), None
        except CheckFailed:
            # Apicurio's word for a subject that another client has made meanwhile is that of an incompatible schema.
            other, _ = self._lookup(subject, schema)
            if other is None:
                raise
            return other, other

    def _hold_to_level(self, subject: str) -> str | None:
        try:
            if self._ask(lambda: self._client.get_compatibility(subject)) in {None, "NONE"}:
                self._call(lambda: self._client.set_compatibility(subject, COMPATIBILITY))
        except Refused as error:
            # Many registries let a deployment register, and only administrators set levels.
            return f"its compatibility could not be set to {COMPATIBILITY}: {error.what}"
        except CheckFailed:
            # As above: Apicurio's word for a level that another client is just setting. Once it is there, it is changed.
            self._call(lambda: self._client.set_compatibility(subject, COMPATIBILITY))
        return None

    # --- the registry's answers ---------------------------------------------------------------------------------------

    def _lookup(self, subject: str, schema: Mapping[str, Any]) -> tuple[int | None, int | None]:
        """(id, version) of exactly this schema, docs and attributes included; (None, None): not registered."""
        found = self._ask(lambda: self._client.lookup_schema(subject, _schema(schema)))
        return (None, None) if found is None else (found.schema_id, found.version)

    def _versions(self, subject: str) -> list[int]:
        return sorted(self._ask(lambda: self._client.get_versions(subject)) or ())

    def _version(self, subject: str, version: int) -> Any:
        found = self._call(lambda: self._client.get_version(subject, version), subject=subject)
        return json.loads(found.schema.schema_str or "{}")

    def _verdict(self, subject: str, schema: Mapping[str, Any]) -> tuple[bool, str]:
        """Compatible with all versions, by the subject's own level? With the reason, which the public call drops."""
        body = _schema(schema).to_dict()
        path = f"compatibility/subjects/{quote(subject, safe='')}/versions?verbose=true"
        answer = self._call(lambda: self._client._rest_client.post(path, body=body), subject=subject)  # noqa: SLF001
        reasons = answer.get("messages") or [answer.get("reason") or ""]
        return bool(answer["is_compatible"]), " ".join(" ".join(map(str, reasons)).split())[:_REASON]

    def _ask(self, request: Callable[[], _T]) -> _T | None:
        """`_call`, with None where the registry has no such subject, version, schema or level."""
        try:
            return self._call(request)
        except _NotThere:
            return None

    def _call(self, request: Callable[[], _T], *, subject: str | None = None) -> _T:
        try:
            return request()
        except (SchemaRegistryError, httpx.HTTPError, httpx.InvalidURL, *_NO_REGISTRY) as error:
            raise classify(error, where=self.where, subject=subject) from error


class _NotThere(ConfigError):
    """The registry has no such subject, version, schema or level."""


def classify(error: Exception, *, where: str, subject: str | None = None) -> BridgeError:
    """Which of our errors an error of the registry's client is, with one line for a person. Callers raise it.

    where: the registry's address as it may be shown.
    """
    if isinstance(error, SchemaRegistryError):
        return _answered(error, where, f" for subject {subject!r}" if subject else "")
    if isinstance(error, httpx.TransportError):
        return _unreachable(str(error) or type(error).__name__, where)
    return ConfigError(
        f"what answers at {where} is no schema registry ({type(error).__name__})", where="registry", mend=_ADDRESS
    )


def _answered(error: SchemaRegistryError, where: str, named: str) -> BridgeError:
    status, text = error.http_status_code, " ".join(str(error.error_message).split())[:_REASON]
    if status in {401, 403}:
        return Refused(
            f"credentials refused{named} by {where} (HTTP {status})",
            where="registry",
            mend="check basic, bearer or certificate under registry, and the rights of that user",
        )
    if status == _CONFLICT:
        return CheckFailed(
            f"incompatible schema{named}: {text}", where="registry", mend="see `feedbridge schemas diff`"
        )
    if status == _NOT_FOUND and error.error_code in _MISSING:
        return _NotThere(text, where="registry")
    if status == _NOT_FOUND:
        return ConfigError(f"no schema registry answers at {where} (HTTP 404)", where="registry", mend=_ADDRESS)
    if status in {408, 429} or status >= _SERVER_ERROR:
        return Unreachable(f"{where} answered HTTP {status}: {text}", where="registry")
    return ConfigError(f"{where} refused the request{named} (HTTP {status}): {text}", where="registry")


def _missing(what: str) -> ConfigError:
    return ConfigError(what, where="registry", mend="run `feedbridge schemas register`")


#: The file with the ids, in the folder that `Registry` is given.
CACHE_FILE: Final = "schema-ids.json"

_NOT_FOUND: Final = 404
_CONFLICT: Final = 409
_SERVER_ERROR: Final = 500
#: Subject, version, schema or a subject's own level not found: an answer. A 404 without one of these is a wrong address.
_MISSING: Final = frozenset({40401, 40402, 40403, 40408})
#: What the client stumbles over where the answer is not a registry's.
_NO_REGISTRY: Final = (ValueError, KeyError, TypeError, AttributeError)
_REASON: Final = 400
_ADDRESS: Final = "check registry.url (Apicurio: …/apis/ccompat/v7)"


class _Ids:
    """Ids found so far: a JSON file ``{address: {subject: {fingerprint: id}}}``, replaced as a whole."""

    def __init__(self, path: Path | None, *, address: str) -> None:
        self._path = path
        self._address = address
        self._ids: dict[str, dict[str, int]] = _read(path).get(address, {}) if path else {}

    def get(self, subject: str, schema: Mapping[str, Any]) -> int | None:
        return self._ids.get(subject, {}).get(_fingerprint(schema))

    def put(self, subject: str, schema: Mapping[str, Any], schema_id: int) -> None:
        if self.get(subject, schema) == schema_id:
            return
        self._ids.setdefault(subject, {})[_fingerprint(schema)] = schema_id
        if self._path is not None:
            _write(self._path, _read(self._path) | {self._address: self._ids})


def _read(path: Path) -> dict[str, dict[str, dict[str, int]]]:
    """The file's content; empty where there is none or it is damaged: it only saves look-ups."""
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1, sort_keys=True)
        Path(name).replace(path)
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise


def _fingerprint(schema: Mapping[str, Any]) -> str:
    """Of everything that is registered, docs included: another doc is another schema to a registry."""
    return hashlib.sha256(_text(schema).encode()).hexdigest()[:32]


def _text(schema: Mapping[str, Any]) -> str:
    return json.dumps(schema, ensure_ascii=False, separators=(",", ":"))


def _schema(schema: Mapping[str, Any]) -> Schema:
    return Schema(_text(schema), "AVRO")


def _address(settings: RegistrySettings) -> str:
    """The registry's identity in the file: addresses without credentials, in one order."""
    return ",".join(sorted(f"{url.origin}{url.path.rstrip('/')}" for url in settings.url))


def _properties(settings: RegistrySettings) -> dict[str, Any]:
    """What Confluent's client is told. Credentials leave the URLs: the HTTP library logs URLs."""
    properties: dict[str, Any] = {
        "url": _address(settings),
        "timeout": settings.timeout,
        "max.retries": 2,
        "retries.wait.ms": 200,
        "retries.max.wait.ms": 1000,
    }
    user = next((url for url in settings.url if url.username is not None), None)
    if settings.basic is not None:
        properties["basic.auth.user.info"] = f"{settings.basic.username}:{settings.basic.password.reveal()}"
    elif user is not None:
        properties["basic.auth.user.info"] = f"{user.username}:{user.password.reveal() if user.password else ''}"
    if settings.bearer is not None:
        properties |= {
            "bearer.auth.credentials.source": "STATIC_TOKEN",
            "bearer.auth.token": settings.bearer.reveal(),
            "bearer.auth.logical.cluster": "",
        }
    for key, value in (("ca", settings.ca), ("certificate", settings.certificate), ("key", settings.key)):
        if value is not None:
            properties[f"ssl.{key}.location"] = str(value)
    return properties


def _unreachable(text: str, where: str) -> BridgeError:
    """No answer came: in a few words why. text: the HTTP library's."""
    if "alert" in text.lower():
        return Refused(
            f"{where} refused our TLS certificate: {text.partition('(_ssl')[0].strip()}",
            where="registry",
            mend="check registry.certificate and registry.key: in date, and of a CA that it knows",
        )
    if "certificate verify failed" in text:
        reason = text.partition("certificate verify failed:")[2].partition("(_ssl")[0].strip()
        mend = "set registry.ca to the file with its CA"
        if "expired" in reason or "not yet valid" in reason:
            mend = "renew its certificate"
        elif "mismatch" in reason or "not valid for" in reason:
            mend = "use a name that it holds in registry.url"
        text = f"the certificate of {where} is not trusted: {reason.rstrip('.')}"
        return Unreachable(text, where="registry", mend=mend)
    return Unreachable(
        f"{where} can't be reached: {text}", where="registry", mend="check registry.url and that it runs"
    )


def _field(reason: str, schema: Mapping[str, Any]) -> str:
    """The field that a registry's message points to (``/fields/1/type/fields/0``), as a prefix for a line; or nothing."""
    start = reason.find("/fields/")
    if start < 0:
        return ""
    node: Any = schema
    names: list[str] = []
    for step in (part.split(" ")[0].strip("'\",.:;]}") for part in reason[start + 1 :].split("/")):
        if isinstance(node, list) and step.isdigit() and int(step) < len(node):
            node = node[int(step)]
        elif isinstance(node, dict) and step in node:
            node = node[step]
        else:
            break
        if isinstance(node, dict) and "type" in node and "name" in node and "fields" not in node:
            names.append(str(node["name"]))
    return f"{'.'.join(names)}: " if names else ""
