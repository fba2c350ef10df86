"""Mako's block cache, with keys that belong to one site and one template.

Mako identifies a cached block by the module of its template and a key. Sites that share a file share both, so that
`cached="True"` would serve the text of one site to another; blocks with the same `cache_key` collide as well, and some
cache plug-ins ignore the module. So every key includes the site, the file and the block, for all plug-ins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any

from mako.cache import Cache, register_plugin

__all__ = ["DOGPILE", "SiteCache"]

DOGPILE = "multisite.dogpile"
"""The `cache_impl` that stores cached blocks with dogpile.cache."""

register_plugin(DOGPILE, "multisite.templates.dogpile", "DogpileCache")


class SiteCache(Cache):  # type: ignore[misc]
    """A cache whose id includes the site, the file and the file's content, and whose keys include the block."""

    id: str

    def __init__(self, template: Any, cache_namespace: str) -> None:
        """`cache_namespace` identifies the site that `template` is rendered for."""
        super().__init__(template)
        self.id = f"{cache_namespace}_{self.id}"

    def _ctx_get_or_create(self, key: str, creation_function: Callable[[], str], context: Any, **kw: Any) -> Any:
        return super()._ctx_get_or_create(self._key(key, kw), creation_function, context, **kw)

    def set(self, key: str, value: Any, **kw: Any) -> None:
        """Store `value` under `key`; `kw` are Mako's arguments for the block."""
        super().set(self._key(key, kw), value, **kw)

    def put(self, key: str, value: Any, **kw: Any) -> None:
        """Call `set`; this is Mako's older name for it."""
        self.set(key, value, **kw)

    def get(self, key: str, **kw: Any) -> Any:
        """Return the value under `key`; None if there is none."""
        return super().get(self._key(key, kw), **kw)

    def invalidate(self, key: str, **kw: Any) -> None:
        """Remove `key` of the block that Mako names in `kw`; without one, remove it of every block of the template."""
        blocks = [kw.pop(_BLOCK)] if _BLOCK in kw else ["", *_blocks(self.template.module)]
        for block in blocks:
            named = {**kw, _BLOCK: block}
            super().invalidate(self._key(key, named), **named)

    def _key(self, key: str, kw: dict[str, Any]) -> str:
        return f"{self.id}:{kw.get(_BLOCK, '')}:{key}"


_BLOCK = "__M_defname"
"""The argument in which Mako passes the name of the block, def or page; missing if a cache is used by hand."""


def _blocks(module: Any) -> set[str]:
    """Return the names that Mako may use for the blocks of a compiled template, including nested defs."""
    functions = (value for value in vars(module).values() if hasattr(value, "__code__"))
    return {name for function in functions for name in _code_names(function.__code__)}


def _code_names(code: CodeType) -> Iterator[str]:
    yield code.co_name
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code_names(constant)
