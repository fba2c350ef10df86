"""The applications of one process are isolated: folders, names in logs, and tables; they may share resources."""

from __future__ import annotations

import logging
import logging.config
import os
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from vhosting import World, ask

from multisite.core.application import current_application
from multisite.vhosts.folders import first_clash, own_folders, writable_folders
from multisite.vhosts.ini import VhostError
from multisite.vhosts.logs import ApplicationFilter, ApplicationFormatter

PAIR = """
    [composite:main]
    use = egg:pyramid-multisite#vhosts
    domain one.example / = one
    domain two.example / = two
    {more}
    [app:one]
    use = call:PREFIX_echo:main
    me = one
    {one}
    [app:two]
    use = call:PREFIX_echo:main
    me = two
    {two}
"""


def settings_of(app: Any, name: str) -> dict[str, Any]:
    settings: dict[str, Any] = app.applications[name].get().settings
    return settings


# Folders


def test_each_application_gets_its_own_folders_unless_it_sets_them(world: World) -> None:
    root = world.folder / "var"
    text = PAIR.format(more=f"vhosts.root = {root}", one="data_dir = %(here)s/mine", two="")
    app = world.load(text)
    one, two = settings_of(app, "one"), settings_of(app, "two")
    assert one["data_dir"] == str(world.folder / "mine")
    assert two["data_dir"] == str(root / "two" / "data")
    assert one["cache_dir"] == str(root / "one" / "cache")
    assert two["mako.module_directory"] == str(root / "two" / "mako")
    assert Path(two["mako.module_directory"]).is_dir()
    assert set(settings_of(world.load(PAIR.format(more="", one="", two="")), "one")) == {"me"}


def test_a_factory_gets_the_settings_it_accepts(world: World) -> None:
    world.module(
        "few",
        """
        def main(global_conf, data_dir=None):
            def app(environ, start_response):
                start_response("200 OK", [])
                return [(data_dir + environ.get("added", "")).encode()]
            return app

        def none(global_conf):
            return main(global_conf, "none")

        def adds(app, global_conf):
            def filtered(environ, start_response):
                return app({**environ, "added": " filtered"}, start_response)
            return filtered
        """,
    )
    app = world.load(
        """
        [composite:main]
        use = egg:pyramid-multisite#vhosts
        vhosts.root = var
        / = none
        /pipe = pipe
        /filtered = filtered
        /with = with
        /nested = nested
        [app:few]
        use = call:PREFIX_few:main
        [app:none]
        use = call:PREFIX_few:none
        [filter:adds]
        paste.filter_app_factory = PREFIX_few:adds
        [pipeline:pipe]
        pipeline = adds few
        [filter-app:filtered]
        paste.filter_app_factory = PREFIX_few:adds
        next = few
        [app:with]
        use = call:PREFIX_few:main
        filter-with = adds
        [composite:nested]
        use = egg:pyramid-multisite#vhosts
        / = none
        """
    )
    here = Path.cwd()
    assert ask(app, "//x.example/").text == "none"
    assert ask(app, "//x.example/nested").text == "none"
    for name in ("pipe", "filtered", "with"):
        assert ask(app, f"//x.example/{name}").text == f"{here}/var/{name}/data filtered"
    for name in ("none", "pipe", "filtered", "with", "nested"):
        for folder in (here / "var" / name).glob("*"):
            folder.rmdir()
    for folder in (here / "var").glob("*"):
        folder.rmdir()


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


SAME = re.compile(r"\[app:one\] by '(\S+) = .*' and \[app:two\] by '(\S+) = .*' are set to the same folder: give each")


@pytest.mark.parametrize("lazy", ["true", "false"])
@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("data_dir = {}/d", "data_dir = {}/d"),
        ("data_dir = {}/d", "data_dir = {}/./e/../d/"),
        ("data_dir = {}/real", "data_dir = {}/link"),
        ("data_dir = {}/real/x", "cache_dir = {}/link/x"),
        ("mako.module_directory = {}/m", "mako.module_directory = {}/m"),
        ("session.data_dir = {}/m", "data_dir = m"),
    ],
)
def test_two_applications_with_the_same_folder_are_refused(world: World, lazy: str, one: str, two: str) -> None:
    (world.folder / "real").mkdir()
    (world.folder / "link").symlink_to("real")
    here = str(world.folder)
    with pytest.raises(VhostError, match=SAME) as raised:
        world.load(PAIR.format(more=f"vhosts.lazy = {lazy}", one=one.format(here), two=two.format(here)))
    assert re.search(r"site\.ini, line \d+, \[app:two\]: ", str(raised.value))
    assert f"{world.prefix}_echo" not in sys.modules


@pytest.mark.parametrize(
    ("more", "one", "two", "message"),
    [
        ("", "data_dir = %(here)s/d", "data_dir = %(here)s/d/cache", "are set to a folder and one within it"),
        ("vhosts.root = %(here)s/v", "data_dir = %(here)s/v/two/cache", "", "'cache_dir = "),
        ("[DEFAULT]\n    cache_dir = %(here)s/c", "", "", "'cache_dir = "),
        ("", "use = base", "use = base", "'data_dir = "),
        (
            "",
            "sqlalchemy.url = sqlite:///a\n    multisite.sites_dir = sites",
            "sqlalchemy.url = sqlite:///b\n    multisite.sites_dir = sites",
            "'multisite.sites_dir = ",
        ),
        (
            "",
            "sqlalchemy.url = sqlite:///a\n    multisite.snapshot = known",
            "sqlalchemy.url = sqlite:///b\n    multisite.snapshot = known",
            "'multisite.snapshot = ",
        ),
    ],
)
def test_less_obvious_clashes_are_refused(world: World, more: str, one: str, two: str, message: str) -> None:
    text = PAIR.format(more=more, one=one, two=two)
    if "base" in one:
        text = text.replace("    use = call:PREFIX_echo:main\n", "")
    text += "\n    [app:base]\n    use = call:PREFIX_echo:main\n    data_dir = %(here)s/base\n"
    with pytest.raises(VhostError, match=re.escape(message)):
        world.load(text)


def test_applications_of_one_database_may_share(world: World) -> None:
    same = "sqlalchemy.url = sqlite:///a\n    multisite.sites_dir = sites\n    multisite.snapshot = sites/known"
    world.load(PAIR.format(more="", one=same, two=same))
    own = "data_dir = d\n    multisite.sites_dir = d/sites\n    multisite.snapshot = d/known"
    world.load(PAIR.format(more="", one=own, two=""))
    world.load(PAIR.format(more="", one="data_dir = d\n    cache_dir = d", two="data_dir = dd"))
    world.load(PAIR.format(more="vhosts.root = v", one="", two=""))


def test_no_application_name_escapes_the_root() -> None:
    for name in ("..", ".", "../x", "config:/etc/x.ini#main", "a b", "ä"):
        for folder in own_folders(Path("/root"), name).values():
            assert Path(os.path.normpath(folder)).parent.parent == Path("/root"), name


def test_finding_a_clash_takes_linear_time() -> None:
    claims = [claim for n in range(2000) for claim in writable_folders(f"app{n}", own_folders(Path("/v"), f"app{n}"))]
    assert first_clash(claims) is None
    again = list(writable_folders("other", {"data_dir": "/v/app1999/data"}))
    clash = first_clash(claims + again)
    assert clash is not None
    assert {each.application for each in clash} == {"app1999", "other"}


# Logs


SPEAKING = """
    import logging, threading
    log = logging.getLogger("common")
    log.warning("imported")

    def main(global_conf, **settings):
        log.warning("made")

        def app(environ, start_response):
            log.warning("asked")
            start_response("200 OK", [])

            def body():
                log.warning("sending")
                yield b"x"
                log.warning("sent")
            return body()
        return app
"""

LOGGED = """
    [loggers]
    keys = root
    [handlers]
    keys = file
    [formatters]
    keys = plain
    [logger_root]
    level = WARNING
    handlers = file
    [handler_file]
    class = FileHandler
    args = ("log",)
    formatter = plain
    [formatter_plain]
    class = multisite.vhosts.logs.ApplicationFormatter
    format = [%(application)s] %(message)s
"""


@pytest.fixture
def _handlers() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    for handler in set(root.handlers) - set(before):
        handler.close()
    root.handlers[:], root.level = before, level


@pytest.mark.usefixtures("_handlers")
def test_each_record_names_its_application(world: World) -> None:
    world.module("speaking", SPEAKING)
    text = PAIR.format(more="vhosts.lazy = true", one="", two="").replace("PREFIX_echo", "PREFIX_speaking")
    ini = world.ini(text + LOGGED)
    logging.config.fileConfig(ini, {"here": str(world.folder)}, disable_existing_loggers=False)
    app = world.load(text + LOGGED)
    logging.getLogger("server").warning("begins")
    assert ask(app, "//one.example/").text == "x"
    assert ask(app, "//two.example/").text == "x"
    logging.getLogger("server").warning("ends")
    assert (world.folder / "log").read_text("utf-8").splitlines() == [
        "[-] begins", "[one] imported", "[one] made", "[one] asked", "[one] sending", "[one] sent",
        "[two] made", "[two] asked", "[two] sending", "[two] sent", "[-] ends",
    ]  # fmt: skip
    assert current_application.get() is None


def test_the_filter_names_it_too_and_the_first_name_is_kept() -> None:
    record = logging.LogRecord("x", logging.INFO, "f", 1, "hello", None, None)
    token = current_application.set("one")
    assert ApplicationFilter().filter(record)
    current_application.reset(token)
    # Another thread, like that of a QueueListener, formats it without a current application.
    formatted: list[str] = []
    formatter = ApplicationFormatter("%(application)s %(message)s")
    thread = threading.Thread(target=lambda: formatted.append(formatter.format(record)))
    thread.start()
    thread.join()
    assert formatted == ["one hello"]
    assert not ApplicationFilter("elsewhere").filter(record)


# Shared resources


RESOURCES = """
    made = []

    class Client:
        def __init__(self, url="none", **more):
            if url == "bad":
                raise OSError("refused")
            made.append(url)
            self.url = url
"""


def test_applications_share_the_resources_of_the_section(world: World) -> None:
    world.module("resources", RESOURCES)
    text = """
    [multisite:shared]
    sqlalchemy.url = sqlite:///%(here)s/shared.db
    sqlalchemy.pool_size = 3
    search = PREFIX_resources:Client
    search.url = http://127.0.0.1:7700
    queue = PREFIX_resources.Client
    """
    app = world.load(PAIR.format(more="", one="", two="") + text)
    one, two = settings_of(app, "one"), settings_of(app, "two")
    assert one["shared.engine"] is two["shared.engine"]
    assert one["shared.engine"].pool.size() == 3
    assert one["shared.search"] is two["shared.search"]
    assert one["shared.search"].url == "http://127.0.0.1:7700"
    assert one["shared.queue"] is not one["shared.search"]
    with one["shared.engine"].connect() as connection:
        assert connection.scalar(sa.text("SELECT 1")) == 1
    one["shared.engine"].dispose()


def test_a_broken_resource_breaks_only_its_users_and_is_retried(world: World, caplog: pytest.LogCaptureFixture) -> None:
    resources = world.module("resources", RESOURCES)
    world.module(
        "plain", "def main(global_conf):\n    from wsgiref.simple_server import demo_app\n    return demo_app\n"
    )
    text = PAIR.format(more="vhosts.retry_seconds = 0", one="", two="")
    text = text.replace("use = call:PREFIX_echo:main\n    me = two", "use = call:PREFIX_plain:main")
    app = world.load(text + "\n    [multisite:shared]\n    search = PREFIX_resources:Client\n    search.url = bad\n")
    assert ask(app, "//two.example/").status == 200
    assert ask(app, "//one.example/").status == 503
    assert re.search(
        r"\[app:one\] cannot be loaded: VhostError: \S+site.ini, line \d+, \[multisite:shared\]: "
        r"the shared resource 'search' cannot be made \(OSError: refused\)",
        caplog.text,
    )
    sys.modules[resources].Client.__init__ = lambda self, url: None
    assert ask(app, "//one.example/").status == 200


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("search = not a name", "expected a dotted name to call"),
        ("serach.url = x", "'serach.url' is an option of 'serach', which no line defines"),
        ("sqlalchemy.url = sqlite://\n    engine = some.where:engine", "sqlalchemy.url already creates an engine"),
    ],
)
def test_an_invalid_shared_resource_is_reported(world: World, line: str, message: str) -> None:
    with pytest.raises(VhostError, match=rf"line \d+, \[multisite:shared\]: .*{message}"):
        world.load(PAIR.format(more="", one="", two="") + f"\n    [multisite:shared]\n    {line}\n")


# Tables


META = "from sqlalchemy.orm import DeclarativeBase\nclass Base(DeclarativeBase):\n    pass\n"

MODEL = """
    from sqlalchemy.orm import Mapped, mapped_column
    from PREFIX_{meta} import Base
    import PREFIX_echo

    class User(Base):
        __tablename__ = "vhost_users"
        id: Mapped[int] = mapped_column(primary_key=True)

    main = PREFIX_echo.main
"""


def two_models(world: World, metas: tuple[str, str]) -> Any:
    for meta in {*metas}:
        world.module(meta, META)
    for name, meta in zip(("one", "two"), metas, strict=True):
        world.module(f"{name}_models", MODEL.format(meta=meta))
    text = PAIR.format(more="vhosts.retry_seconds = 0", one="", two="")
    for name in ("one", "two"):
        text = text.replace("PREFIX_echo:main", f"PREFIX_{name}_models:main", 1)
    return world.load(text)


def test_two_applications_that_declare_the_same_table_are_both_named(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    app = two_models(world, ("meta", "meta"))
    assert ask(app, "//one.example/").status == 200
    assert ask(app, "//two.example/").status == 503
    assert (
        "[app:two] cannot be loaded: it declares the table 'vhost_users', which [app:one] has declared on the same "
        f"MetaData ({world.prefix}_one_models.User): give each application a declarative Base of its own"
    ) in caplog.text


def test_applications_with_their_own_metadata_may_declare_the_same_table(world: World) -> None:
    app = two_models(world, ("meta_one", "meta_two"))
    assert ask(app, "//one.example/").status == 200
    assert ask(app, "//two.example/").status == 200


@pytest.mark.filterwarnings("ignore:This declarative base already contains a class")
def test_a_table_left_behind_by_a_failed_attempt_is_reported(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.module("meta", META)
    world.module("one_models", MODEL.format(meta="meta") + "\n    raise OSError('further down')\n")
    text = PAIR.format(more="vhosts.retry_seconds = 0", one="", two="")
    app = world.load(text.replace("PREFIX_echo:main", "PREFIX_one_models:main", 1))
    assert "OSError: further down" in caplog.text
    assert ask(app, "//one.example/").status == 503
    assert "which its previous attempt declared already: restart" in caplog.text
