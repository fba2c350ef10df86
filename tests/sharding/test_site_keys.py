"""Keys as a distributed database has them, on one PostgreSQL: what the pages of the reference application send.

`MULTISITE_TEST_KEYS=site` runs any other test in that shape (`tests/support/site_keys.py`).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from console_world import console_sites, log_in_to_console
from content_sites import ContentSites
from databases import fresh_postgresql
from editor_sites import add_user, change, log_in, write
from paths import PYTHONPATH, ROOT
from site_keys import statements_without_site, swap_keys

from multisite.content.tables import Base
from multisite.core.keys import DIRECTORY
from multisite.testing.distributable import refuse_undistributable

HOST = "garden.example"
OTHER = "sternwarte.example"


@pytest.fixture(scope="module")
def sites(postgresql_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContentSites]:
    """The reference application with the console, with such keys."""
    with (
        fresh_postgresql(postgresql_url) as url,
        console_sites(url, tmp_path_factory.mktemp("sites")) as made,
        made.engine.begin() as connection,
    ):
        swap_keys(connection)
        connection.commit()
        yield made


def scoped_tables() -> set[str]:
    return {name for name, table in Base.metadata.tables.items() if "site_id" in table.c}


def test_every_table_of_a_site_has_the_site_in_its_key(sites: ContentSites) -> None:
    keys = sa.inspect(sites.engine)
    found = {name: keys.get_pk_constraint(name)["constrained_columns"] for name in scoped_tables()}
    assert len(found) > 10
    assert [name for name, columns in found.items() if columns[0] != "site_id"] == []


@refuse_undistributable()
def test_each_statement_of_each_page_names_the_site_of_each_table(sites: ContentSites) -> None:
    sent: list[str] = []
    engine = sites.app.registry[DIRECTORY].engine

    def record(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    for host in (HOST, OTHER):
        add_user(sites, sites.garden if host == HOST else sites.sternwarte, "anna", "owner")
    console = log_in_to_console(sites, "olga", "everything")
    sa.event.listen(engine, "before_cursor_execute", record)
    try:
        addresses = {}
        for host in (HOST, OTHER):
            browser = log_in(sites, host, "anna")
            addresses[host] = write(browser, title=f"Leaf mould of {host}", tags="Soil, Trees")
            change(browser, addresses[host], body=f"Rake them at {host}.")
            for path in ("/", "/archive", "/tags/soil", "/search?q=mould", "/feed.xml", "/sitemap.xml", "/missing",
                         "/edit/", "/edit/users", "/edit/media", "/edit/menu", "/edit/settings", "/logout",
                         addresses[host], f"{addresses[host]}/revisions"):  # fmt: skip
                response = browser.get(path, status="*")
                assert response.status_int in (200, 404), (path, response.status_int)
                other = OTHER if host == HOST else HOST
                assert f"Leaf mould of {other}" not in response.text, path
        for path in ("/", f"/sites/{sites.garden.id}", f"/sites/{sites.garden.id}/users", "/log", "/jobs"):
            assert console.get(path).status_int == 200
    finally:
        sa.event.remove(engine, "before_cursor_execute", record)
    scoped = [each for each in sent if any(name in each for name in scoped_tables())]
    assert len(scoped) > 100
    assert statements_without_site(sorted(set(scoped)), scoped_tables()) == []


@pytest.mark.parametrize(
    ("statement", "names_all"),
    [
        ("SELECT entries.id FROM entries WHERE entries.site_id = 1", True),
        ("SELECT e.id FROM entries AS e WHERE e.site_id = 1", True),
        ("SELECT entries.id FROM entries WHERE entries.id = 1", False),
        ("SELECT 1 FROM entries JOIN tags AS t ON t.id = entries.id WHERE entries.site_id = 1", False),
        ("SELECT 1 FROM entries, tags AS t WHERE entries.site_id = 1", False),
        ("SELECT 1 FROM entries, tags AS t WHERE entries.site_id = 1 AND t.site_id = 1", True),
        ("UPDATE entries SET title = '' WHERE entries.id = 1", False),
        ("DELETE FROM entries WHERE entries.site_id = 1", True),
        ("INSERT INTO entries (title) VALUES ('')", False),
        ("INSERT INTO entries (title, site_id) VALUES ('', 1)", True),
        ("SELECT 1 FROM sites", True),
    ],
)
def test_a_statement_that_does_not_name_the_site_is_found(statement: str, names_all: bool) -> None:
    assert (statements_without_site([statement], scoped_tables()) == []) is names_all


SUITES = ("tests/scoping/test_scoping_corners.py", "tests/content/test_entries.py")
WHOLE_SUITES = ("tests/scoping", "tests/content", "tests/caching", "tests/sites/test_removal.py")


@pytest.mark.slow
@pytest.mark.parametrize("suites", [pytest.param(SUITES, marks=pytest.mark.soak, id="part"),
                                    pytest.param(WHOLE_SUITES, marks=pytest.mark.soak, id="whole")])  # fmt: skip
def test_the_suites_pass_with_such_keys(suites: tuple[str, ...]) -> None:
    environ = {**os.environ, "PYTHONPATH": PYTHONPATH, "MULTISITE_TEST_KEYS": "site"}
    environ.pop("MULTISITE_SOAK", None)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "postgresql", *suites]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:]
