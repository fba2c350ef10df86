"""Cached blocks of templates kept with dogpile.cache: in memory, files, Redis, Memcached.

dogpile.cache has a plug-in for Mako of its own, whose keys are the names of blocks alone, so that two templates of one
site share them already. Here the keys are those of `multisite.templates.cache`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from mako.cache import CacheImpl

from multisite.errors import MultisiteError, SettingError

__all__ = ["DogpileCache", "region_from_settings"]


class DogpileCache(CacheImpl):  # type: ignore[misc]
    """Keeps blocks in the region `cache_args["region"]`; in templates `cache_timeout` says for how many seconds."""

    def get_or_create(self, key: str, creation_function: Callable[[], str], **kw: Any) -> Any:
        region, seconds = self._region(kw)
        return region.get_or_create(key, creation_function, expiration_time=seconds)

    def set(self, key: str, value: Any, **kw: Any) -> None:
        region, _seconds = self._region(kw)
        region.set(key, value)

    def get(self, key: str, **kw: Any) -> Any:
        """Return what is kept, None if there is nothing."""
        region, seconds = self._region(kw)
        # What dogpile.cache gives for nothing is false; an empty text is kept as it is.
        value = region.get(key, expiration_time=seconds)
        return value if isinstance(value, str) or value else None

    def invalidate(self, key: str, **kw: Any) -> None:
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
    """Return a new region as the settings below `prefix` say, in the way of dogpile's `configure_from_config`.

    Raises `SettingError` if there is no such backend, or dogpile.cache is not installed.
    """
    try:
        from dogpile.cache import make_region
        from dogpile.cache.exception import PluginNotFound
    except ImportError:
        expected = "dogpile.cache to be installed: pip install 'pyramid-multisite[caching]'"
        raise SettingError("mako.cache_impl", "multisite.dogpile", expected) from None
    # Keys hold what authors and visitors write, and backends take neither all characters nor any length.
    region = make_region(key_mangler=lambda key: hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest())
    try:
        return region.configure_from_config(dict(settings), prefix)
    except (KeyError, PluginNotFound) as error:
        backend = settings.get(f"{prefix}backend", "")
        expected = "the name of a backend of dogpile.cache, such as dogpile.cache.memory or dogpile.cache.redis"
        raise SettingError(f"{prefix}backend", backend, expected) from error
