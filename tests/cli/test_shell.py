"""`multisite shell HOST`, and pshell pinned to a site."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from databases import closing_engine, make_own_tables
from pyramid.scripts.pshell import PShellCommand
from sqlalchemy.orm import Session

from multisite import Site, UnknownSite, current_site, using_site
from multisite.cli import main
from multisite.cli.pshell import run
from multisite.content.models import Base, Tag
from multisite.core.settings import parse_settings
from multisite.sites.availability import disable_site
from multisite.sites.creation import add_site

INI = """
[app:main]
use = egg:pyramid-multisite
sqlalchemy.url = {url}
multisite.sites_dir = %(here)s/sites
multisite.templates_dir = %(here)s/templates

[pshell]
setup = multisite.cli.pshell.setup
Tag = multisite.content.models.Tag
"""


class Shop:
    """A folder with an ini and two sites, each with a tag of its own."""

    def __init__(self, folder: Path, engine: sa.Engine) -> None:
        self.engine = engine
        self.ini = folder / "development.ini"
        self.ini.write_text(INI.format(url=engine.url), "utf-8")
        make_own_tables(engine)
        Base.metadata.create_all(engine)
        settings = parse_settings({"multisite.sites_dir": folder / "sites"})
        self.garden = add_site(engine, "garden.example", settings=settings, aliases=["www.garden.example"])
        self.kitchen = add_site(engine, "host.example:8080/kitchen", settings=settings)
        for site in (self.garden, self.kitchen):
            with Session(engine, info={"site": site}) as session:
                session.add(Tag(slug="tag", name=f"tag of {site}"))
                session.commit()

    def invoke(self, *arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(main, ["-c", str(self.ini), "shell", *arguments], input=stdin)

    def prints(self, *arguments: str, stdin: str | None = None) -> str:
        result = self.invoke(*arguments, stdin=stdin)
        assert (result.exit_code, result.stderr) == (0, ""), (result.output, result.exc_info)
        return result.stdout

    def tags(self, site: Site) -> list[str]:
        with Session(self.engine, info={"site": site}) as session:
            return list(session.scalars(sa.select(Tag.name).order_by(Tag.id)))


@pytest.fixture
def shop(sqlite_database_url: str, tmp_path: Path) -> Iterator[Shop]:
    with closing_engine(sqlite_database_url) as engine:
        yield Shop(tmp_path, engine)


NAMES = "import sqlalchemy as sa; print(dbsession.scalars(sa.select(Tag.name)).all())"


def test_code_sees_its_site_and_no_other(shop: Shop) -> None:
    assert shop.prints("www.garden.example", "-c", NAMES) == "['tag of garden.example']\n"
    assert shop.prints("host.example:8080/kitchen", stdin=NAMES) == "['tag of host.example:8080/kitchen']\n"
    assert current_site() is None


def test_the_request_is_one_of_the_site(shop: Shop) -> None:
    code = (
        "from multisite import current_site\n"
        "print(request.site == site == current_site(), request.site.id, request.host, request.route_url('home'))\n"
        "print(registry is request.registry, app.registry is registry, root is not None)\n"
    )
    assert shop.prints("host.example:8080/kitchen", "-c", code).splitlines() == [
        f"True {shop.kitchen.id} host.example:8080 http://host.example:8080/kitchen/",
        "True True True",
    ]


def test_changes_stay_if_they_are_committed(shop: Shop) -> None:
    shop.prints("garden.example", "-c", "dbsession.add(Tag(slug='lost', name='lost')); dbsession.flush()")
    shop.prints("garden.example", "-c", "dbsession.add(Tag(slug='kept', name='kept')); tm.commit()")
    assert shop.tags(shop.garden) == ["tag of garden.example", "kept"]
    assert shop.tags(shop.kitchen) == ["tag of host.example:8080/kitchen"]


def test_another_site_is_reached_on_purpose_only(shop: Shop) -> None:
    code = f"other = request.site_session('host.example:8080/kitchen'); {NAMES.replace('dbsession', 'other')}"
    assert shop.prints("garden.example", "-c", code) == "['tag of host.example:8080/kitchen']\n"
    code = f"from multisite import using_site\nwith using_site({shop.kitchen.id}): dbsession.scalars(sa.select(Tag))"
    result = shop.invoke("garden.example", "-c", f"{NAMES}\n{code}")
    assert result.exit_code == 1
    assert "CrossSiteError: this session is pinned to garden.example" in result.stderr


def test_the_traceback_of_code_begins_with_its_own_first_line(shop: Shop) -> None:
    result = shop.invoke("garden.example", "-c", "\n1 / 0")
    assert (result.exit_code, result.stdout) == (1, "")
    first, place, *_, last = result.stderr.splitlines()
    assert (first, place, last) == (
        "Traceback (most recent call last):",
        '  File "<string>", line 2, in <module>',
        "ZeroDivisionError: division by zero",
    )
    assert "SyntaxError" in shop.invoke("garden.example", "-c", "1 +").stderr
    assert shop.invoke("garden.example", "-c", "raise SystemExit(3)").exit_code == 3
    assert current_site() is None


def test_a_shell_for_a_disabled_site_prints_a_notice(shop: Shop) -> None:
    disable_site(shop.engine, "garden.example")
    result = shop.invoke("garden.example", "-c", NAMES)
    assert result.stdout == "['tag of garden.example']\n"
    assert result.stderr == (
        "garden.example is not open to visitors (disabled): "
        "bring it back online with 'multisite enable-site garden.example'\n"
    )


def test_no_such_site(shop: Shop) -> None:
    result = shop.invoke("nowhere.example", "-c", "print('run')")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: no site is known as 'nowhere.example'")


def test_the_set_up_of_the_application_is_run_for_the_site(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins a transaction itself, like the cookiecutter's; a second one would fail."""
    shop.ini.write_text(shop.ini.read_text("utf-8").replace("multisite.cli.pshell.setup", "own_setup.setup"), "utf-8")
    (shop.ini.parent / "own_setup.py").write_text(
        "def setup(env):\n"
        "    env['request'].tm.begin()\n"
        "    env['greeting'] = f'Hello from {env[\"request\"].site.host}'\n"
        "    yield\n"
        "    env['request'].tm.abort()\n",
        "utf-8",
    )
    monkeypatch.syspath_prepend(shop.ini.parent)
    assert shop.prints("garden.example", "-c", f"print(greeting); {NAMES}") == (
        "Hello from garden.example\n['tag of garden.example']\n"
    )


def test_an_interactive_shell_is_a_python_shell(shop: Shop) -> None:
    """The shell that pshell chooses; it explains its namespace, and the site is current until it ends."""
    code = (
        "import sys\n"
        "from multisite.directory import engine_from_url\n"
        "from multisite.directory.records import get_site\n"
        "from multisite.cli.pshell import run\n"
        f"site = get_site(engine_from_url({str(shop.engine.url)!r}), 'garden.example').site\n"
        f"sys.exit(run({str(shop.ini)!r}, site))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input="print('in the shell of', site)\n", capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "in the shell of garden.example" in done.stdout
    assert "site         garden.example" in done.stderr


def test_pshell_is_pinned_to_the_site_in_the_environment(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str | None, list[str] | None]] = []

    def shell(env: dict[str, object], _help: str) -> None:
        site = current_site()
        names = env["dbsession"].scalars(sa.select(Tag.name)).all() if "dbsession" in env else None  # type: ignore[attr-defined]
        seen.append((site and site.domain, names))

    for host in ("garden.example", "host.example:8080/kitchen", ""):
        monkeypatch.setenv("MULTISITE_SITE", host)
        PShellCommand(["pshell", str(shop.ini)], quiet=True).run(shell)
        assert current_site() is None
    assert seen == [
        ("garden.example", ["tag of garden.example"]),
        ("host.example:8080/kitchen", ["tag of host.example:8080/kitchen"]),
        (None, None),
    ]
    monkeypatch.setenv("MULTISITE_SITE", "nowhere.example")
    with pytest.raises(UnknownSite, match="MULTISITE_SITE names"):
        PShellCommand(["pshell", str(shop.ini)], quiet=True).run(shell)


def test_the_function_behind_the_command_runs_any_shell(shop: Shop) -> None:
    found: dict[str, object] = {}
    assert run(str(shop.ini), shop.garden, lambda env, _help: found.update(site=env["site"])) == 0
    assert found == {"site": shop.garden}


def test_the_help_loads_no_application(shop: Shop) -> None:
    code = (
        "import sys, json\nfrom multisite.cli import main\n"
        "try: main(['shell', '--help'], prog_name='multisite')\n"
        "except SystemExit: pass\n"
        "print(json.dumps([name for name in ('pyramid', 'sqlalchemy', 'mako') if name in sys.modules]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_no_site_stays_current_afterwards(shop: Shop) -> None:
    with using_site(shop.kitchen):
        shop.prints("garden.example", "-c", "pass")
        assert current_site() is shop.kitchen
