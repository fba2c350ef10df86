"""A dogpile.cache region with the site in each key, and generations that invalidate one site.

A key is `name:owner:generation:key`. The owner is the site's id, together with its database if one process may serve
several: two applications that import the same region both have a site 1.

A site's generation is a random text stored in the backend itself, so every process that shares the backend sees a new
one. It is read before a value is created and is part of the key, so a value created from data read before an
invalidation is never found after it. dogpile's own invalidation compares times, and accepts a value whose creation
started before the invalidation and ended after it.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from dogpile.cache.api import NO_VALUE, CachedValue
from dogpile.cache.backends.memory import MemoryBackend
from dogpile.cache.region import CacheRegion, RegionInvalidationStrategy

from multisite.caching import keys
from multisite.caching.values import check_value
from multisite.core.current_site import current_scope
from multisite.core.site import Site, settings_provider_for
from multisite.errors import CrossSiteError, MultisiteError, NoCurrentSite

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

__all__ = ["SiteRegion", "make_region"]

MAX_KEY_CHARACTERS = 120
"""Longer keys are hashed: Memcached accepts 250 characters, including the region's name, owner and generation."""

_PORTABLE = re.compile(r"[!-~]*").fullmatch
"""Matches the keys that every backend accepts: Memcached rejects whitespace and everything outside ASCII."""
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,40}").fullmatch

_STALE = 0.0
"""Creation time of a softly invalidated value; no other value is that old."""
_SOFT = "soft"
"""Metadata key, beside dogpile's own, of the soft generation in which a value was created."""


class _ScopedKey(str):
    """A key with its site and the site's generations at the time of the call."""

    __slots__ = ("hard", "owner", "site_id", "soft")

    site_id: int
    owner: str
    hard: str
    soft: str


class _SoftInvalidation(RegionInvalidationStrategy):
    """Soft invalidation: the stale value is served while one caller regenerates it."""

    def invalidate(self, hard: bool = True) -> None:
        raise NotImplementedError

    def is_soft_invalidated(self, timestamp: float) -> bool:
        return timestamp == _STALE

    def is_invalidated(self, timestamp: float) -> bool:
        return timestamp == _STALE

    def is_hard_invalidated(self, timestamp: float) -> bool:
        return False

    def was_soft_invalidated(self) -> bool:
        return False

    def was_hard_invalidated(self) -> bool:
        return False


class SiteRegion(CacheRegion):
    """A dogpile.cache region whose keys all belong to the current site.

    Every method that takes a key raises `NoCurrentSite` without a current site, `CrossSiteError` within `all_sites`,
    and `TypeError` if the key is not a string. Every method that stores a value raises `MultisiteError` or
    `CrossSiteError` for objects that must not be cached (`multisite.caching.values`).

    Args:
        name: Prefix of the keys, 1 to 40 letters, digits and `_.-`. Regions that share a backend need different names,
            and so do applications.
        options: Those of dogpile's `make_region`, without `key_mangler`.

    Raises:
        ValueError: The name is not valid, or `key_mangler` is given.
    """

    def __init__(self, name: str = "multisite", **options: Any) -> None:
        if not _NAME(name):
            raise ValueError(f"a region's name is 1 to 40 letters, digits and _.-, not {name!r}")
        if options.get("key_mangler") is not None:
            raise ValueError("a region of multisite does not accept a key_mangler: its own adds the site to each key")
        options.setdefault("function_key_generator", keys.function_key_generator)
        options.setdefault("function_multi_key_generator", keys.function_multi_key_generator)
        super().__init__(name=name, key_mangler=self._mangle, **options)

    def configure(self, backend: str, *args: Any, **options: Any) -> SiteRegion:
        """Configure the backend as dogpile's `configure` does. Raises `ValueError` for a `region_invalidator`."""
        if options.get("region_invalidator") is not None:
            raise ValueError("a region of multisite does not accept a region_invalidator: its own works by site")
        super().configure(backend, *args, **options)
        self._actual_backend = None  # dogpile caches the backend that this call may have replaced.
        self.region_invalidator = _SoftInvalidation()
        return self

    def invalidate(self, hard: bool = True, *, site: Site | None = None, after: Session | None = None) -> None:
        """Invalidate all values of one site, in every process that shares the backend.

        Args:
            hard: If False, a stale value is served until it is regenerated.
            site: The site; None for the current one.
            after: A session; the invalidation waits until it has committed. Until then, other processes create values
                from the old rows.

        Raises:
            NoCurrentSite: `site` is None and there is no current site.
            CrossSiteError: `site` is None within `all_sites`.
            MultisiteError: `hard` is False and the region has no expiration time.
        """
        owner = self._owner(_current_site() if site is None else site)
        if not hard and not self.expiration_time:
            raise MultisiteError("only a region with an expiration_time can be invalidated softly")
        if after is None:
            self._start_generation(owner, hard=hard)
            return
        from sqlalchemy import event  # Only needed by applications with a session.

        is_done = False

        def start_generation(session: Session) -> None:
            nonlocal is_done
            # Releasing a savepoint makes nothing visible to others.
            if not is_done and not session.in_nested_transaction():
                is_done = True
                self._start_generation(owner, hard=hard)

        event.listen(after, "after_commit", start_generation)

    def _start_generation(self, owner: str, *, hard: bool) -> None:
        self._set_generation(owner, "hard" if hard else "soft")
        # The old values are never looked up again. Other backends evict them by their own expiration.
        if hard and isinstance(self.actual_backend, MemoryBackend):
            kept, generation = self.actual_backend._cache, self._generations(owner)[0]
            mine, new = f"{self.name}:{owner}:", f"{self.name}:{owner}:{generation}:"
            for key in list(kept):
                if key.startswith(mine) and key.count(":") > 2 and not key.startswith(new):
                    kept.pop(key, None)

    def get_or_create(self, key: str, creator: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Call dogpile's method for the current site; raises as described for the class."""
        return super().get_or_create(self._scoped_key(key), creator, *args, **options)

    def get_or_create_multi(self, keys: Iterable[str], creator: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Call dogpile's method for the current site; raises as described for the class."""
        return super().get_or_create_multi(self._scoped_keys(keys), creator, *args, **options)

    def get_multi(self, keys: Iterable[str], *args: Any, **options: Any) -> Any:
        """Call dogpile's method for the current site; raises as described for the class."""
        return super().get_multi(self._scoped_keys(keys), *args, **options)  # type: ignore[no-untyped-call]

    def set(self, key: str, value: Any) -> None:
        """Store `value` for the current site; raises as described for the class."""
        self._set_cached_value_to_backend(self._mangle(key), self._value(value))

    def set_multi(self, mapping: Mapping[str, Any]) -> None:
        """Store several values for the current site; raises as described for the class."""
        scoped = self._scoped_keys(mapping)
        self._set_multi_cached_value_to_backend({self._mangle(key): self._value(mapping[key]) for key in scoped})

    def delete_multi(self, keys: Iterable[str]) -> None:
        """Call dogpile's method for the current site; raises as described for the class."""
        super().delete_multi(self._scoped_keys(keys))

    def key_is_locked(self, key: str) -> bool:
        """Return whether the value of `key` is being created for the current site."""
        return bool(super().key_is_locked(self._mangle(key)))

    # Below, all of the above and dogpile's own methods reach the backend. Each key there is a _ScopedKey.

    def _scoped_key(self, key: str) -> _ScopedKey:
        return self._scoped_keys([key])[0]

    def _scoped_keys(self, keys: Iterable[str]) -> list[_ScopedKey]:
        site = _current_site()
        owner = self._owner(site)
        hard, soft = self._generations(owner)
        return [_make_key(key, site.id, owner, hard, soft) for key in keys]

    def _owner(self, site: Site) -> str:
        """Return the part of a key that identifies `site`.

        For a backend shared by processes, it contains the database only in a process with several applications
        (`multisite.vhosts`): a script may use another URL of the database, and must find what the server cached.
        """
        provider = settings_provider_for(site)
        if provider is None or not (provider.application or isinstance(self.actual_backend, MemoryBackend)):
            return str(site.id)
        return f"{site.id}@{provider.database}"

    def _mangle(self, key: str) -> _ScopedKey:
        """Return the key for the backend, with its site and generations attached."""
        scoped = key if isinstance(key, _ScopedKey) else self._scoped_key(key)
        text = f"={scoped}" if len(scoped) <= MAX_KEY_CHARACTERS and _PORTABLE(scoped) else f"#{_hashed(scoped)}"
        text = f"{self.name}:{scoped.owner}:{scoped.hard}:{text}"
        return _make_key(text, scoped.site_id, scoped.owner, scoped.hard, scoped.soft)

    def _generations(self, owner: str) -> tuple[str, str]:
        """Return the hard and the soft generation of a site, with one call of the backend."""
        names = [self._generation_key(owner, kind) for kind in ("hard", "soft")]
        found = super()._get_multi_from_backend(names)
        hard, soft = (
            # A backend may evict a generation. A new one is safe: cached values are then no longer found.
            self._set_generation(owner, kind) if value is NO_VALUE else value.payload
            for kind, value in zip(("hard", "soft"), found, strict=True)
        )
        return hard, soft

    def _set_generation(self, owner: str, kind: str) -> str:
        generation = secrets.token_hex(8)
        super()._set_cached_value_to_backend(self._generation_key(owner, kind), self._value(generation))
        return generation

    def _generation_key(self, owner: str, kind: str) -> str:
        return f"{self.name}:{owner}:{kind}"

    def _get_from_backend(self, key: Any) -> Any:
        return _mark_stale(key, super()._get_from_backend(key))

    def _get_multi_from_backend(self, keys: Any) -> list[Any]:
        return [_mark_stale(key, value) for key, value in zip(keys, super()._get_multi_from_backend(keys), strict=True)]

    def _set_cached_value_to_backend(self, key: Any, value: Any) -> None:
        super()._set_cached_value_to_backend(key, _prepare(key, value))

    def _set_multi_cached_value_to_backend(self, mapping: Mapping[Any, Any]) -> None:
        super()._set_multi_cached_value_to_backend({key: _prepare(key, value) for key, value in mapping.items()})


for _name in (
    "_get_from_backend",
    "_get_multi_from_backend",
    "_set_cached_value_to_backend",
    "_set_multi_cached_value_to_backend",
    "_value",
):
    if not callable(getattr(CacheRegion, _name, None)):
        raise MultisiteError(f"this release of dogpile.cache has no CacheRegion.{_name}, which multisite.caching needs")


def make_region(name: str = "multisite", **options: Any) -> SiteRegion:
    """Return a new `SiteRegion`. Call its `configure(…)` or `configure_from_config(…)`, as with dogpile's region."""
    return SiteRegion(name, **options)


def _current_site() -> Site:
    scope = current_scope()
    if scope is None:
        raise NoCurrentSite("a cache key")
    if scope.site is None:
        raise CrossSiteError(
            f"a cache key belongs to one site, and all sites are current here ({scope.reason}): use it within "
            "using_site(site), for each site separately"
        )
    return scope.site


def _make_key(key: str, site_id: int, owner: str, hard: str, soft: str) -> _ScopedKey:
    if not isinstance(key, str):
        raise TypeError(f"a cache key must be a string, not {type(key).__name__}")
    scoped = _ScopedKey(key)
    scoped.site_id, scoped.owner, scoped.hard, scoped.soft = site_id, owner, hard, soft
    return scoped


def _hashed(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _mark_stale(key: _ScopedKey, value: Any) -> Any:
    if value is NO_VALUE or value.metadata.get(_SOFT) == key.soft:
        return value
    return CachedValue(value.payload, {**value.metadata, "ct": _STALE})


def _prepare(key: _ScopedKey, value: Any) -> Any:
    check_value(value.payload, key.site_id)
    return CachedValue(value.payload, {**value.metadata, _SOFT: key.soft})
