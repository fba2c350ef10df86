"""Regions of dogpile.cache with the site in each key: in memory, in a file, in Redis, and shared by processes."""

from __future__ import annotations

import datetime as dt
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from enum import Enum
from pathlib import Path
from threading import Barrier, Thread
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from dogpile.cache import make_region as plain_region
from dogpile.cache.api import NO_VALUE
from hypothesis import given
from hypothesis import strategies as st
from scoped_models import Author, Base
from sqlalchemy.orm import Session

from multisite import CrossSiteError, MultisiteError, NoCurrentSite, Site, all_sites, using_site
from multisite.caching import SiteRegion, make_region
from multisite.caching.keys import function_key_generator, serialize
from multisite.caching.region import MAX_KEY_CHARACTERS

GARDEN = Site(1, "garden.example", "Garden", "garden")
KITCHEN = Site(2, "kitchen.example", "Kitchen", "kitchen")


@contextmanager
def running_redis() -> Iterator[str]:
    """Run a Redis server, and yield the path of its socket."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        pytest.skip("no Redis: neither redis-server nor valkey-server is installed")
    folder = tempfile.mkdtemp(prefix="rd")
    path = f"{folder}/s"
    command = [program, "--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no", "--dir", folder]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            end = time.monotonic() + 30
            while not Path(path).exists():
                assert server.poll() is None
                assert time.monotonic() < end
                time.sleep(0.01)
            yield path
        finally:
            server.terminate()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def redis_socket() -> Iterator[str]:
    with running_redis() as path:
        yield path


BACKENDS = ("memory", "memory_pickle", "dbm", "redis")


@pytest.fixture(params=BACKENDS)
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Arguments of `configure` for an empty backend."""
    if request.param == "redis":
        redis = pytest.importorskip("redis", reason="no Redis: its client for Python is missing")
        path = request.getfixturevalue("redis_socket")
        with redis.Redis(unix_socket_path=path) as client:
            client.flushall()
        return {"backend": "dogpile.cache.redis", "arguments": {"url": f"unix://{path}"}, "expiration_time": 3600}
    arguments = {"filename": str(tmp_path / "cache.dbm")} if request.param == "dbm" else {}
    return {"backend": f"dogpile.cache.{request.param}", "arguments": arguments, "expiration_time": 3600}


@pytest.fixture
def region(settings: dict[str, Any]) -> Iterator[SiteRegion]:
    made = make_region().configure(**settings)
    yield made
    close(made)


@pytest.fixture
def memory() -> SiteRegion:
    return make_region().configure("dogpile.cache.memory", expiration_time=3600)


def close(region: Any) -> None:
    client = getattr(region.actual_backend, "reader_client", None)
    if client is not None:
        client.close()


def counter() -> Callable[[], int]:
    """Return a function that returns 1, 2, 3, …"""
    numbers = iter(range(1, 1000))
    return lambda: next(numbers)


def all_lookups(region: Any, key: str, make: Callable[[], str]) -> list[Any]:
    """Store a value for the current site, and return the values that each method of the region finds under `key`."""
    return [
        region.get_or_create(key, make),
        region.get(key),
        region.get_multi([key])[0],
        region.get_or_create_multi([key], lambda *keys: [make() for _ in keys])[0],
        region.get_value_metadata(key).payload,
    ]


def test_a_site_never_gets_a_value_of_another(region: SiteRegion) -> None:
    for site in (GARDEN, KITCHEN, GARDEN, KITCHEN):
        with using_site(site):
            assert set(all_lookups(region, "home", lambda site=site: site.host)) == {site.host}  # type: ignore[misc]
    with using_site(GARDEN):
        region.set("menu", "tea")
        region.set_multi({"a": "garden's", "b": "garden's"})
    with using_site(KITCHEN):
        assert region.get("menu") is NO_VALUE
        assert region.get_multi(["a", "b"]) == [NO_VALUE, NO_VALUE]
        region.delete("menu")
        region.delete_multi(["a", "b"])
    with using_site(GARDEN):
        assert region.get_multi(["menu", "a", "b"]) == ["tea", "garden's", "garden's"]
        region.delete_multi(["menu", "a"])
        region.delete("b")
        assert region.get_multi(["menu", "a", "b"]) == [NO_VALUE] * 3


def test_a_plain_region_mixes_sites(settings: dict[str, Any]) -> None:
    region = plain_region(key_mangler=str).configure(**settings)
    found = []
    for site in (GARDEN, KITCHEN):
        with using_site(site):
            found.append(region.get_or_create("home", lambda site=site: site.host))  # type: ignore[misc]
    assert found == [GARDEN.host, GARDEN.host]
    close(region)


USES: dict[str, Callable[[Any], object]] = {
    "get": lambda region: region.get("key"),
    "get_multi": lambda region: region.get_multi(["key"]),
    "get_or_create": lambda region: region.get_or_create("key", lambda: 1),
    "get_or_create_multi": lambda region: region.get_or_create_multi(["key"], lambda *keys: keys),
    "get_value_metadata": lambda region: region.get_value_metadata("key"),
    "set": lambda region: region.set("key", 1),
    "set_multi": lambda region: region.set_multi({"key": 1}),
    "delete": lambda region: region.delete("key"),
    "delete_multi": lambda region: region.delete_multi(["key"]),
    "key_is_locked": lambda region: region.key_is_locked("key"),
    "invalidate": lambda region: region.invalidate(),
    "a function": lambda region: region.cache_on_arguments("f")(lambda: 1)(),
    "a function of many": lambda region: region.cache_multi_on_arguments("f")(lambda *args: args)("key"),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_without_a_site_there_is_no_key(use: Callable[[Any], object], memory: SiteRegion) -> None:
    with pytest.raises(NoCurrentSite, match="a cache key needs a site"):
        use(memory)
    with (
        all_sites("a report"),
        pytest.raises(CrossSiteError, match=r"all sites are current here \(a report\): use it within using_site"),
    ):
        use(memory)
    assert memory.actual_backend._cache == {}  # type: ignore[attr-defined]
    with using_site(GARDEN):
        use(memory)


def test_keys_never_collide(region: SiteRegion) -> None:
    keys = ["", ":", "1:=", "=a", "#a", "a b", "a\nb", "a b", "ä", "\0", "\udc80", "a" * 500, "a" * 501]
    keys += ["hard", "soft", "=" * MAX_KEY_CHARACTERS, "=" * (MAX_KEY_CHARACTERS + 1)]
    sites = [GARDEN, KITCHEN, Site(12, "c.example", "", "c"), Site(21, "d.example", "", "d")]
    for site in sites:
        with using_site(site):
            region.set_multi({key: (site.id, key) for key in keys})
    for site in sites:
        with using_site(site):
            assert region.get_multi(keys) == [(site.id, key) for key in keys]
            mangled = [region._mangle(key) for key in keys]
            assert all(len(key) < 250 and key.isascii() and key.isprintable() and " " not in key for key in mangled)


def test_a_key_that_looks_like_a_hash_is_a_key(memory: SiteRegion) -> None:
    with using_site(GARDEN):
        memory.set("a" * 500, "long")
        hashed = memory._mangle("a" * 500).rpartition(":")[2]
        assert hashed.startswith("#")
        assert memory.get(hashed) is NO_VALUE


def test_regions_that_share_a_backend_are_separated_by_name() -> None:
    kept: dict[str, Any] = {}
    regions = [
        make_region(name).configure("dogpile.cache.memory", arguments={"cache_dict": kept}) for name in ("one", "two")
    ]
    with using_site(GARDEN):
        assert [region.get_or_create("key", lambda region=region: region.name) for region in regions] == ["one", "two"]  # type: ignore[misc]
        regions[0].invalidate()
        assert [region.get("key") for region in regions] == [NO_VALUE, "two"]


@pytest.mark.parametrize("name", ["", "a:b", "a b", "a" * 41, "ü"])
def test_an_ambiguous_region_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="a region's name is"):
        make_region(name)


def test_options_that_would_remove_the_site_from_the_keys_are_refused() -> None:
    with pytest.raises(ValueError, match="does not accept a key_mangler"):
        make_region(key_mangler=str)
    with pytest.raises(ValueError, match="does not accept a region_invalidator"):
        make_region().configure("dogpile.cache.memory", region_invalidator=object())
    memory = make_region().configure("dogpile.cache.memory")
    with using_site(GARDEN), pytest.raises(TypeError, match="a cache key must be a string, not int"):
        memory.get(1)  # type: ignore[arg-type]


# Invalidation


def test_invalidation_of_one_site_leaves_the_others(region: SiteRegion) -> None:
    number = counter()
    for site in (GARDEN, KITCHEN):
        with using_site(site):
            region.get_or_create("a", number)
    with using_site(GARDEN):
        region.invalidate()
        assert region.get("a") is NO_VALUE
        assert region.get_or_create("a", number) == 3
    region.invalidate(site=GARDEN)
    with using_site(GARDEN):
        assert region.get_or_create("a", number) == 4
    with using_site(KITCHEN):
        assert region.get_or_create("a", number) == 2


def test_a_soft_invalidation_serves_the_stale_value_while_one_caller_regenerates_it(region: SiteRegion) -> None:
    for site in (GARDEN, KITCHEN):
        with using_site(site):
            region.get_or_create("a", lambda: "old")
    with using_site(GARDEN):
        region.invalidate(hard=False)
        assert region.get("a") is NO_VALUE
        seen = []

        def make() -> str:
            def other() -> None:
                with using_site(GARDEN):
                    seen.append(region.get_or_create("a", lambda: "never"))

            thread = Thread(target=other)
            thread.start()
            thread.join()
            return "new"

        assert region.get_or_create("a", make) == "new"
        assert seen == ["old"]
        assert region.get_or_create("a", lambda: "never") == "new"
        assert region.get_or_create_multi(["a"], lambda *keys: ["never"]) == ["new"]
    with using_site(KITCHEN):
        assert region.get("a") == "old"


def test_a_soft_invalidation_needs_an_expiration_time() -> None:
    region = make_region().configure("dogpile.cache.memory")
    with using_site(GARDEN), pytest.raises(MultisiteError, match="with an expiration_time can be invalidated softly"):
        region.invalidate(hard=False)


@pytest.mark.parametrize("hard", [True, False], ids=["hard", "soft"])
def test_a_value_begun_before_an_invalidation_is_not_found_after_it(region: SiteRegion, hard: bool) -> None:
    def make() -> str:
        region.invalidate(hard)  # Another process changes the data that this process has just read.
        return "made of what was there before"

    with using_site(GARDEN):
        region.get_or_create("a", make)
        assert region.get_or_create("a", lambda: "new") == "new"
        region.get_or_create_multi(["b"], lambda *keys: [make()])
        assert region.get_or_create_multi(["b"], lambda *keys: ["new"]) == ["new"]


def test_a_plain_region_keeps_a_value_begun_before_an_invalidation() -> None:
    region = plain_region().configure("dogpile.cache.memory", expiration_time=3600)

    def make() -> str:
        region.invalidate()
        time.sleep(0.001)
        return "made of what was there before"

    region.get_or_create("a", make)
    assert region.get_or_create("a", lambda: "new") == "made of what was there before"


def test_a_nested_value_belongs_to_its_own_generation(memory: SiteRegion) -> None:
    def outer() -> str:
        with using_site(KITCHEN):
            inner = memory.get_or_create("a", lambda: "kitchen's")
        memory.invalidate(site=KITCHEN)
        return f"garden's, and {inner}"

    with using_site(GARDEN):
        memory.get_or_create("a", outer)
        assert memory.get("a") == "garden's, and kitchen's"
    with using_site(KITCHEN):
        assert memory.get("a") is NO_VALUE


def test_evicting_a_generation_invalidates_its_values(memory: SiteRegion) -> None:
    with using_site(GARDEN):
        memory.set("a", 1)
        for kind in ("hard", "soft"):
            memory.backend.delete(f"multisite:1:{kind}")
            assert memory.get("a") is NO_VALUE
            memory.set("a", 1)


def test_the_memory_backend_drops_values_of_past_generations(memory: SiteRegion) -> None:
    for site in (GARDEN, KITCHEN, Site(11, "c.example", "", "c")):
        with using_site(site):
            memory.set_multi({"a": 1, "b:c:d": 2})
    memory.invalidate(site=GARDEN)
    kept = memory.actual_backend._cache  # type: ignore[attr-defined]
    assert sorted(key.split(":")[1] for key in kept) == ["1", "1", *["11"] * 4, *["2"] * 4]


def test_invalidation_after_a_session_has_committed(memory: SiteRegion) -> None:
    engine = sa.create_engine("sqlite://")
    with using_site(GARDEN):
        memory.set("a", 1)
        with Session(engine, info={"site": GARDEN}) as session:
            session.execute(sa.select(1))
            memory.invalidate(after=session)
            assert memory.get("a") == 1
            session.rollback()
            assert memory.get("a") == 1
            session.execute(sa.select(1))
            session.commit()
        assert memory.get("a") is NO_VALUE
        memory.set("a", 2)
        with Session(engine, info={"site": GARDEN}) as session:
            session.execute(sa.select(1))
            session.commit()
        assert memory.get("a") == 2
    engine.dispose()


def test_invalidation_after_a_session_waits_for_the_end_of_the_transaction(memory: SiteRegion) -> None:
    engine = sa.create_engine("sqlite://")
    with using_site(GARDEN), Session(engine, info={"site": GARDEN}) as session:
        memory.set("a", 1)
        session.execute(sa.select(1))
        memory.invalidate(after=session)
        memory.invalidate(after=session)
        with session.begin_nested():
            session.execute(sa.select(1))
        assert memory.get("a") == 1
        session.commit()
        assert memory.get("a") is NO_VALUE
        memory.set("a", 2)
        session.execute(sa.select(1))
        session.commit()
        assert memory.get("a") == 2
    engine.dispose()


OTHER_PROCESS = """
import sys
from multisite import Site, using_site
from multisite.caching import make_region
backend, argument, value = sys.argv[1:]
region = make_region().configure(backend, arguments=dict([argument.split("=")]), expiration_time=3600)
for number in (1, 2):
    with using_site(Site(number, "h.example", "", "h")):
        print(region.get_or_create("a", lambda: value))
region.invalidate(site=Site(1, "h.example", "", "h"))
"""


@pytest.mark.parametrize("settings", ["dbm", "redis"], indirect=True)
def test_processes_share_values_and_invalidations(settings: dict[str, Any], region: SiteRegion) -> None:
    def other(value: str) -> list[str]:
        argument = "=".join(*settings["arguments"].items())
        command = [sys.executable, "-c", OTHER_PROCESS, settings["backend"], argument, value]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()

    for site in (GARDEN, KITCHEN):
        with using_site(site):
            assert region.get_or_create("a", lambda: "mine") == "mine"
    assert other("theirs") == ["mine", "mine"]
    with using_site(GARDEN):
        assert region.get("a") is NO_VALUE
        region.set("a", "mine again")
        region.invalidate()
    with using_site(KITCHEN):
        assert region.get("a") == "mine"
    assert other("theirs") == ["theirs", "mine"]


# Functions


class Colour(Enum):
    RED = 1
    GREEN = 2


@pytest.mark.parametrize("settings", ["memory_pickle"], indirect=True)
def test_a_function_is_cached_by_site_and_arguments(region: SiteRegion) -> None:
    calls = []

    @region.cache_on_arguments("price")
    def price(item: str, count: int = 1, *more: int, **options: object) -> str:
        calls.append(item)
        return f"{item} {count} {more} {options}"

    for site in (GARDEN, KITCHEN):
        with using_site(site):
            assert {price("tea"), price("tea", 1), price(item="tea"), price(count=1, item="tea")} == {"tea 1 () {}"}
    assert len(calls) == 2
    with using_site(GARDEN):
        assert price("tea", 1, 2, a=1, b=2) == price("tea", 1, 2, b=2, a=1)
        assert price("tea", 1, 2) != price("tea", 1, a=2)
        price.set("dear", "gold")
        assert price("gold") == "dear"
        price.invalidate("gold")
        assert price.get("gold") is NO_VALUE
        assert price.refresh("gold") == price("gold") == "gold 1 () {}"


@pytest.mark.parametrize("settings", ["memory_pickle"], indirect=True)
@pytest.mark.parametrize("asdict", [False, True])
def test_a_multi_function_is_cached_by_site_and_argument(region: SiteRegion, asdict: bool) -> None:
    asked: list[object] = []

    @region.cache_multi_on_arguments("names", asdict=asdict)
    def names(*keys: object) -> Any:
        asked.extend(keys)
        return {key: f"name {key}" for key in keys} if asdict else [f"name {key}" for key in keys]

    for site in (GARDEN, KITCHEN):
        with using_site(site):
            for _ in range(2):
                found = names(1, "1", 2)
                assert list(found.values() if asdict else found) == ["name 1", "name 1", "name 2"]
    assert sorted(map(repr, asked)) == sorted(["1", "'1'", "2"] * 2)


def same_name(region: SiteRegion, value: str, *namespace: str) -> Any:
    @region.cache_on_arguments(*namespace)
    def function() -> str:
        return value

    return function


def test_functions_that_share_a_name_need_a_namespace(memory: SiteRegion) -> None:
    with pytest.raises(ValueError, match=r"same_name.<locals>.function is created again each time"):
        same_name(memory, "one")
    with pytest.raises(ValueError, match="created again each time"):
        memory.cache_on_arguments()(lambda: 1)
    with using_site(GARDEN):
        assert [same_name(memory, value, value)() for value in ("one", "two")] == ["one", "two"]


def one(thing: object) -> object:
    return thing


def test_arguments_that_cannot_be_serialized_are_refused() -> None:
    make_key = function_key_generator(None, one)
    for thing in (object(), Author(slug="x"), iter([1]), Barrier(1), one, [object()], {"a": object()}):
        with pytest.raises(
            TypeError, match=r"test_caching.one: cannot make a key of its argument thing: .*pass plain v"
        ):
            make_key(thing)


def test_a_method_needs_a_key_for_its_object(memory: SiteRegion) -> None:
    class Shop:
        def __init__(self, name: str) -> None:
            self.name = name

        @memory.cache_on_arguments("shop")
        def price(self) -> str:
            return self.name

        @memory.cache_on_arguments("shop", to_str=lambda shop: shop.name)
        def with_to_str(self) -> str:
            return self.name

    with using_site(GARDEN):
        with pytest.raises(TypeError, match="cannot make a key of its argument self"):
            Shop("one").price()
        assert [Shop(name).with_to_str() for name in ("one", "two", "one")] == ["one", "two", "one"]


def test_dogpile_s_own_keys_collide() -> None:
    region = plain_region().configure("dogpile.cache.memory")
    price = region.cache_on_arguments()(lambda *names: names)
    assert price("a b") == price("a", "b") == ("a b",)


MOMENT = dt.datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
VALUES: list[object] = [
    None, True, False, 0, 1, -1, 0.0, 1.0, 1j, "", "1", "None", "a,b", "'", '"', b"", b"1", "b'1'", Decimal(1),
    Decimal("1.0"), UUID(int=1), dt.date(2026, 1, 1), dt.datetime(2026, 1, 1), dt.time(1), dt.timedelta(1), MOMENT,  # noqa: DTZ001
    MOMENT.replace(fold=1), MOMENT.replace(tzinfo=None), Colour.RED, Colour.GREEN, "Colour.RED", int, str, GARDEN,
    KITCHEN, (), [], set(), frozenset(), {}, (1,), [1], {1}, frozenset({1}), {1: 1}, {1: "1"}, {"1": 1}, (1, 2),
    ("1", "2"), ("1,2",), ((1,), 2), (1, (2,)), [[]], ("a", "b"), ("a','b",),
]  # fmt: skip


def test_different_values_have_different_texts() -> None:
    assert len({serialize(value) for value in VALUES}) == len(VALUES)
    assert serialize({2: 1, 1: 2}) == serialize({1: 2, 2: 1})
    assert serialize({"b", "a", "c"}) == serialize({"c", "b", "a"})


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=5,
)


@given(plain, plain)
def test_values_have_the_same_text_exactly_if_they_are_equal(one_value: object, other: object) -> None:
    assert (serialize(one_value) == serialize(other)) == (typed(one_value) == typed(other))


def typed(value: Any) -> object:
    """Return `value` with its type, so that 1, 1.0 and True differ."""
    if isinstance(value, dict):
        return ("dict", frozenset((key, typed(each)) for key, each in value.items()))
    if isinstance(value, (list, tuple)):
        return (type(value).__name__, *map(typed, value))
    return (type(value).__name__, value)


# Values


@pytest.fixture
def authors(tmp_path: Path) -> Iterator[sa.Engine]:
    """A database with one author for each site."""
    from databases import closing_engine, make_own_tables

    with closing_engine(f"sqlite:///{tmp_path / 'authors.db'}") as engine:
        make_own_tables(engine)
        Base.metadata.create_all(engine)
        with all_sites("a test"), engine.begin() as connection:
            rows = [{"id": site.id, "name": site.name, "folder": site.folder} for site in (GARDEN, KITCHEN)]
            connection.execute(sa.text("INSERT INTO sites (id, name, folder) VALUES (:id, :name, :folder)"), rows)
        for site in (GARDEN, KITCHEN):
            with Session(engine, info={"site": site}) as session:
                session.add(Author(slug=site.folder, secret=f"of {site.host}"))
                session.commit()
        yield engine


def test_objects_in_a_session_are_refused(authors: sa.Engine, memory: SiteRegion) -> None:
    with using_site(GARDEN), Session(authors, expire_on_commit=False) as session:
        author = session.scalars(sa.select(Author)).one()
        row = session.execute(sa.select(Author, Author.slug)).one()
        for value in (author, [author], {"a": (1, author)}, {author}, row):
            for keep in (
                lambda value=value: memory.set("a", value),
                lambda value=value: memory.set_multi({"a": value}),
                lambda value=value: memory.get_or_create("a", lambda: value),
                lambda value=value: memory.get_or_create_multi(["a"], lambda *keys: [value]),
            ):
                with pytest.raises(MultisiteError, match="this Author is in a session and cannot be cached"):
                    keep()  # type: ignore[no-untyped-call]
        for value in (session, session.execute(sa.select(1)), session.scalars(sa.select(1)), session.connection()):
            with pytest.raises(MultisiteError, match="cannot be cached: cache its rows"):
                memory.set("a", value)
        assert memory.get("a") is NO_VALUE
        memory.set("a", session.execute(sa.select(Author.slug)).all())
        assert memory.get("a") == [("garden",)]


def test_detached_objects_are_cached_for_their_own_site_only(authors: sa.Engine, region: SiteRegion) -> None:
    def detached(site: Site, *options: Any) -> Author:
        with Session(authors, info={"site": site}) as session:
            author = session.scalars(sa.select(Author).options(*options)).one()
            session.expunge_all()
        return author

    with using_site(GARDEN):
        region.set("a", detached(GARDEN))
        with pytest.raises(CrossSiteError, match="this Author belongs to site 2 and cannot be cached for site 1"):
            region.set("a", [detached(KITCHEN)])
        without = detached(KITCHEN, sa.orm.load_only(Author.slug))
        vars(without).pop("site_id", None)
        with pytest.raises(CrossSiteError, match="loaded without its site_id"):
            region.set("a", without)
        found = region.get("a")
    assert (found.slug, found.site_id) == ("garden", 1)
    with Session(authors, info={"site": KITCHEN}) as session, pytest.raises(CrossSiteError):
        session.merge(found, load=False)
    with Session(authors, info={"site": GARDEN}) as session:
        assert session.merge(found, load=False).slug == "garden"


def test_a_plain_region_keeps_an_object_of_another_site(authors: sa.Engine) -> None:
    region = plain_region().configure("dogpile.cache.memory")
    with Session(authors, info={"site": KITCHEN}) as session:
        region.set("a", session.scalars(sa.select(Author)).one())
        with using_site(GARDEN):
            assert region.get("a").secret == "of kitchen.example"


# Threads


def test_threads_of_many_sites_never_mix(region: SiteRegion) -> None:
    sites = [Site(number, f"s{number}.example", "", f"s{number}") for number in range(1, 9)]
    start = Barrier(8)

    def work(site: Site) -> set[str]:
        start.wait()
        found = set()
        for turn in range(25):
            with using_site(site):
                found.add(region.get_or_create("page", lambda: site.host))
                if turn % 10 == 9:
                    region.invalidate(hard=turn % 20 == 9)
        return found

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, sites)) == [{site.host} for site in sites]


def test_a_background_thread_stores_values_for_the_requesting_site() -> None:
    threads = []

    def run_in_thread(region: Any, key: str, make: Callable[[], str], mutex: Any) -> None:
        def run() -> None:
            try:
                region.set(key, make())
            finally:
                mutex.release()

        threads.append(Thread(target=run))
        threads[-1].start()

    region = make_region(async_creation_runner=run_in_thread).configure("dogpile.cache.memory", expiration_time=3600)
    for site in (GARDEN, KITCHEN):
        with using_site(site):
            region.set("a", "old")
            region.invalidate(hard=False)
            assert region.get_or_create("a", lambda site=site: site.host) == "old"  # type: ignore[misc]
    for thread in threads:
        thread.join()
    for site in (GARDEN, KITCHEN):
        with using_site(site):
            assert region.get("a") == site.host
