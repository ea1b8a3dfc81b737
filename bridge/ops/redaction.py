"""The last line of defence for secrets in text.

Secrets are a type of their own whose text is masked (`bridge.settings.Secret`), so no call site should be able to
print one. This module is for what gets past that: a library's error that quotes a request line, a traceback, a URL.
Two nets, since each has holes that the other closes: values known to be secret are masked wherever they stand, in
each spelling that a URL, JSON or a `repr` gives them; and what looks like a credential is masked by its name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import quote, quote_plus

MASK: Final = "***"

#: Characters of a text; nobody reads more in a log line, and masking takes its time.
LONGEST: Final = 64 * 1024
#: Longer than any secret: keys in PEM form have some three thousand characters.
_MARGIN: Final = 8 * 1024

#: Shorter secrets are masked only where they stand alone: a password `a` must not blank every word with an a.
_SHORT: Final = 4

#: A URL from behind its scheme on: userinfo and query may hold credentials, host and path do not. Without the scheme,
#: since a pattern that begins with any word takes quadratic time, and others choose some of our texts.
_URL: Final = re.compile(r"""://(?P<user>[^\s/?#"'<>]*@)?(?P<place>[^\s?#"'<>]*)(?P<query>\?[^\s"'<>)\]}]*)?""")
#: `api_key=…`, also in the middle of a request line or a query.
_PAIR: Final = re.compile(
    r"""(?<![a-z0-9])
        (?P<name>(?:x[-_])?api[-_]?key|key|(?:access[-_]|refresh[-_])?token|(?:client[-_])?secret|passw(?:or)?d|bearer)
        (?P<join>=\s*["']?)
        (?P<value>[^\s&"'<>,;)\]}]+)""",
    re.IGNORECASE | re.VERBOSE,
)
#: `"api_key": "…"` and `('X-Api-Key', b'…')`: quoted on both sides, so that prose about a key stays readable.
_QUOTED: Final = re.compile(
    r"""(?P<name>["'](?:x[-_])?(?:api[-_]?key|(?:access[-_])?token|secret|[\w.]*passw(?:or)?d|bearer|cookie|set-cookie))
        (?P<join>["']\s*[:,]\s*b?["'])
        (?P<value>[^"'\r\n]+)""",
    re.IGNORECASE | re.VERBOSE,
)
#: `Authorization: Bearer …`, `X-Api-Key: …`, as a header line, a dict or a tuple; not the path of a key of the configuration,
#: behind which stands what is wrong with it.
_HEADER: Final = re.compile(
    r"""(?<!otlp\.headers\.)(?P<name>\b(?:(?:proxy-)?authorization|x-api-key))
        (?P<join>(?:["']\s*,|["']?\s*[:=])\s*(?:b?["'])?)
        (?P<value>[^"'\r\n,;]+)""",
    re.IGNORECASE | re.VERBOSE,
)
#: A bare `Bearer …` or `Basic …`; long, since "basic authentication" is a phrase.
_SCHEME: Final = re.compile(r"(?P<name>\b(?:bearer|basic))(?P<join>\s+)(?P<value>[a-z0-9._~+/=-]{16,})", re.IGNORECASE)

#: An account on a chain: whoever reads it can look up all that it owns.
_ADDRESS: Final = re.compile(
    r"0[xX](?<![0-9A-Za-z]0[xX])(?P<head>[0-9a-fA-F]{4})[0-9a-fA-F]{32}(?P<tail>[0-9a-fA-F]{4})(?![0-9A-Za-z])"
)

#: Fields that hold a credential whatever they look like. `key` is not one: here it is the key of a record.
_SECRET_FIELD: Final = re.compile(
    r"(?:^|[._-])(?:api[-_]?key|authorization|bearer|cookie|passw(?:or)?d|passphrase|secret|(?:access|refresh)[-_]token)$",
    re.IGNORECASE,
)


class Redactor:
    """Masks secrets in text and in the fields of log events. Adding is rare, masking must be cheap."""

    def __init__(self) -> None:
        """Know no secret yet; the patterns work from the start."""
        self._known: dict[str, str] = {}
        self._pattern: re.Pattern[str] | None = None

    def add(self, *secrets: str) -> None:
        """Mask these values from now on, in the spellings of URLs, JSON and Python literals too."""
        for secret in secrets:
            for form in _spellings(secret):
                text = re.escape(form)
                self._known[form] = text if len(form) >= _SHORT else rf"(?<!\w){text}(?!\w)"
        # The longest first: where one secret is the beginning of another, the rest of the longer must not stay.
        parts = sorted(self._known, key=len, reverse=True)
        self._pattern = re.compile("|".join(self._known[part] for part in parts)) if parts else None

    def known(self, text: str) -> str:
        """Mask the values that were added, and shorten addresses of wallets and vaults; nothing else."""
        text = self._pattern.sub(MASK, text) if self._pattern else text
        return _ADDRESS.sub(r"0x\g<head>..\g<tail>", text)

    def text(self, text: str) -> str:
        """Mask the values that were added and whatever looks like a credential; cut what is longer than `LONGEST`."""
        whole, text = text, text[:LONGEST]
        text = _URL.sub(_bare_url, self.known(text))
        for pattern in (_HEADER, _PAIR, _QUOTED, _SCHEME):
            text = pattern.sub(_without_value, text)
        # A secret across the cut was not recognised: its beginning stands at the very end.
        return text if len(whole) <= LONGEST else f"{text[:-_MARGIN]} … (cut, {len(whole):,} characters)"

    def value(self, value: object, *, field: str = "") -> object:
        """Mask within a field of a log event: containers are walked, all but plain values become text.

        field: the name of the field; where it names a credential the whole value goes.
        """
        if value is None or isinstance(value, bool | int | float):
            return value
        if field and _SECRET_FIELD.search(field):
            return MASK
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(name)): self.value(part, field=str(name)) for name, part in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.value(part, field=field) for part in value]
        return self.text(repr(value))


#: The process's one: the log pipeline, the pages and the errors of the command line all ask it.
redactor: Final = Redactor()


def _spellings(secret: str) -> Iterator[str]:
    """Yield the forms in which a value may turn up; nothing for an empty one."""
    secret = secret.strip()
    if secret:
        forms = {secret, quote(secret, safe=""), quote(secret), quote_plus(secret), repr(secret)[1:-1]}
        forms |= {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
        yield from forms


def _bare_url(found: re.Match[str]) -> str:
    user = f"{MASK}@" if found["user"] else ""
    query = f"?{MASK}" if found["query"] and len(found["query"]) > 1 else ""
    return f"://{user}{found['place']}{query}"


def _without_value(found: re.Match[str]) -> str:
    return f"{found['name']}{found['join']}{MASK}"
