"""Store cached blocks of templates with dogpile.cache: in memory, files, Redis or Memcached.

The Mako plug-in of dogpile.cache itself uses only block names as keys, so that even two templates of one site collide.
This one uses the keys of `multisite.templates.block_cache`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from mako.cache import CacheImpl

from multisite.errors import MultisiteError, SettingError

__all__ = ["DogpileCache", "region_from_settings"]


class DogpileCache(CacheImpl):  # type: ignore[misc]
    """Stores blocks in the region `cache_args["region"]`; `cache_timeout` in a template is in seconds."""

    def get_or_create(self, key: str, creation_function: Callable[[], str], **kw: Any) -> Any:
        """Return the cached text; if there is none, create and store it."""
        region, seconds = self._region(kw)
        return region.get_or_create(key, creation_function, expiration_time=seconds)

    def set(self, key: str, value: Any, **kw: Any) -> None:
        """Store `value`."""
        region, _seconds = self._region(kw)
        region.set(key, value)

    def get(self, key: str, **kw: Any) -> Any:
        """Return the cached text; None if there is none."""
        region, seconds = self._region(kw)
        # dogpile.cache's marker for a miss is false; an empty text is a hit.
        value = region.get(key, expiration_time=seconds)
        return value if isinstance(value, str) or value else None

    def invalidate(self, key: str, **kw: Any) -> None:
        """Remove the cached text."""
        region, _seconds = self._region(kw)
        region.delete(key)

    def _region(self, kw: dict[str, Any]) -> tuple[Any, int | None]:
        region = self.cache.template.cache_args["region"]
        unknown = sorted(
            name for name in kw if name not in {"region", "timeout"} or (name == "region" and kw[name] is not region)
        )
        if unknown:
            raise MultisiteError(
                f"the template {self.cache.template.filename} says cache_{unknown[0]}, which mako.cache_impl = "
                "multisite.dogpile does not know: in templates it takes cached, cache_key and cache_timeout"
            )
        return region, kw.get("timeout")


def region_from_settings(settings: Mapping[str, Any], prefix: str) -> Any:
    """Return a new region configured by the settings below `prefix`, as dogpile's `configure_from_config` reads them.

    Raises:
        SettingError: There is no such backend, or dogpile.cache is not installed.
    """
    try:
        from dogpile.cache import make_region
        from dogpile.cache.exception import PluginNotFound
    except ImportError:
        expected = "dogpile.cache to be installed: pip install 'pyramid-multisite[caching]'"
        raise SettingError("mako.cache_impl", "multisite.dogpile", expected) from None
    # Keys contain text from authors and visitors; backends limit the characters and the length of keys.
    region = make_region(key_mangler=lambda key: hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest())
    try:
        return region.configure_from_config(dict(settings), prefix)
    except (KeyError, PluginNotFound) as error:
        backend = settings.get(f"{prefix}backend", "")
        expected = "the name of a backend of dogpile.cache, such as dogpile.cache.memory or dogpile.cache.redis"
        raise SettingError(f"{prefix}backend", backend, expected) from error
