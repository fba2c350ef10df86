"""Fields that files get from elsewhere: Jekyll's `defaults`, and what Hugo's sections cascade to their pages.

See https://jekyllrb.com/docs/configuration/front-matter-defaults/ and
https://gohugo.io/content-management/front-matter/#cascade.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from multisite.content.errors import InvalidArticle
from multisite.content.imports.files import read_text
from multisite.content.imports.metadata import lower_keys, split_metadata
from multisite.content.imports.old_site import OldSite

__all__ = ["Defaults"]

_MAX_SCOPES = 200


class Defaults:
    """The fields of files from the configuration of `site` and from the files of its sections."""

    def __init__(self, site: OldSite) -> None:
        self._site = site
        self._cascades: dict[Path, tuple[Mapping[str, Any], ...]] = {}

    def of(self, path: Path) -> Mapping[str, Any]:
        """Return the fields that the file `path`, which is absolute, has unless it names them itself."""
        if self._site.tool == "jekyll" and path.is_relative_to(self._site.root):
            return self._jekyll(path)
        if self._site.tool == "hugo" and path.is_relative_to(self._site.root):
            return self._hugo(path)
        return {}

    def _jekyll(self, path: Path) -> Mapping[str, Any]:
        relative = path.relative_to(self._site.root)
        kinds = {_kind(relative), "posts" if "_drafts" in relative.parts else ""}
        found = []
        for scope, values in _scopes(self._site.config):
            wanted, kind = str(scope.get("path") or "").strip("/"), str(scope.get("type") or "")
            if _covers(wanted, relative.as_posix()) and (not kind or kind in kinds):
                found.append(((len(wanted), bool(kind)), values))
        fields: dict[str, Any] = {}
        for _, values in sorted(found, key=lambda each: each[0]):
            fields |= lower_keys(values)
        return fields

    def _hugo(self, path: Path) -> Mapping[str, Any]:
        fields: dict[str, Any] = {}
        folders = [each for each in (path.parent, *path.parents) if each.is_relative_to(self._site.root)]
        for cascade in (
            *(each for folder in dict.fromkeys(folders) for each in self._cascade_of(folder)),
            *_cascades(self._site.config.get("cascade")),
        ):
            target = cascade.get("target", cascade.get("_target"))
            if isinstance(target, Mapping) and not self._is_target(path, target):
                continue
            for name, value in cascade.items():
                if name not in ("target", "_target"):
                    fields.setdefault(name, value)
        return fields

    def _cascade_of(self, folder: Path) -> tuple[Mapping[str, Any], ...]:
        if folder not in self._cascades:
            file = folder / "_index.md"
            try:
                fields = split_metadata(read_text(file).replace("\r\n", "\n")).fields if file.is_file() else {}
            except (InvalidArticle, OSError):
                fields = {}
            self._cascades[folder] = tuple(_cascades(fields.get("cascade")))
        return self._cascades[folder]

    def _is_target(self, path: Path, target: Mapping[str, Any]) -> bool:
        if str(target.get("kind") or "page").strip("{}").lower() != "page":
            return False
        pattern = target.get("path")
        if not isinstance(pattern, str):
            return True
        folders = (*self._site.language_folders(), self._site.root / "content")
        content = next((folder for folder in folders if path.is_relative_to(folder)), None)
        logical = "" if content is None else f"/{path.with_suffix('').relative_to(content).as_posix()}"
        return fnmatchcase(logical.removesuffix("/index").lower(), pattern.lower().replace("**", "*"))


def _scopes(config: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    defaults = config.get("defaults")
    for each in defaults[:_MAX_SCOPES] if isinstance(defaults, list) else ():
        if isinstance(each, Mapping) and isinstance(each.get("values"), Mapping):
            scope = each.get("scope")
            yield scope if isinstance(scope, Mapping) else {}, each["values"]


def _kind(relative: Path) -> str:
    """Return Jekyll's type of a file: `posts`, `drafts`, that of a collection, or `pages`."""
    folder = next((part for part in relative.parts[:-1] if part.startswith("_")), "_pages")
    return folder[1:]


def _covers(scope: str, path: str) -> bool:
    if "*" in scope:
        return fnmatchcase(path, scope) or fnmatchcase(path, f"{scope}/*")
    return not scope or path == scope or path.startswith(f"{scope}/")


def _cascades(value: Any) -> Iterator[Mapping[str, Any]]:
    for each in value[:_MAX_SCOPES] if isinstance(value, list) else [value]:
        if isinstance(each, Mapping):
            yield lower_keys(each)
