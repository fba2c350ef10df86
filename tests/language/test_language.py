"""The language of a request: negotiated among its site's languages, and used for translations and formats."""

from __future__ import annotations

import json
import locale
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from databases import make_own_tables
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response
from webtest import TestApp

from multisite import MultisiteError, Site
from multisite.core.keys import DIRECTORY
from multisite.core.settings import parse_settings
from multisite.language.formats import formats_for
from multisite.language.local_time import zone_of
from multisite.language.negotiation import best_language, locale_name
from multisite.sites.creation import add_site
from multisite.sites.settings.values import set_settings
from multisite.sites.updates import reload_templates
from multisite.testing import request_for
from multisite.web.site_settings import SITE_SETTINGS

# Which language.


@pytest.mark.parametrize(
    ("languages", "header", "best"),
    [
        ("de en", "en", "en"),
        ("de en", "en;q=0.8, de;q=0.9", "de"),
        ("de en", "fr, en;q=0.1", "en"),
        ("de en", "fr", "de"),
        ("de en", "*", "de"),
        ("de en", "en;q=0, *", "de"),
        ("de en", "de;q=0, *", "en"),
        ("de en", "de;q=0", "en"),
        ("de en", "de;q=0, en;q=0", "de"),
        ("de en-GB", "EN-gb", "en-GB"),
        ("fr de-AT", "de", "de-AT"),  # RFC 4647 section 3.3.1
        ("fr de", "de-CH-1996", "de"),  # section 3.4
        ("fr de-AT", "de-CH", "de-AT"),
        ("fr de-AT de-CH", "de-CH", "de-CH"),
        ("fr zh-Hant", "zh-Hant-CN-x-private1", "zh-Hant"),
        ("en pt-BR pt", "pt", "pt"),
        ("de en-GB", "en;q=0, en-GB", "en-GB"),
    ],
)
def test_the_best_language_is_what_the_rfc_says(languages: str, header: str, best: str) -> None:
    request = Request.blank("/", headers={"Accept-Language": header})
    assert best_language(languages.split(), request.accept_language.parsed) == best


@pytest.mark.parametrize(
    ("tag", "name"),
    [("de", "de"), ("DE-at", "de_AT"), ("zh-hans-cn", "zh_Hans_CN"), ("es-419", "es_419"), ("pt_BR", "pt_BR")],
)
def test_a_tag_is_a_locale_by_another_spelling(tag: str, name: str) -> None:
    assert locale_name(tag) == name


# An application.


TEMPLATE = """\
<%page expression_filter="h"/>${_("Hello ${name}", {"name": "A<b"})}|${ngettext("${n} post", "${n} posts", n)}|\
${format.date(when)}|${format(n, "03")}|${format.language}"""


class World:
    """An application with its own translations, and the sites at, de, en and pl."""

    def __init__(self, url: str, folder: Path) -> None:
        self.folder = folder
        self.settings = {
            "sqlalchemy.url": url,
            "multisite.sites_dir": str(folder / "sites"),
            "multisite.templates_dir": str(folder / "templates"),
            "multisite.refresh_seconds": "0",
        }
        (folder / "templates" / "themes" / "blue").mkdir(parents=True)
        (folder / "templates" / "page.mako").write_text(TEMPLATE)
        (folder / "templates" / "plain.mako").write_text("the same for all")
        (folder / "application").mkdir()
        catalog(folder / "application", "de", {"Hello ${name}": "Hallo ${name}", ("${n} post", "${n} posts"): POSTS_DE})
        self.engine = sa.create_engine(url)
        make_own_tables(self.engine)
        parsed = parse_settings(self.settings)
        add_site(self.engine, "at.example", settings=parsed, locale="de-AT", timezone="Europe/Vienna", theme="blue")
        add_site(self.engine, "de.example", settings=parsed, locale="de", timezone="Europe/Berlin", theme="blue")
        add_site(self.engine, "en.example", settings=parsed)
        add_site(self.engine, "pl.example", settings=parsed, locale="pl", timezone="Asia/Kathmandu")

    def app(self, configure: Any = None, **settings: str) -> TestApp:
        with Configurator(settings={**self.settings, **settings}) as config:
            config.include("multisite")
            config.add_translation_dirs(str(self.folder / "application"))
            for name in ("page", "plain"):
                config.add_route(name, f"/{name}")
                config.add_view(show, route_name=name, renderer=f"/{name}.mako")
            config.add_route("clock", "/clock")
            config.add_view(clock, route_name="clock", renderer="json")
            if configure is not None:
                configure(config)
        return TestApp(config.make_wsgi_app())

    def site_catalog(self, host: str, language: str, messages: dict[Any, Any], domain: str = "messages") -> Path:
        return catalog(self.folder / "sites" / host / "locale", language, messages, domain)

    def speaks(self, app: TestApp, host: str, languages: str) -> None:
        set_settings(self.engine, host, {"languages": languages}, declared=app.app.registry[SITE_SETTINGS])


POSTS_DE = ("${n} Beitrag", "${n} Beiträge")


def catalog(folder: Path, language: str, messages: dict[Any, Any], domain: str = "messages") -> Path:
    """Write a compiled gettext catalog, and return its file."""
    made = Catalog(locale=language)
    for message, translation in messages.items():
        made.add(message, translation)
    path = folder / language / "LC_MESSAGES" / f"{domain}.mo"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        write_mo(file, made)
    return path


def show(request: Request) -> dict[str, Any]:
    return {"n": int(request.GET.get("n", 1)), "when": datetime(2024, 5, 5, 22, 30, tzinfo=UTC)}


def clock(request: Request) -> dict[str, Any]:
    day = request.local_bounds(2024, 5, 6)
    return {
        "now": request.now().tzinfo.key,
        "local": request.localtime(datetime(2024, 5, 5, 22, 30, tzinfo=UTC)).isoformat(),
        "day": [moment.isoformat() for moment in day],
        "locale": request.locale_name,
    }


@pytest.fixture
def world(sqlite_database_url: str, tmp_path: Path) -> Iterator[World]:
    made = World(sqlite_database_url, tmp_path)
    yield made
    made.engine.dispose()


@pytest.fixture
def app(world: World) -> Iterator[TestApp]:
    made = world.app()
    yield made
    made.app.registry[DIRECTORY].engine.dispose()


def get(app: TestApp, host: str, path: str = "/page", **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return app.get(path, extra_environ={"HTTP_HOST": host}, headers=named)


def test_a_page_is_in_the_language_of_its_site(app: TestApp) -> None:
    assert get(app, "at.example", "/page?n=2").text == "Hallo A&lt;b|2 Beiträge|6. Mai 2024|002|de-AT"
    assert get(app, "en.example").text == "Hello A&lt;b|1 post|May 5, 2024|001|en"
    assert get(app, "pl.example").text == "Hello A&lt;b|1 post|6 maja 2024|001|pl"
    assert "Vary" not in get(app, "at.example", Accept_Language="en").headers


def test_time_is_by_the_clocks_of_the_site(app: TestApp) -> None:
    assert get(app, "pl.example", "/clock").json == {
        "now": "Asia/Kathmandu",
        "local": "2024-05-06T04:15:00+05:45",
        "day": ["2024-05-05T18:15:00+00:00", "2024-05-06T18:15:00+00:00"],
        "locale": "pl",
    }


def test_a_site_of_several_languages_gives_what_the_browser_asks_for_and_says_so(world: World, app: TestApp) -> None:
    world.speaks(app, "de.example", "en, fr-CA")
    for header, language in [("fr", "fr-CA"), ("en-GB,en;q=0.9", "en"), ("it", "de"), ("", "de"), ("x" * 501, "de")]:
        page = get(app, "de.example", Accept_Language=header)
        assert page.text.endswith(f"|{language}")
        assert page.headers["Vary"] == "Accept-Language"
    assert get(app, "de.example", Accept_Language="?;q=x, en").text.endswith("|de")  # no header at all
    # A page that does not depend on the language is the same for all; the other site still has one language.
    assert "Vary" not in get(app, "de.example", "/plain", Accept_Language="en").headers
    assert get(app, "at.example", Accept_Language="en").text.endswith("|de-AT")


def test_the_vary_of_an_application_is_kept(world: World) -> None:
    def vary(config: Configurator) -> None:
        for name, value in (("cookie", "Cookie"), ("all", "*"), ("there", "accept-language")):
            config.add_route(name, f"/{name}")
            config.add_view(
                lambda request, value=value: Response(request.locale_name, headers={"Vary": value}), route_name=name
            )

    app = world.app(vary)
    world.speaks(app, "de.example", "en")
    assert get(app, "de.example", "/cookie").headers["Vary"] == "Cookie, Accept-Language"
    assert get(app, "de.example", "/all").headers["Vary"] == "*"
    assert get(app, "de.example", "/there").headers["Vary"] == "accept-language"


def test_a_locale_set_by_the_application_is_kept(world: World) -> None:
    def own_negotiator(config: Configurator) -> None:
        config.set_locale_negotiator(lambda _request: "pl")

    assert get(world.app(own_negotiator), "de.example").text.endswith("|pl")

    def by_address(config: Configurator) -> None:
        config.add_route("localized", "/localized")
        config.add_view(localized, route_name="localized", renderer="/page.mako")

    def localized(request: Request) -> dict[str, Any]:
        request._LOCALE_ = request.GET["lang"]
        return show(request)

    app = world.app(by_address)
    assert get(app, "en.example", "/localized?lang=de").text.startswith("Hallo")
    # No locale name refers to a file outside of the folders.
    world.site_catalog("de.example", "de", {"Hello ${name}": "canary"})
    assert get(app, "en.example", "/localized?lang=../../de.example/locale/de").text.startswith("Hello")


@pytest.mark.parametrize("text", ["xx-YY", "de, english please", "../etc"])
def test_languages_of_a_site_are_validated(world: World, app: TestApp, text: str) -> None:
    with pytest.raises(MultisiteError, match="expected language tags such as de, pt-BR"):
        world.speaks(app, "de.example", text)


# Translations.


def test_the_catalog_of_a_site_goes_over_its_themes_over_the_shared_over_the_applications(
    world: World, app: TestApp
) -> None:
    hello = "Hello ${name}"
    assert get(app, "de.example").text.startswith("Hallo")
    catalog(world.folder / "templates" / "locale", "de", {hello: "Shared ${name}", "b": "shared b"})
    assert get(app, "de.example").text.startswith("Hallo")  # not before it is told
    reload_templates(world.engine)
    assert get(app, "de.example").text.startswith("Shared A&lt;b|1 Beitrag")
    catalog(world.folder / "templates" / "themes" / "blue" / "locale", "de", {hello: "Theme ${name}"})
    world.site_catalog("at.example", "de", {hello: "Site ${name}"})
    reload_templates(world.engine)
    assert get(app, "de.example").text.startswith("Theme A&lt;b|1 Beitrag")
    assert get(app, "at.example").text.startswith("Site A&lt;b|1 Beitrag")
    # The region takes precedence over the language; only the site has it.
    world.site_catalog("at.example", "de_AT", {hello: "Servus ${name}"})
    reload_templates(world.engine, "at.example")
    assert get(app, "at.example").text.startswith("Servus A&lt;b|1 Beitrag")
    assert get(app, "de.example").text.startswith("Theme A&lt;b|1 Beitrag")
    with request_for(app.app, "at.example") as request:
        assert [request.localizer.translate(text) for text in ("b", "c")] == ["shared b", "c"]


def test_domains_and_plurals_are_each_layers_own(world: World, app: TestApp) -> None:
    three = ("${n} wpis", "${n} wpisy", "${n} wpisów")
    world.site_catalog("pl.example", "pl", {("${n} post", "${n} posts"): three})
    world.site_catalog("pl.example", "pl", {"Buy": "Kup"}, domain="shop")
    assert [get(app, "pl.example", f"/page?n={n}").text.split("|")[1] for n in (1, 3, 5)] == [
        "1 wpis", "3 wpisy", "5 wpisów",
    ]  # fmt: skip
    with request_for(app.app, "pl.example") as request:
        assert request.localizer.translate("Buy", domain="shop") == "Kup"
        assert request.localizer.translate("Buy") == "Buy"
    with request_for(app.app, "en.example") as request:
        assert request.localizer.translate("Buy", domain="shop") == "Buy"


def test_sites_without_catalogs_share_the_applications_and_files_are_read_once(world: World, app: TestApp) -> None:
    catalog(world.folder / "templates" / "themes" / "blue" / "locale", "de", {"b": "blue"})
    found = {}
    for host in ("at.example", "de.example", "en.example", "pl.example"):
        with request_for(app.app, host) as request:
            found[host] = request.localizer.translations
    assert found["at.example"]._catalog is found["de.example"]._catalog
    assert found["at.example"]._fallback is not None
    with request_for(app.app, "en.example") as request:
        assert found["en.example"] is request.localizer.translations


def test_a_broken_catalog_is_a_line_in_the_log_and_that_sites_alone(
    world: World, app: TestApp, caplog: pytest.LogCaptureFixture
) -> None:
    broken = world.site_catalog("de.example", "de", {})
    broken.write_bytes(b"\xde\x12\x04\x95 and then nothing")
    world.site_catalog("de.example", "de", {"c": "still there"}, domain="other")
    for _ in range(3):
        assert get(app, "de.example").text.startswith("Hallo")
    with request_for(app.app, "de.example") as request:
        assert request.localizer.translate("c", domain="other") == "still there"
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert f"the translations {broken} of the site de.example cannot be used" in record.getMessage()
    assert get(app, "at.example").text.startswith("Hallo")


def test_a_link_to_the_catalog_of_another_site_is_not_followed(
    world: World, app: TestApp, caplog: pytest.LogCaptureFixture
) -> None:
    foreign = world.site_catalog("at.example", "de", {"Hello ${name}": "canary"})
    link = world.site_catalog("de.example", "de", {})
    link.unlink()
    link.symlink_to(foreign)
    assert "canary" not in get(app, "de.example").text
    assert "canary" in get(app, "at.example").text
    assert any("lies outside of" in record.getMessage() for record in caplog.records)


def test_in_development_a_changed_catalog_is_seen_at_once(world: World) -> None:
    app = world.app(**{"pyramid.reload_templates": "true"})
    assert get(app, "de.example").text.startswith("Hallo")
    path = world.site_catalog("de.example", "de", {"Hello ${name}": "Tach ${name}"})
    assert get(app, "de.example").text.startswith("Tach")
    world.site_catalog("de.example", "de", {"Hello ${name}": "Moin, ${name}"})
    assert get(app, "de.example").text.startswith("Moin")
    path.unlink()
    assert get(app, "de.example").text.startswith("Hallo")


# Formats.


def site(language: str, zone: str) -> Site:
    return Site(1, "a.example", "A", "a", locale=language, timezone=zone)


def test_formats_are_those_of_the_language() -> None:
    german = formats_for("de", zone_of(site("de", "Europe/Berlin")), "EUR")
    when = datetime(2024, 5, 5, 22, 30, tzinfo=UTC)
    assert german.date(when, "full") == "Montag, 6. Mai 2024"
    assert german.date(when, "MMMM y") == german.date(date(2024, 5, 6), "MMMM y") == "Mai 2024"
    assert german.date(date(2024, 5, 5), "short") == "05.05.24"
    assert german.time(when) == "00:30"
    assert german.datetime(when, "short") == "06.05.24, 00:30"
    assert german.iso(when) == "2024-05-06T00:30:00+02:00"
    assert german.number(1234567.891) == "1.234.567,891"
    assert german.number(Decimal("1.5"), "0.00") == "1,50"
    assert german.percent(Decimal("0.25")) == "25\xa0%"
    assert german.money(Decimal("1234.5")) == "1.234,50\xa0€"
    assert german.money(1234, "JPY") == "1.234\xa0¥"
    assert german.direction == "ltr"
    assert formats_for("ar-EG", zone_of(site("ar-EG", "UTC"))).direction == "rtl"
    assert str(formats_for("de-XX", german.zone).locale) == "de"
    assert str(formats_for("tlh", german.zone).locale) == "en"
    for refused in (german.date, german.time, german.datetime, german.iso):
        with pytest.raises(ValueError, match="has no time zone"):
            refused(datetime(2024, 5, 5, 22, 30))  # noqa: DTZ001


def test_money_needs_a_currency(world: World, app: TestApp) -> None:
    with request_for(app.app, "de.example") as request, pytest.raises(MultisiteError, match="currency=EUR"):
        request.format.money(1)
    with pytest.raises(MultisiteError, match="expected a currency code"):
        set_settings(world.engine, "de.example", {"currency": "Taler"}, declared=app.app.registry[SITE_SETTINGS])
    set_settings(world.engine, "de.example", {"currency": "CHF"}, declared=app.app.registry[SITE_SETTINGS])
    with request_for(app.app, "de.example") as request:
        assert request.format.money(1) == "1,00\xa0CHF"


THREADS = 32
ROUNDS = 500 if os.environ.get("MULTISITE_SOAK") else 10


def test_threads_of_sites_with_other_languages_and_zones_never_mix(world: World, app: TestApp) -> None:
    process = locale.getlocale(), os.environ.get("TZ"), time.tzname
    hosts = ("at.example", "de.example", "en.example", "pl.example")
    world.site_catalog("de.example", "de", {"Hello ${name}": "Moin ${name}"})
    world.speaks(app, "en.example", "pt-BR")
    expected = {
        (host, path, header): get(app, host, path, Accept_Language=header).text
        for host in hosts
        for path in ("/page?n=5", "/clock")
        for header in ("en", "pt")
    }
    assert len(set(expected.values())) == 10  # Two languages of one site, four zones; the others have one of each.
    together = threading.Barrier(THREADS)

    def work(number: int) -> list[str]:
        together.wait(60)
        wrong = []
        for turn in range(ROUNDS):
            keys = list(expected)
            key = keys[(number + turn) % len(keys)]
            host, path, header = key
            text = get(TestApp(app.app), host, path, Accept_Language=header).text
            if path != "/clock" and text != expected[key]:
                wrong.append(f"{key}: {text}")
            if path == "/clock" and json.loads(text) != json.loads(expected[key]):
                wrong.append(f"{key}: {text}")
        return wrong

    with ThreadPoolExecutor(THREADS) as pool:
        assert [found for wrong in pool.map(work, range(THREADS)) for found in wrong] == []
    assert process == (locale.getlocale(), os.environ.get("TZ"), time.tzname)


def test_babel_is_imported_when_something_is_formatted_and_not_before(world: World) -> None:
    code = (
        "import sys, warnings; warnings.simplefilter('ignore')\n"
        "from pyramid.config import Configurator\nfrom pyramid.request import Request\n"
        f"config = Configurator(settings={world.settings!r})\nconfig.include('multisite')\n"
        "config.add_route('plain', '/plain')\n"
        "config.add_view(lambda request: {}, route_name='plain', renderer='/plain.mako')\n"
        "app = config.make_wsgi_app()\n"
        "print(Request.blank('/plain', headers={'Host': 'de.example'}).get_response(app).text)\n"
        "print([name for name in sys.modules if name.partition('.')[0] == 'babel'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["the same for all", "[]"]
