"""Split a file into metadata and text, for each notation of front matter.

YAML between `---` lines (Jekyll, Hugo), TOML between `+++` lines (Hugo, Zola), a JSON object (Hugo), and `Key: value`
lines up to the first empty one (Pelican). The time is bounded by `MAX_FRONT_MATTER`, and the only exception raised is
`InvalidArticle`.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import yaml
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from multisite.content.errors import InvalidArticle
from multisite.content.imports.simple_yaml import read_simple_yaml
from multisite.content.limits import MAX_FRONT_MATTER

__all__ = ["Metadata", "Notation", "has_front_matter", "load_configuration", "lower_keys", "split_metadata"]

Notation = Literal["yaml", "toml", "json", "lines"]

_BLANK = re.compile(r"[\ufeff\s]*")
"""What may precede the front matter: Hugo skips white space, and editors on Windows write a byte order mark, or two."""

_YAML_EDGE = re.compile(r"^(?:---|\.\.\.)[ \t]*$", re.MULTILINE)
_TOML_EDGE = re.compile(r"^\+\+\+[ \t]*$", re.MULTILINE)
_PELICAN_START = re.compile(
    r"([A-Za-z][A-Za-z0-9_-]*):(?:[ \t]|$)|(?:title|date|slug|tags|author|category):", re.IGNORECASE
)
_PELICAN_LINE = re.compile(r" {0,3}([A-Za-z0-9_-]+):[ \t]*(.*)$")
_PELICAN_END = re.compile(r"(?:---|\.\.\.)(?:\s.*)?$")
_PELICAN_LISTS = frozenset({"tags", "authors"})
_TAB = re.compile(r"""("(?:[^"\\\n]|\\.)*"|'[^'\n]*')|(?<=[^\t\n ]) *\t[\t ]*""")
_MERGE = "tag:yaml.org,2002:merge"

_MAX_SCALAR = 100
"""Characters of a YAML scalar with an explicit type: a base 60 number `1:1:1:…` takes quadratic time."""

_MAX_KEY_PARTS = 64
_DOTTED_KEY = re.compile(
    r"""(?<![\w-])(?:(?:[\w-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')[ \t]*\.[ \t]*){%d}""" % _MAX_KEY_PARTS,  # noqa: UP031
    re.ASCII,
)
"""A TOML key with too many parts: tomllib takes quadratic time in their number."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """The front matter of a file: its fields with lower-case names, and the text after it.

    `line` is the number of the first line of the text, from 1.
    """

    fields: dict[str, Any]
    body: str
    notation: Notation
    line: int


def split_metadata(text: str) -> Metadata:
    """Return the metadata and text of a file whose lines end in newlines, not in carriage returns."""
    blank = _BLANK.match(text)
    start = blank.end() if blank else 0
    fields, notation, end = _read_fields(text[start:])
    return Metadata(fields, text[start + end :], notation, text.count("\n", 0, start + end) + 1)


def has_front_matter(text: str) -> bool:
    """Return whether `text` begins as one with front matter, in any notation."""
    start = _BLANK.sub("", text[:MAX_FRONT_MATTER], count=1)
    return start.startswith(("---", "+++", "{")) or _PELICAN_START.match(start) is not None


def load_configuration(text: str, suffix: str, limit: int = MAX_FRONT_MATTER) -> dict[str, Any]:
    """Return the configuration of a tool: YAML, TOML or JSON by the suffix of its file. Names are lower case.

    `limit` is the number of characters that YAML and TOML may have.

    Raises:
        InvalidArticle: It cannot be read.
    """
    if suffix == ".toml":
        return _load(_load_toml, text, limit)
    if suffix == ".json":
        if not text.lstrip().startswith("{"):
            raise InvalidArticle("it is not a JSON object")
        return _load_json(text.lstrip())[0]
    return _load(partial(_load_yaml, first_line=1), text, limit)


def _read_fields(text: str) -> tuple[dict[str, Any], Notation, int]:
    first_line, _, rest = text.partition("\n")
    if first_line.rstrip() in ("---", "+++"):
        notation: Notation = "yaml" if first_line.startswith("-") else "toml"
        edge, load = (_YAML_EDGE, _load_yaml) if notation == "yaml" else (_TOML_EDGE, _load_toml)
        end = edge.search(rest)
        if end is None:
            raise InvalidArticle(f"the front matter has no closing {first_line.rstrip()} line")
        fields = _load(load, rest[: end.start()])
        return _with_words_as_tags(fields), notation, len(first_line) + 1 + end.end()
    if text.startswith("{") and text[1:].lstrip()[:1] in ('"', "}"):
        return _load_json(text)
    if _PELICAN_START.match(first_line):
        fields, position = _load_lines(text)
        return fields, "lines", position
    raise InvalidArticle("no front matter: the first line is neither '---' nor '+++' nor like 'Title: …'")


def _load(load: Callable[[str], dict[str, Any]], text: str, limit: int = MAX_FRONT_MATTER) -> dict[str, Any]:
    if len(text) > limit:
        raise InvalidArticle(f"the front matter has more than {limit} characters")
    try:
        return load(text)
    except RecursionError:
        raise InvalidArticle("the front matter is nested too deep") from None


class _FrontMatterLoader(yaml.SafeLoader):
    """The safe loader, but plain scalars stay as written: a title may be `2024`, `Yes` or `1.10`.

    The only scalar with a meaning is `<<`, which merges the fields of another mapping.

    Does not use the faster loader in C: 60,000 opening brackets crash the process with a segmentation fault.
    """

    yaml_implicit_resolvers: dict[str, Any] = {"<": [(_MERGE, re.compile("<<$"))]}
    merged = 0

    def flatten_mapping(self, node: MappingNode) -> None:
        """Merge mappings up to a limit: some that each merge nine others would fill the memory within a dozen lines.

        If several mappings have a key, the first one counts (https://yaml.org/type/merge.html). PyYAML is not used,
        since in its release 6.0.4 the last one counts.
        """
        sources = [value for key, value in node.value if key.tag == _MERGE]
        if not sources:
            return
        node.value = own = [pair for pair in node.value if pair[0].tag != _MERGE]
        node.value = [pair for source in sources for pair in self._pairs(source)] + own

    def _pairs(self, source: Node) -> list[tuple[Node, Node]]:
        """Return the pairs of a mapping, or of a list of mappings in reverse order, since later pairs win."""
        mappings = source.value[::-1] if isinstance(source, SequenceNode) else [source]
        pairs: list[tuple[Node, Node]] = []
        for mapping in mappings:
            if not isinstance(mapping, MappingNode):
                raise ConstructorError(None, None, "only fields can be merged", source.start_mark)
            self.flatten_mapping(mapping)
            self.merged += len(mapping.value) + 1
            if self.merged > MAX_FRONT_MATTER:
                raise ConstructorError(None, None, "too many fields to merge", source.start_mark)
            pairs += mapping.value
        return pairs


def _as_written(loader: _FrontMatterLoader, node: ScalarNode) -> str:
    return str(loader.construct_scalar(node))


def _typed(name: str) -> Callable[[_FrontMatterLoader, ScalarNode], Any]:
    """Return a constructor of scalars with the explicit type `!!name`; PyYAML's own may raise any exception."""
    construct = yaml.SafeLoader.yaml_constructors[f"tag:yaml.org,2002:{name}"]

    def construct_typed(loader: _FrontMatterLoader, node: ScalarNode) -> Any:
        try:
            if len(node.value) <= _MAX_SCALAR:
                return construct(loader, node)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            pass
        raise ConstructorError(None, None, f"not a value of the type !!{name}", node.start_mark)

    return construct_typed


_FrontMatterLoader.add_constructor(_MERGE, _as_written)  # Where it is not a key, `<<` is plain text.
for _name in ("bool", "float", "int", "timestamp"):
    _FrontMatterLoader.add_constructor(f"tag:yaml.org,2002:{_name}", _typed(_name))


def _load_yaml(text: str, first_line: int = 2) -> dict[str, Any]:
    simple = read_simple_yaml(text)
    if simple is not None:
        return lower_keys(simple)
    try:
        try:
            fields = yaml.load(text, Loader=_FrontMatterLoader)  # noqa: S506 (it is a SafeLoader)
        except yaml.scanner.ScannerError:
            # YAML allows tabs as white space between tokens (1.2.2, section 6.2), and PyYAML does not.
            spaced = _TAB.sub(lambda match: match[1] or " ", text)
            if spaced == text:
                raise
            fields = yaml.load(spaced, Loader=_FrontMatterLoader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + first_line}" if error.problem_mark else ""
        raise InvalidArticle(f"the front matter is not YAML{line}: {error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise InvalidArticle(f"the front matter is not YAML: {str(error)[:200]}") from None
    if fields is None or fields == "":
        return {}
    if not isinstance(fields, dict):
        raise InvalidArticle("the front matter is not a list of 'key: value' lines")
    return lower_keys(fields)


def _load_toml(text: str) -> dict[str, Any]:
    if _DOTTED_KEY.search(text):
        raise InvalidArticle(f"the front matter is nested too deep: a key of more than {_MAX_KEY_PARTS} parts")
    try:
        return lower_keys(tomllib.loads(text))
    except ValueError as error:  # Both TOMLDecodeError and the error for a number of 5,000 digits.
        raise InvalidArticle(f"the front matter is not TOML: {str(error)[:200]}") from None


def _load_json(text: str) -> tuple[dict[str, Any], Notation, int]:
    try:
        fields, end = json.JSONDecoder().raw_decode(text[: MAX_FRONT_MATTER + 1])
    except ValueError as error:  # Both JSONDecodeError and the error for a number of 5,000 digits.
        if len(text) > MAX_FRONT_MATTER:
            raise InvalidArticle(
                f"the front matter is not JSON, or has more than {MAX_FRONT_MATTER} characters"
            ) from None
        raise InvalidArticle(f"the front matter is not JSON: {str(error)[:200]}") from None
    except RecursionError:
        raise InvalidArticle("the front matter is nested too deep") from None
    return _with_words_as_tags(lower_keys(fields)), "json", end


def _load_lines(text: str) -> tuple[dict[str, Any], int]:
    """Parse `Key: value` lines like Python-Markdown; return the fields and the position of the text."""
    fields: dict[str, list[str]] = {}
    values: list[str] = []
    position = 0
    while position < len(text):
        end = text.find("\n", position)
        end = len(text) if end < 0 else end
        line = text[position:end]
        if end > MAX_FRONT_MATTER:
            raise InvalidArticle(f"the front matter has more than {MAX_FRONT_MATTER} characters")
        match = _PELICAN_LINE.match(line)
        if not line.strip() or _PELICAN_END.match(line):
            return _joined(fields), end + 1
        if match is not None:
            values = [match[2].strip()]
            name = match[1].lower()
            if name in _PELICAN_LISTS:
                values = fields.get(name, []) + values
                fields[name] = values
            else:  # Pelican uses the first of two.
                fields.setdefault(name, values)
        elif line.startswith(("    ", "\t", " \t", "  \t", "   \t")):
            values.append(line.strip())
        else:
            break
        position = end + 1
    return _joined(fields), position


def _joined(fields: Mapping[str, list[str]]) -> dict[str, Any]:
    """Join the lines of each field; a list may continue on the next line with or without a comma."""
    found = {}
    for name, lines in fields.items():
        separator = ";" if any(";" in line for line in lines) else ","
        found[name] = (separator if name in _PELICAN_LISTS else " ").join(lines).strip()
    return found


def lower_keys(fields: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the fields with names in lower case, without those whose name is not text."""
    return {str(key).lower(): value for key, value in fields.items() if isinstance(key, str)}


def _with_words_as_tags(fields: dict[str, Any]) -> dict[str, Any]:
    """Split the tags of a line without commas: Jekyll and Hugo treat each word as a tag, Pelican the whole line."""
    line = fields.get("tags")
    return {**fields, "tags": line.split()} if isinstance(line, str) and not {",", ";"} & set(line) else fields
