"""A process that starts while the database is down serves the sites of a valid snapshot."""

from __future__ import annotations

import json
import logging
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from databases import closing_engine
from directories import Clock

from multisite.alembic.migrate import upgrade_own
from multisite.core.settings import Settings
from multisite.core.site import Site
from multisite.directory import Directory, Match, snapshot
from multisite.directory.models import AS_MULTISITE, SiteRow
from multisite.errors import DirectoryUnavailable, SettingError
from multisite.sites.availability import maintain_site
from multisite.sites.creation import add_site
from multisite.sites.domains import add_domain, remove_domain


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sites.snapshot"


@pytest.fixture
def started(database_url: str, file: Path, clock: Clock) -> Iterator[Callable[..., Directory]]:
    """Create directories like those of processes that have just started."""
    with closing_engine(database_url) as engine:
        yield lambda size=100: Directory(engine, snapshot=file, directory_size=size, clock=clock)


def write(directory: Directory) -> None:
    """Make the directory write its entries, as it does after a minute."""
    clock = directory._cache._clock
    assert isinstance(clock, Clock)
    clock.now += snapshot.WRITE_PAUSE_SECONDS
    directory._cache._snapshot._is_due = True  # type: ignore[union-attr]
    directory.find("nothing.example")
    settle(directory)


def settle(directory: Directory) -> None:
    """Wait until no thread queries the database or writes the file."""
    with directory._cache._refresh_lock:
        pass
    assert directory._cache._snapshot is not None
    if directory._cache._snapshot._writer is not None:
        directory._cache._snapshot._writer.join(60)


@contextmanager
def down(own_engine: sa.Engine) -> Iterator[None]:
    """Rename the tables inside the block, so that every query on them fails."""
    with own_engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE multisite_version RENAME TO gone")
    try:
        yield
    finally:
        with own_engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE gone RENAME TO multisite_version")


def test_a_process_started_during_an_outage_serves_the_most_recently_used_sites(
    own_engine: sa.Engine,
    add: Callable[..., Site],
    started: Callable[..., Directory],
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    site = add("a.example", aliases=["*.a.example"], name="Ä", locale="de", timezone="Europe/Berlin")
    other = add("b.example:8080", aliases=["b.example/shop", "b.example"])
    add_domain(own_engine, "a.example", "c.example", redirect=True)
    with own_engine.begin() as connection:
        mark = sa.update(SiteRow).where(SiteRow.id == other.id).values(copy_of="a.example")
        connection.execution_options(**AS_MULTISITE).execute(mark)
    until = datetime(2100, 1, 2, 3, 4, tzinfo=UTC)
    info, _word = maintain_site(own_engine, "b.example:8080", message="Back soon", until=until)
    before = started()
    asked = [
        *(("a.example", 80, "/"), ("x.y.a.example", 99, "/x"), ("c.example", 80, "/")),
        *(("b.example", 8080, "/shop"), ("b.example", 80, "/shop/x"), ("b.example", 80, "/")),
    ]
    answers = [before.find(*each) for each in asked]
    assert answers[0] == Match(site, "canonical")
    assert before.by_id(other.id) == info.site
    assert (answers[0].site.copy_of, info.site.copy_of) == (None, "a.example")
    write(before)
    with down(own_engine):
        clock.now += 1
        after = started()
        assert [after.find(*each) for each in asked] == answers
        assert after.by_id(other.id) == info.site
        assert after.resolve("a.example") == site
        for _ in range(3):
            with pytest.raises(DirectoryUnavailable):
                after.find("cold.example")
        with pytest.raises(DirectoryUnavailable):
            started_without = Directory(after.engine, clock=clock)
            started_without.find("a.example")
        clock.now += 600
        assert after.find("a.example") == Match(site, "canonical")
    served = [record for record in caplog.records if "are served from the snapshot" in record.getMessage()]
    assert len(served) == 1


def test_the_snapshot_is_not_used_once_the_database_has_answered(
    own_engine: sa.Engine, add: Callable[..., Site], started: Callable[..., Directory], clock: Clock
) -> None:
    add("a.example", aliases=["moved.example"])
    before = started()
    assert before.find("a.example")
    assert before.find("moved.example")
    write(before)
    with down(own_engine):
        after = started()
        assert after.find("moved.example")
    remove_domain(own_engine, "moved.example")
    clock.now += 1
    assert after.find("a.example")
    settle(after)
    assert after.find("moved.example") is None
    with down(own_engine):
        clock.now += 1000
        after.find("a.example")
        with pytest.raises(DirectoryUnavailable):
            after.find("moved.example")


def test_it_is_written_after_a_change_and_at_most_once_a_minute(
    add: Callable[..., Site], started: Callable[..., Directory], file: Path, clock: Clock
) -> None:
    directory = started()
    add("a.example")
    assert directory.find("a.example")
    settle(directory)
    assert not file.exists()
    clock.now += 60
    assert directory.find("a.example")
    settle(directory)
    assert '"a.example"' in file.read_text("utf-8")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 or os.name != "posix"
    file.unlink()
    for _ in range(200):
        clock.now += 1
        assert directory.find("a.example")
        settle(directory)
    assert not file.exists()  # Nothing was new.
    add("b.example")
    clock.now += 1
    assert directory.find("b.example")
    settle(directory)
    assert '"b.example"' in file.read_text("utf-8")
    file.unlink()
    add("c.example")
    clock.now += 59
    assert directory.find("c.example")
    settle(directory)
    assert not file.exists()
    clock.now += 1
    assert directory.find("c.example")
    settle(directory)
    assert '"c.example"' in file.read_text("utf-8")
    assert [each.name for each in file.parent.iterdir() if "snapshot" in each.name] == [file.name]


def test_processes_share_it_until_something_changes(
    own_engine: sa.Engine, add: Callable[..., Site], started: Callable[..., Directory], file: Path, clock: Clock
) -> None:
    for name in "abc":
        add(f"{name}.example")
    first, second = started(), started()
    assert first.find("a.example")
    write(first)
    assert second.find("b.example")
    write(second)
    assert '"a.example"' in file.read_text("utf-8")
    assert '"b.example"' in file.read_text("utf-8")
    small = started(size=2)
    assert small.find("c.example")
    write(small)
    assert len(file.read_text("utf-8").splitlines()) == 3
    assert '"c.example"' in file.read_text("utf-8")
    add("d.example")
    third = started()
    assert third.find("d.example")
    write(third)
    # No process has read the others since the change.
    assert len(file.read_text("utf-8").splitlines()) == 2


def test_the_snapshot_of_another_database_is_ignored(
    own_engine: sa.Engine,
    add: Callable[..., Site],
    started: Callable[..., Directory],
    file: Path,
    clock: Clock,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    add("a.example")
    first = started()
    assert first.find("a.example")
    write(first)
    # Configured by mistake, for instance in a copied ini file: the ids mean other sites.
    with closing_engine(f"sqlite:///{tmp_path / 'other.db'}") as other:
        directory = Directory(other, snapshot=file, clock=clock)
        with pytest.raises(DirectoryUnavailable):
            directory.find("a.example")
        assert f"the snapshot {file} is ignored: it belongs to another database" in caplog.text
        upgrade_own(other)
        clock.now += 60
        add_site(other, "b.example", settings=Settings(sites_dir=tmp_path / "b", templates_dir=tmp_path / "templates"))
        assert directory.find("b.example")
        write(directory)
    assert '"a.example"' not in file.read_text("utf-8")


def spoil(file: Path, damage: str) -> None:
    text = file.read_text("utf-8")
    head, _, body = text.partition("\n")
    changed = {
        "cut off": lambda: text[:-3],
        "empty": lambda: "",
        "no JSON": lambda: "\x00\xff" + text,
        "changed": lambda: text.replace('"a.example"', '"b.example"'),
        "no object": lambda: f"[]\n{body}",
        "nothing in it": lambda: "{}",
        "of another format": lambda: text.replace('"format": 3', '"format": 4'),
        "of another code": lambda: json.dumps({**json.loads(head), "site": ["id"]}) + "\n" + body,
    }
    if damage in changed:
        file.write_text(changed[damage](), "utf-8")
    elif damage == "foreign":
        file.chmod(0o666)
    else:
        file.unlink()
        file.mkdir()


@pytest.mark.parametrize(
    "damage",
    [
        *("cut off", "empty", "no JSON", "changed", "no object", "nothing in it", "of another format"),
        *("of another code", "foreign", "a folder"),
    ],
)
def test_an_invalid_snapshot_is_ignored_with_one_log_record(
    damage: str,
    sqlite_database_url: str,
    tmp_path: Path,
    file: Path,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from databases import make_own_tables

    if damage == "foreign" and os.name != "posix":
        pytest.skip("others cannot be kept from writing here")
    settings = Settings(sites_dir=tmp_path / "sites", templates_dir=tmp_path / "templates")
    with closing_engine(sqlite_database_url) as engine:
        make_own_tables(engine)
        add_site(engine, "a.example", settings=settings)
        directory = Directory(engine, snapshot=file, clock=clock)
        assert directory.find("a.example")
        write(directory)
        with down(engine):
            good, bad = (Directory(engine, snapshot=file, clock=clock) for _ in range(2))
            assert good.find("a.example")
            spoil(file, damage)
            caplog.clear()
            for _ in range(3):
                with pytest.raises(DirectoryUnavailable):
                    bad.find("a.example")
        lines = [record for record in caplog.records if "snapshot" in record.getMessage()]
        assert len(lines) == 1
        assert lines[0].levelno == logging.ERROR
        assert "\n" not in lines[0].getMessage()


def test_a_failing_write_is_logged_once_and_breaks_nothing(
    own_engine: sa.Engine,
    add: Callable[..., Site],
    started: Callable[..., Directory],
    file: Path,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    add("a.example")
    directory = started()
    file.mkdir()
    for _ in range(3):
        assert directory.find("a.example")
        write(directory)
    lines = [record.getMessage() for record in caplog.records if "snapshot" in record.getMessage()]
    assert len(lines) == 1
    assert "cannot be written: Is a directory" in lines[0]
    assert [each.name for each in file.parent.iterdir() if "snapshot" in each.name] == [file.name]


def test_a_missing_folder_is_rejected(sqlite_database_url: str, tmp_path: Path) -> None:
    expected = r"^multisite\.snapshot = .*gone/x: expected a file in an existing folder$"
    with closing_engine(sqlite_database_url) as engine, pytest.raises(SettingError, match=expected):
        Directory(engine, snapshot=tmp_path / "gone" / "x")
