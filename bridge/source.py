"""The text of a configuration file: YAML (JSON is YAML) as plain values that remember where they stood.

`read` gets the text, `parse` takes it apart and fills in ``${…}``. Neither stops at the first fault: a `Document` carries
its `problems` beside its data, so that a person who has three mistakes to mend hears of three. Text of the file, of the
environment or of a mounted file never gets into a problem, since any of it may be a secret; names of keys, of variables
and of files do.

YAML is read as YAML 1.2 reads it where 1.1 surprises: `no`, `on`, `0x1f`, `010`, `1:30` and dates are text. A number is
taken as one only if it would be written the same way again; `1.10` stays text and so stays exact, and digits are still a
number where a number is wanted.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from bridge.errors import ConfigError

#: Larger files are refused: they are no configuration, and reading them would take long.
MAX_BYTES: Final = 1 << 20
#: A mounted secret is small; what is larger is some other file.
MAX_SECRET_BYTES: Final = 64 << 10
#: Values in the file once aliases are followed; a few lines of aliases of aliases would otherwise be billions.
MAX_VALUES: Final = 100_000

#: Where a value stands: keys and list positions from the top, `("gateways", "cs2", "ids", 0)`.
KeyPath = tuple[str | int, ...]
#: Whether a value may do without the variable or file that it names.
Spare = Callable[[KeyPath], bool]
#: What it is then.
UNSET: Final = "unset"


@dataclass(frozen=True)
class Problem:
    """One fault of a file. line: from 1; None: the file as a whole. path: the key to blame, may be empty."""

    line: int
    path: str
    what: str
    mend: str | None = None


@dataclass
class Document:
    """A file taken apart.

    data: plain values. lines: the line of each value, the key's own line for the member of a mapping. origins: which
    ``${…}`` a text came from, by name. broken: places whose value could not be made out; what stands there is a stand-in.
    files: those that ``${file:…}`` names.
    """

    data: object = None
    lines: dict[KeyPath, int] = field(default_factory=dict)
    origins: dict[KeyPath, str] = field(default_factory=dict)
    broken: set[KeyPath] = field(default_factory=set)
    files: set[Path] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)

    def line(self, path: KeyPath) -> int:
        """Return the line of a place, or of the nearest one around it that the file has."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return 1


def read(path: Path) -> str:
    """Return the text of a configuration file. Raises ConfigError where it can't be read, is too large or not UTF-8."""
    raw = _bytes(path, MAX_BYTES)
    if isinstance(raw, str):
        raise ConfigError(
            f"can't be read: {raw}", where=str(path), mend="give the file with -c FILE or FEEDBRIDGE_CONFIG"
        )
    if len(raw) > MAX_BYTES:
        raise ConfigError("is over 1 MiB, that is no configuration", where=str(path))
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        fault = ConfigError("is not UTF-8 text", where=f"{path}:{line}", mend="save it as UTF-8")
    # Outside the handler: the decoder's own error holds the text, and must not be carried along as a context.
    raise fault


def parse(text: str, *, environ: Mapping[str, str], folder: Path, spare: Spare = lambda _: False) -> Document:
    """Take the text of a configuration file apart and fill in ``${…}``.

    environ: where ``${NAME}`` is looked up. folder: what a relative PATH of ``${file:PATH}`` starts from. spare:
    see `Spare`. Faults are in the document's `problems`; without any, every value is as the file means it.
    """
    document = Document()
    try:
        root = _compose(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        document.problems.append(Problem(mark.line + 1 if mark else 1, "", *_syntax(error)))
        return document
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        document.problems.append(Problem(line, "", "a control character, which YAML does not allow"))
        return document
    except RecursionError:
        document.problems.append(Problem(1, "", "is nested too deeply"))
        return document
    if root is None:
        document.problems.append(Problem(1, "", "is empty"))
        return document
    _Reading(document, environ, folder, spare).run(root)
    return document


def shown(path: KeyPath) -> str:
    """Return a path as errors name it: `gateways.cs2.ids[0]`. A key that is no plain word is not repeated."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            word = part if _WORD.fullmatch(part) else "(a key that is no plain word)"
            text += f".{word}" if text else word
    return text


def nearest(name: str, known: Iterable[str]) -> str:
    """Return advice for an unknown name: the nearest known one, or all where none is near and they are few."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"did you mean `{near[0]}`?"
    if len(names) > _FEW:
        return "no known key is near it"
    return f"known: {', '.join(names)}" if names else "nothing can be set here"


_FEW: Final = 20
_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,99}")

_NULL: Final = "tag:yaml.org,2002:null"
_BOOL: Final = "tag:yaml.org,2002:bool"
_INT: Final = "tag:yaml.org,2002:int"
_FLOAT: Final = "tag:yaml.org,2002:float"
_STR: Final = "tag:yaml.org,2002:str"
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLS: Final = frozenset({"true", "True", "TRUE", "false", "False", "FALSE"})
#: Longer integers are text: no number of ours has more digits than a uint256.
_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]{0,99}")
_DECIMAL: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,15})\.[0-9]{1,15}")


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader as far as nodes, with the plain scalars of YAML 1.2; it constructs nothing."""

    def resolve(self, kind: type[Node], value: str | None, implicit: object) -> str:
        """Return the tag of a node that names none. implicit: (plain, quoted) for scalars."""
        if kind is not ScalarNode or value is None or not isinstance(implicit, tuple) or not implicit[0]:
            return str(super().resolve(kind, value, implicit))  # type: ignore[no-untyped-call]
        if value in _NULLS:
            return _NULL
        if value in _BOOLS:
            return _BOOL
        if _INTEGER.fullmatch(value):
            return _INT
        return _FLOAT if _DECIMAL.fullmatch(value) and repr(float(value)) == value else _STR


def _compose(text: str) -> Node | None:
    loader = _Loader(text)
    try:
        node: Node | None = loader.get_single_node()
    finally:
        loader.dispose()
    return node


class _Reading:
    """One pass over the nodes of a file."""

    def __init__(self, document: Document, environ: Mapping[str, str], folder: Path, spare: Spare) -> None:
        self.document = document
        self.environ = environ
        self.folder = folder
        self.spare = spare
        self.values = 0
        self.open: list[Node] = []

    def run(self, root: Node) -> None:
        self.document.lines[()] = _line(root)
        try:
            self.document.data = self.value(root, ())
            if self.document.data is None and not self.document.problems:
                self.problem((), "is empty")
        except _TooMuch as stop:
            self.problem((), str(stop))
        except RecursionError:
            self.problem((), "is nested too deeply")

    def problem(self, path: KeyPath, what: str, mend: str | None = None, *, line: int | None = None) -> None:
        at = self.document.line(path) if line is None else line
        self.document.problems.append(Problem(at, shown(path), what, mend))

    def value(self, node: Node, path: KeyPath) -> object:
        self.count()
        if node in self.open:
            raise _TooMuch("has an alias that contains itself")
        self.open.append(node)
        try:
            if isinstance(node, MappingNode):
                return self.mapping(node, path)
            if isinstance(node, SequenceNode):
                return self.sequence(node, path)
            return self.scalar(node, path)
        finally:
            self.open.pop()

    def count(self) -> None:
        self.values += 1
        if self.values > MAX_VALUES:
            raise _TooMuch("holds too many values")

    def mapping(self, node: MappingNode, path: KeyPath) -> dict[str, object]:
        made: dict[str, object] = {}
        for key, (key_node, value_node) in self.members(node, path).items():
            self.document.lines[*path, key] = _line(key_node)
            made[key] = self.value(value_node, (*path, key))
        return made

    def members(self, node: MappingNode, path: KeyPath) -> dict[str, tuple[Node, Node]]:
        """Return key and value nodes by key; with what ``<<: *base`` adds, which a mapping's own keys override."""
        own: dict[str, tuple[Node, Node]] = {}
        bases: list[Node] = []
        self.tag(node, path, "tag:yaml.org,2002:map")
        for key_node, value_node in node.value:
            self.count()
            line = _line(key_node)
            if not isinstance(key_node, ScalarNode):
                self.problem(path, "a key must be text", line=line)
            elif key_node.end_mark.index == value_node.start_mark.index:
                # `{password: a,b}`: to YAML `b` is a key, to its author it is half of a password. It is not repeated.
                self.problem(path, "text without `: `", "within {…} put text with commas in quotes", line=line)
            elif key_node.value == "<<" and key_node.style is None:
                bases += value_node.value if isinstance(value_node, SequenceNode) else [value_node]
            elif key_node.value in own:
                first = _line(own[key_node.value][0])
                at = (*path, key_node.value)
                self.problem(at, f"duplicate key, first in line {first}", "remove one of the two", line=line)
            else:
                own[key_node.value] = (key_node, value_node)
        for base in bases:
            if isinstance(base, MappingNode):
                own = self.members(base, path) | own
            else:
                self.problem(path, "`<<` merges mappings only", line=_line(base))
        return own

    def sequence(self, node: SequenceNode, path: KeyPath) -> list[object]:
        self.tag(node, path, "tag:yaml.org,2002:seq")
        made: list[object] = []
        for index, part in enumerate(node.value):
            self.document.lines[*path, index] = _line(part)
            made.append(self.value(part, (*path, index)))
        return made

    def scalar(self, node: Node, path: KeyPath) -> object:
        text: str = node.value
        if node.tag == _NULL and text in _NULLS:
            return None
        if node.tag == _BOOL and text in _BOOLS:
            return text.lower() == "true"
        if node.tag == _INT and _INTEGER.fullmatch(text):
            return int(text)
        if node.tag == _FLOAT and _DECIMAL.fullmatch(text):
            return float(text)
        self.tag(node, path, _STR)
        text = _joined(text)
        if _HALVES.search(text):
            self.fault(path, "half of a character (`\\ud800` to `\\udfff` without its other half)")
            return ""
        return self.substitute(text, path) if "$" in text else text

    def tag(self, node: Node, path: KeyPath, expected: str) -> None:
        if node.tag != expected:
            self.document.broken.add(path)
            self.problem(path, "a YAML tag (`!…`) has no meaning here", "put text that starts with `!` in quotes")

    def substitute(self, text: str, path: KeyPath) -> str:
        names: list[str] = []

        def fill(found: re.Match[str]) -> str:
            if found[0] == "$$":
                return "$"
            name, fallback, file = found["name"], found["fallback"], found["file"]
            if file is not None:
                names.append(f"file:{file}")
                return self.file(file, path)
            if name is None:
                self.fault(path, "this `${` is no ${NAME}, ${NAME:-default} or ${file:PATH}", "write $$ for one $")
                return ""
            names.append(name)
            value = self.environ.get(name)
            if fallback is not None:
                value = value or fallback.replace("$$", "$")
            if value is None and self.spare(path):
                return UNSET
            if value is None:
                self.fault(
                    path, f"the environment variable {name} is not set", f"set it, or write ${{{name}:-default}}"
                )
                return ""
            if _HALVES.search(value):
                self.fault(path, f"the environment variable {name} is not UTF-8 text")
                return ""
            return value

        filled = _SUBSTITUTION.sub(fill, text)
        if names:
            self.document.origins[path] = ", ".join(f"${{{name}}}" for name in names)
        return filled

    def file(self, name: str, path: KeyPath) -> str:
        self.document.files.add(self.folder / name)
        raw = _bytes(self.folder / name, MAX_SECRET_BYTES)
        if isinstance(raw, str) and self.spare(path):
            return UNSET
        if isinstance(raw, str):
            self.fault(path, f"the file {name} can't be read: {raw}")
            return ""
        if len(raw) > MAX_SECRET_BYTES:
            self.fault(path, f"the file {name} is over 64 KiB, that is no value")
            return ""
        try:
            return raw.decode("utf-8-sig").removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            self.fault(path, f"the file {name} is not UTF-8 text")
            return ""

    def fault(self, path: KeyPath, what: str, mend: str | None = None) -> None:
        """Note a problem and that the value at `path` is only a stand-in."""
        self.document.broken.add(path)
        self.problem(path, what, mend)


class _TooMuch(Exception):
    """The file is no tree of reasonable size."""


_SUBSTITUTION: Final = re.compile(
    r"""\$\$
      | \$\{ file: (?P<file>[^${}\n]+) \}
      | \$\{ (?P<name>[A-Za-z_][A-Za-z0-9_]*) (?: :- (?P<fallback>[^{}]*) )? \}
      | \$\{.*""",
    re.VERBOSE | re.DOTALL,
)


_HALVES: Final = re.compile("[\ud800-\udfff]")


def _joined(text: str) -> str:
    r"""Join what JSON escapes as two halves (`\ud83d\ude00`) and YAML, which does not know this, reads as two."""
    if _HALVES.search(text) is None:
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


def _bytes(path: Path, limit: int) -> bytes | str:
    """Return at most `limit` + 1 bytes of a file, or why it can't be read."""
    try:
        with path.open("rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        return error.strerror or type(error).__name__
    except ValueError:  # a null byte in the name
        return os.strerror(2)


#: The parser's own words quote the text (an alias may be a password that starts with `*`); ours don't.
_SYNTAX: Final[tuple[tuple[str, str, str | None], ...]] = (
    (r"character '\\t'", "a tab where YAML takes only spaces", "indent with spaces"),
    (r"undefined alias", "an alias (`*…`) that nothing defines", "put text that starts with `*` in quotes"),
    (r"duplicate anchor", "an anchor (`&…`) that is defined twice", None),
    (r"alphabetic or numeric character", "`*` or `&` without a name", "put text that starts with it in quotes"),
    (r"undefined tag handle|tag|directive", "a YAML tag or directive", "put text that starts with `!` or `%` in quotes"),
    (r"expected a single document|<document start>", "more than one document, or text after its end", "keep one document in a file"),
    (r"mapping values are not allowed", "a `:` where none can be", "indent keys of one level alike; put text with `: ` in quotes"),
    (r"could not find expected ':'", "a line without `:`", "write `key: value`, and put text of several lines in quotes"),
    (r"end of stream|quoted scalar|unknown escape|hexadecimal", "text in quotes that does not end, or a wrong escape in it", 'close the quotes; write \\\\ for one \\ within "…"'),
    (r"chomping", "text behind a `|` or `>`", "put text that starts with it in quotes"),
    (r"node content", "a bracket, comma or colon where a value belongs", "put text that starts with it in quotes"),
    (r"but got '\{'|but got ','|flow", "a bracket that is not closed, or one too many", "within {…} and […] put text with {, }, [, ] or ${…} in quotes"),
    (r"block end|block mapping|block collection", "a line that does not fit what stands above it", "indent keys of one level alike"),
    (r"cannot start any token", "text that starts with a character YAML keeps for itself", "put it in quotes"),
)  # fmt: skip


def _syntax(error: yaml.MarkedYAMLError) -> tuple[str, str | None]:
    """Say in plain words, and without the text, what is wrong."""
    told = f"{error.problem or ''} {error.context or ''}"
    for pattern, what, mend in _SYNTAX:
        if re.search(pattern, told):
            return what, mend
    return "this is not YAML", None
