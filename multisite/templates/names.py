"""The names of templates: text in, one canonical text out, no file looked at.

A canonical name is either `/blog/page.mako`, which begins at the root of the overlay, or
`package:templates/blog/page.mako`, an asset spec. With `below-site:` before it, it is looked for only in the layers
below that one; this is what `parent:` becomes in a file of that layer. What could lead a path anywhere else is refused
here, before any file system is asked: the layers look for nothing but canonical names.
"""

from __future__ import annotations

import re
from functools import lru_cache

from mako.exceptions import TopLevelLookupException

from multisite.errors import escape_for_message

__all__ = ["canonical", "layer_path", "qualified_uri", "split", "split_below"]

MAX_NAME_CHARACTERS = 1000
"""Longer names are refused: they are nobody's file, and names are kept in a cache."""

FORBIDDEN = frozenset('\\%#:*?"<>|\x7f') | frozenset(map(chr, range(32)))
"""Characters that some file system or URL decoder interprets; `#` also separates the parts of `qualified_uri`."""

TEMPLATES_FOLDER = "templates"
"""An asset spec is overridden by the part of its path behind the first folder of this name."""


PARENT = "parent:"
"""Before a name in a template: the file of that name in the next layer below the one that the template lies in.

So a package called `parent` has no asset specs in templates.
"""

_BELOW = re.compile(r"below-(site|theme|shared[0-9]*|package):(?!below-)(.+)", re.DOTALL)


@lru_cache(maxsize=4096)
def canonical(name: str, relative_to: str | None = None) -> str:
    """Return the canonical form of `name` as the template `relative_to` writes it.

    `relative_to` is a qualified URI or a canonical name; None stands for the root of the overlay. Raises
    `TopLevelLookupException` for a name that is not text, leaves its root, names a dot file, or holds a character
    that a file system or a decoder could take for something else, and for `parent:` without a calling template.
    """
    if not isinstance(name, str):
        raise TopLevelLookupException(f"a template's name is text, not {type(name).__name__}")
    if not name or len(name) > MAX_NAME_CHARACTERS:
        raise _refused(name, f"a name has 1 to {MAX_NAME_CHARACTERS} characters")
    if name.startswith(PARENT):
        layer = (relative_to or "").partition("#")[2].partition("-")[0]
        if not layer:
            raise _refused(name, "only what a template itself calls has a parent")
        return f"below-{layer}:{canonical(name.removeprefix(PARENT), relative_to)}"
    below, plain = split_below(name)
    if below is not None:
        return f"below-{below}:{canonical(plain)}"
    package, colon, path = name.rpartition(":")
    if colon:
        if not all(part.isascii() and part.isidentifier() for part in package.split(".")):
            raise _refused(name, "what stands before the colon is not the name of a package")
        return f"{package}:{'/'.join(_segments(name, [], path))}"
    if relative_to is None or name.startswith("/"):
        return "/" + "/".join(_segments(name, [], path))
    caller_package, caller = split(relative_to.partition("#")[0])
    segments = _segments(name, caller.split("/")[:-1], path)
    return ("/" if caller_package is None else f"{caller_package}:") + "/".join(segments)


def _segments(name: str, folders: list[str], path: str) -> list[str]:
    """Walk `path` from `folders`, without asking the file system, and return the segments from the root."""
    if not FORBIDDEN.isdisjoint(path) or not _is_encodable(path):
        raise _refused(name, "it holds a character that no template's name may hold")
    segments = list(folders)
    for segment in path.split("/"):
        if segment == "..":
            if not segments:
                raise _refused(name, "it leads out of its root")
            segments.pop()
        elif segment.startswith(".") and segment != ".":
            raise _refused(name, "dot files are no templates")
        elif segment not in {"", "."}:
            segments.append(segment)
    if not segments:
        raise _refused(name, "it names no file")
    return segments


def _is_encodable(path: str) -> bool:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:  # Lone surrogates are how Python spells file names that are not UTF-8.
        return False
    return True


def _refused(name: object, reason: str) -> TopLevelLookupException:
    return TopLevelLookupException(f"'{escape_for_message(name)}' is not the name of a template: {reason}")


def split_below(name: str) -> tuple[str | None, str]:
    """Split `below-site:/layout.mako` into the layer below which to look, None for all layers, and the plain name."""
    match = _BELOW.fullmatch(name)
    return (None, name) if match is None else (match[1], match[2])


def split(name: str) -> tuple[str | None, str]:
    """Split a canonical name into its package, None for a name of the overlay, and the path behind it."""
    package, colon, path = name.partition(":")
    # A template's own `uri` may stand here, which begins without the slash.
    return (package, path) if colon else (None, name.removeprefix("/"))


def layer_path(name: str) -> str:
    """Return the path below every layer at which the canonical `name` is looked for.

    For an asset spec this is what stands behind its first folder called `templates`, or the whole path if it has none.
    """
    package, path = split(name)
    folders = path.split("/")[:-1]
    if package is not None and TEMPLATES_FOLDER in folders:
        return path.split("/", folders.index(TEMPLATES_FOLDER) + 1)[-1]
    return path


def qualified_uri(name: str, layer: str, digest: str) -> str:
    """Return the name by which a compiled file calls other templates: `/blog/page.mako#site-3f2a…`.

    It begins with the canonical `name`, from which relative names start, goes on with the `layer` that the file lies
    in, from which `parent:` starts, and ends with what no other file has, since Mako derives the names of modules from
    it.
    """
    return f"{name}#{layer}-{digest}"
