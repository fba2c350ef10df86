"""The region: dogpile.cache's, with the site in each key and generations that invalidate one site.

A key is `name:owner:generation:key`. The owner is the id of the site, and its database as well where one process may
have sites of several: two applications that import the same region have each a site number 1.

The generation of a site is a random text kept in the backend itself, so that every process that shares the backend sees
when another one takes its place. It is read before a value is made and is part of the key, so that a value made from
what was there before an invalidation cannot come to stand behind it; dogpile's own way, a time, lets one through that
was begun before and finished after.
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
from multisite.errors import CrossSiteError, MultisiteError, NoCurrentSite
from multisite.site import Site, current_scope, settings_provider_for

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

__all__ = ["SiteRegion", "make_region"]

MAX_KEY_CHARACTERS = 120
"""A longer key is kept as its hash: Memcached takes 250 characters, which our own part must fit into too."""

_AS_IT_IS = re.compile(r"[!-~]*").fullmatch
"""Matches the keys that every backend takes: Memcached knows neither blanks nor anything beyond ASCII."""
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,40}").fullmatch

_STALE = 0.0
"""The time of creation that a value has which was invalidated softly: none is as old by itself."""
_SOFT = "soft"
"""The name, beside those of dogpile, under which a value's metadata hold the soft generation that it was made in."""


class _Placed(str):
    """A key, and the site it is for, in the generations that were the site's when it was asked for."""

    __slots__ = ("hard", "owner", "site_id", "soft")

    site_id: int
    owner: str
    hard: str
    soft: str


class _Soft(RegionInvalidationStrategy):
    """Tells dogpile.cache which values are to be made anew while the old one is still given out."""

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
    """A region of dogpile.cache whose every key is the current site's.

    `name` begins the keys: regions that share a backend need different ones, and so do applications. The other
    arguments are dogpile's, except that there is no `key_mangler`. Raises `ValueError` for a name that is not of 1 to
    40 letters, digits and `_.-`.

    Whatever takes a key raises `NoCurrentSite` where there is no site, `CrossSiteError` within `all_sites`, and
    `TypeError` for a key that is not a text. What keeps a value raises `MultisiteError` for objects that are in a
    session (`multisite.caching.values`).
    """

    def __init__(self, name: str = "multisite", **options: Any) -> None:
        if not _NAME(name):
            raise ValueError(f"a region's name is 1 to 40 letters, digits and _.-, not {name!r}")
        if options.get("key_mangler") is not None:
            raise ValueError("a region of multisite has a key_mangler of its own: it writes the site into each key")
        options.setdefault("function_key_generator", keys.function_key_generator)
        options.setdefault("function_multi_key_generator", keys.function_multi_key_generator)
        super().__init__(name=name, key_mangler=self._mangle, **options)

    def configure(self, backend: str, *args: Any, **options: Any) -> SiteRegion:
        """Choose the backend, as dogpile's `configure` does. Raises `ValueError` for a `region_invalidator`."""
        if options.get("region_invalidator") is not None:
            raise ValueError("a region of multisite has a region_invalidator of its own, for each site")
        super().configure(backend, *args, **options)
        self._actual_backend = None  # dogpile remembers the one that this may have replaced.
        self.region_invalidator = _Soft()
        return self

    def invalidate(self, hard: bool = True, *, site: Site | None = None, after: Session | None = None) -> None:
        """Forget what is kept for one site, and nothing of any other: in every process that shares the backend.

        `site` is the current one if None. With `hard=False` values are given out until there is a newer one, which
        needs an expiration time. With `after`, a session, it happens when that has committed: values that others make
        until then come from the rows as they were. Raises `NoCurrentSite`, `CrossSiteError` within `all_sites`, and
        `MultisiteError` for a soft invalidation of a region without an expiration time.
        """
        owner = self._owner(_current_site() if site is None else site)
        if not hard and not self.expiration_time:
            raise MultisiteError("only a region with an expiration_time can be invalidated softly")
        if after is None:
            self._renew(owner, hard=hard)
            return
        from sqlalchemy import event  # Only an application that has a session needs it.

        is_done = False

        def renew(session: Session) -> None:
            nonlocal is_done
            # At the end of a savepoint others see nothing of it yet.
            if not is_done and not session.in_nested_transaction():
                is_done = True
                self._renew(owner, hard=hard)

        event.listen(after, "after_commit", renew)

    def _renew(self, owner: str, *, hard: bool) -> None:
        self._set_generation(owner, "hard" if hard else "soft")
        # Nobody will ask for the old values again. Other backends have a time after which they drop what they keep.
        if hard and isinstance(self.actual_backend, MemoryBackend):
            kept, generation = self.actual_backend._cache, self._generations(owner)[0]
            mine, new = f"{self.name}:{owner}:", f"{self.name}:{owner}:{generation}:"
            for key in list(kept):
                if key.startswith(mine) and key.count(":") > 2 and not key.startswith(new):
                    kept.pop(key, None)

    def get_or_create(self, key: str, creator: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Do what dogpile's does, for the current site; raises as the class says."""
        return super().get_or_create(self._place(key), creator, *args, **options)

    def get_or_create_multi(self, keys: Iterable[str], creator: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Do what dogpile's does, for the current site; raises as the class says."""
        return super().get_or_create_multi(self._place_all(keys), creator, *args, **options)

    def get_multi(self, keys: Iterable[str], *args: Any, **options: Any) -> Any:
        """Do what dogpile's does, for the current site; raises as the class says."""
        return super().get_multi(self._place_all(keys), *args, **options)  # type: ignore[no-untyped-call]

    def set(self, key: str, value: Any) -> None:
        """Keep `value` for the current site; raises as the class says."""
        self._set_cached_value_to_backend(self._mangle(key), self._value(value))

    def set_multi(self, mapping: Mapping[str, Any]) -> None:
        """Keep several values for the current site; raises as the class says."""
        placed = self._place_all(mapping)
        self._set_multi_cached_value_to_backend({self._mangle(key): self._value(mapping[key]) for key in placed})

    def delete_multi(self, keys: Iterable[str]) -> None:
        """Do what dogpile's does, for the current site; raises as the class says."""
        super().delete_multi(self._place_all(keys))

    def key_is_locked(self, key: str) -> bool:
        """Tell whether the value of `key` is being made for the current site."""
        return bool(super().key_is_locked(self._mangle(key)))

    # What follows is where all of the above, and dogpile's own methods, meet the backend. Each key there is a _Placed.

    def _place(self, key: str) -> _Placed:
        return self._place_all([key])[0]

    def _place_all(self, keys: Iterable[str]) -> list[_Placed]:
        site = _current_site()
        owner = self._owner(site)
        hard, soft = self._generations(owner)
        return [_placed(key, site.id, owner, hard, soft) for key in keys]

    def _owner(self, site: Site) -> str:
        """Return what stands for `site` in the keys.

        A backend that several processes share is told the database only in a process of several applications
        (`multisite.vhosts`): a script may reach it by another URL than the server, and has to find what that keeps.
        """
        declared = settings_provider_for(site)
        if declared is None or not (declared.application or isinstance(self.actual_backend, MemoryBackend)):
            return str(site.id)
        return f"{site.id}@{declared.database}"

    def _mangle(self, key: str) -> _Placed:
        """Return the key for the backend, which knows its site and its generations too."""
        placed = key if isinstance(key, _Placed) else self._place(key)
        spelt = f"={placed}" if len(placed) <= MAX_KEY_CHARACTERS and _AS_IT_IS(placed) else f"#{_hashed(placed)}"
        text = f"{self.name}:{placed.owner}:{placed.hard}:{spelt}"
        return _placed(text, placed.site_id, placed.owner, placed.hard, placed.soft)

    def _generations(self, owner: str) -> tuple[str, str]:
        """Return the hard and the soft generation of a site, in one question to the backend."""
        names = [self._generation_key(owner, kind) for kind in ("hard", "soft")]
        found = super()._get_multi_from_backend(names)
        hard, soft = (
            # A backend may drop what it likes. A new generation then is the safe side: what was kept is not found.
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
        return _as_of(key, super()._get_from_backend(key))

    def _get_multi_from_backend(self, keys: Any) -> list[Any]:
        return [_as_of(key, value) for key, value in zip(keys, super()._get_multi_from_backend(keys), strict=True)]

    def _set_cached_value_to_backend(self, key: Any, value: Any) -> None:
        super()._set_cached_value_to_backend(key, _checked(key, value))

    def _set_multi_cached_value_to_backend(self, mapping: Mapping[Any, Any]) -> None:
        super()._set_multi_cached_value_to_backend({key: _checked(key, value) for key, value in mapping.items()})


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
    """Return a new `SiteRegion`, to be configured as dogpile's are: `.configure(…)`, `.configure_from_config(…)`."""
    return SiteRegion(name, **options)


def _current_site() -> Site:
    scope = current_scope()
    if scope is None:
        raise NoCurrentSite("a cache key")
    if scope.site is None:
        raise CrossSiteError(
            f"a cache key is one site's, and all sites are current here ({scope.reason}): use it within "
            "using_site(site), for one site after the other"
        )
    return scope.site


def _placed(key: str, site_id: int, owner: str, hard: str, soft: str) -> _Placed:
    if not isinstance(key, str):
        raise TypeError(f"a cache key is a text, not {type(key).__name__}")
    placed = _Placed(key)
    placed.site_id, placed.owner, placed.hard, placed.soft = site_id, owner, hard, soft
    return placed


def _hashed(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _as_of(key: _Placed, value: Any) -> Any:
    if value is NO_VALUE or value.metadata.get(_SOFT) == key.soft:
        return value
    return CachedValue(value.payload, {**value.metadata, "ct": _STALE})


def _checked(key: _Placed, value: Any) -> Any:
    check_value(value.payload, key.site_id)
    return CachedValue(value.payload, {**value.metadata, _SOFT: key.soft})
