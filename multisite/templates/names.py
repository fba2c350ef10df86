"""Parse template names into canonical names, without accessing files.

A canonical name is either `/blog/page.mako`, a path from the root of the overlay, or
`package:templates/blog/page.mako`, an asset spec. With the prefix `below-site:`, only the layers below the site's are
searched; `parent:` in a template becomes such a prefix. Names that could lead a path elsewhere are rejected here,
before any file is accessed: the layers are searched for canonical names only.
"""

from __future__ import annotations

import re
from functools import lru_cache

from mako.exceptions import TopLevelLookupException

from multisite.core.lazy import lazy_pattern
from multisite.errors import escape_for_message

__all__ = ["canonical", "layer_path", "qualified_uri", "split", "split_below"]

MAX_NAME_CHARACTERS = 1000
"""Longer names are rejected, because names are kept in a cache."""

FORBIDDEN = frozenset('\\%#:*?"<>|\x7f') | frozenset(map(chr, range(32)))
"""Characters that some file system or URL decoder interprets; `#` also separates the parts of `qualified_uri`."""

TEMPLATES_FOLDER = "templates"
"""An asset spec is overridden under the part of its path that follows the first folder of this name."""

PARENT = "parent:"
"""In a template, `parent:layout.mako` means the file `layout.mako` in the next layer below the template's own.

Templates can therefore not use asset specs of a package called `parent`.
"""

_BELOW = lazy_pattern(r"below-(site|theme|shared[0-9]*|package):(?!below-)(.+)", re.DOTALL)


@lru_cache(maxsize=4096)
def canonical(name: str, relative_to: str | None = None) -> str:
    """Return the canonical form of `name` as used in the template `relative_to`.

    Args:
        name: The name in a template or a view.
        relative_to: The qualified URI or canonical name of the calling template; None means the root of the overlay.

    Raises:
        TopLevelLookupException: The name is not a string, leaves its root, is a dot file, contains a character that
            some file system or decoder interprets, or has `parent:` without a calling template.
    """
    if not isinstance(name, str):
        raise TopLevelLookupException(f"a template's name is text, not {type(name).__name__}")
    if not name or len(name) > MAX_NAME_CHARACTERS:
        raise TopLevelLookupException(_rejection(name, f"a name has 1 to {MAX_NAME_CHARACTERS} characters"))
    if name.startswith(PARENT):
        layer = (relative_to or "").partition("#")[2].partition("-")[0]
        if not layer:
            raise TopLevelLookupException(_rejection(name, "only names in a template have a parent"))
        return f"below-{layer}:{canonical(name.removeprefix(PARENT), relative_to)}"
    below, plain = split_below(name)
    if below is not None:
        return f"below-{below}:{canonical(plain)}"
    package, colon, path = name.rpartition(":")
    if colon:
        if not all(part.isascii() and part.isidentifier() for part in package.split(".")):
            raise TopLevelLookupException(_rejection(name, "the part before the colon is not a package name"))
        return f"{package}:{'/'.join(_segments(name, [], path))}"
    if relative_to is None or name.startswith("/"):
        return "/" + "/".join(_segments(name, [], path))
    caller_package, caller = split(relative_to.partition("#")[0])
    segments = _segments(name, caller.split("/")[:-1], path)
    return ("/" if caller_package is None else f"{caller_package}:") + "/".join(segments)


def _segments(name: str, folders: list[str], path: str) -> list[str]:
    """Resolve `path` relative to `folders` without accessing files, and return its segments."""
    if not FORBIDDEN.isdisjoint(path) or not _is_encodable(path):
        raise TopLevelLookupException(_rejection(name, "it contains a character that template names may not contain"))
    segments = list(folders)
    for segment in path.split("/"):
        if segment == "..":
            if not segments:
                raise TopLevelLookupException(_rejection(name, "it leads out of its root"))
            segments.pop()
        elif segment.startswith(".") and segment != ".":
            raise TopLevelLookupException(_rejection(name, "dot files are not templates"))
        elif segment not in {"", "."}:
            segments.append(segment)
    if not segments:
        raise TopLevelLookupException(_rejection(name, "it does not name a file"))
    return segments


def _is_encodable(path: str) -> bool:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:  # Python decodes file names that are not UTF-8 with lone surrogates.
        return False
    return True


def _rejection(name: object, reason: str) -> str:
    return f"'{escape_for_message(name)}' is not the name of a template: {reason}"


def split_below(name: str) -> tuple[str | None, str]:
    """Split `below-site:/layout.mako` into the layer below which to search, None for all, and the plain name."""
    match = _BELOW.fullmatch(name)
    return (None, name) if match is None else (match[1], match[2])


def split(name: str) -> tuple[str | None, str]:
    """Split a canonical name into its package, None for a name of the overlay, and its path."""
    package, colon, path = name.partition(":")
    # This may be the `uri` of a template, which has no leading slash.
    return (package, path) if colon else (None, name.removeprefix("/"))


def layer_path(name: str) -> str:
    """Return the path that is searched for the canonical `name` in every layer.

    For an asset spec this is the part after its first folder `templates`, or the whole path without such a folder.
    """
    package, path = split(name)
    folders = path.split("/")[:-1]
    if package is not None and TEMPLATES_FOLDER in folders:
        return path.split("/", folders.index(TEMPLATES_FOLDER) + 1)[-1]
    return path


def qualified_uri(name: str, layer: str, digest: str) -> str:
    """Return the URI of a compiled file: `/blog/page.mako#site-3f2a…`.

    Relative names in the file are resolved from the canonical `name`, `parent:` from the `layer` of the file. The
    `digest` makes the URI unique, because Mako derives module names from it.
    """
    return f"{name}#{layer}-{digest}"
