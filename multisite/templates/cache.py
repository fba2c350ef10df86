"""Mako's cache for one site's view of one template.

Mako names a cached text by the template's module and the block. Two sites that share a file share both, so that
`cached="True"` would give the text of one site to the other. Some cache plug-ins do not even look at the module.
Hence every key holds site and file as well, whatever the plug-in is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mako.cache import Cache
from mako.template import Template

__all__ = ["SiteCache"]


class SiteCache(Cache):  # type: ignore[misc]
    """A cache whose id and keys hold the site, the file and the content of the file."""

    id: str

    def __init__(self, template: Template, owner: str) -> None:
        """`owner` names the site for which `template` is rendered, and nothing else."""
        super().__init__(template)
        self.id = f"{owner}_{self.id}"

    def _ctx_get_or_create(self, key: str, creation_function: Callable[[], str], context: Any, **kw: Any) -> Any:
        return super()._ctx_get_or_create(f"{self.id}:{key}", creation_function, context, **kw)

    def set(self, key: str, value: Any, **kw: Any) -> None:
        super().set(f"{self.id}:{key}", value, **kw)

    def put(self, key: str, value: Any, **kw: Any) -> None:
        """Do what `set` does: Mako's older name for it."""
        self.set(key, value, **kw)

    def get(self, key: str, **kw: Any) -> Any:
        return super().get(f"{self.id}:{key}", **kw)

    def invalidate(self, key: str, **kw: Any) -> None:
        super().invalidate(f"{self.id}:{key}", **kw)
