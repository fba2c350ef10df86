"""Mako's cache for one site's view of one template.

Mako names a cached text by the template's module and a key. Two sites that share a file share both, so that
`cached="True"` would give the text of one site to the other; two blocks with the same `cache_key` share it as well,
and some cache plug-ins do not even look at the module. Hence every key holds site, file and block, whatever the
plug-in is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any

from mako.cache import Cache, register_plugin

__all__ = ["DOGPILE", "SiteCache"]

DOGPILE = "multisite.dogpile"
"""The `cache_impl` that keeps cached blocks with dogpile.cache."""

register_plugin(DOGPILE, "multisite.templates.dogpile", "DogpileCache")


class SiteCache(Cache):  # type: ignore[misc]
    """A cache whose id holds the site, the file and the content of the file, and whose keys hold the block too."""

    id: str

    def __init__(self, template: Any, cache_namespace: str) -> None:
        """`cache_namespace` names the site for which `template` is rendered, and nothing else."""
        super().__init__(template)
        self.id = f"{cache_namespace}_{self.id}"

    def _ctx_get_or_create(self, key: str, creation_function: Callable[[], str], context: Any, **kw: Any) -> Any:
        return super()._ctx_get_or_create(self._key(key, kw), creation_function, context, **kw)

    def set(self, key: str, value: Any, **kw: Any) -> None:
        super().set(self._key(key, kw), value, **kw)

    def put(self, key: str, value: Any, **kw: Any) -> None:
        """Do what `set` does: Mako's older name for it."""
        self.set(key, value, **kw)

    def get(self, key: str, **kw: Any) -> Any:
        return super().get(self._key(key, kw), **kw)

    def invalidate(self, key: str, **kw: Any) -> None:
        """Forget what is kept under `key`: by the block that Mako names, else by all blocks of the template."""
        blocks = [kw.pop(_BLOCK)] if _BLOCK in kw else ["", *_blocks(self.template.module)]
        for block in blocks:
            named = {**kw, _BLOCK: block}
            super().invalidate(self._key(key, named), **named)

    def _key(self, key: str, kw: dict[str, Any]) -> str:
        return f"{self.id}:{kw.get(_BLOCK, '')}:{key}"


_BLOCK = "__M_defname"
"""The argument in which Mako names the block, def or page; it is missing where a cache is used by hand."""


def _blocks(module: Any) -> set[str]:
    """Return the names by which Mako may call the blocks of a compiled template, those of nested defs too."""
    functions = (value for value in vars(module).values() if hasattr(value, "__code__"))
    return {name for function in functions for name in _names(function.__code__)}


def _names(code: CodeType) -> Iterator[str]:
    yield code.co_name
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
