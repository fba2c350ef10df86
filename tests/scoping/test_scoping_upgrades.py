"""Future releases of SQLAlchemy: if a name on which the scoping layer relies changes, the import fails at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from textwrap import dedent
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler

from multisite.core.site import Site
from multisite.errors import MultisiteError
from multisite.scoping import install, self_test

RELEASES: dict[str, tuple[str, str | None]] = {
    "as it is": ("", None),
    "claims of a FROM clause are never asked for": (
        "del SQLCompiler._compose_select_body",
        "does not let multisite limit statements to a site: SQLCompiler has no _compose_select_body",
    ),
    "a compiler is made without its class": (
        """
        def make(self, dialect, **kw):
            made = object.__new__(dialect.statement_compiler)
            made.__init__(dialect, self, **kw)
            return made
        ClauseElement._compiler = make
        """,
        "does not let multisite limit statements to a site: it makes this: SELECT multisite_self_test.id",
    ),
    "compiled statements are prepared elsewhere": (
        "prepare_elsewhere('_init_compiled')",
        "does not let multisite limit statements to a site: a statement on scoped tables needs a site",
    ),
    "strings are prepared elsewhere": (
        "prepare_elsewhere('_init_statement')",
        "a string for the driver is not refused",
    ),
    "DDL is prepared elsewhere": ("prepare_elsewhere('_init_ddl')", "DDL is not refused"),
    "the preparation has another name": (
        """
        DefaultExecutionContext._prepare = DefaultExecutionContext._init_compiled
        del DefaultExecutionContext._init_compiled
        """,
        "does not let multisite limit statements to a site",
    ),
    "merging has another name": (
        "del Session._merge",
        "lacks what multisite needs to limit statements to a site: type object 'Session' has no attribute '_merge'",
    ),
    "a name is not there any more": (
        "del sqlalchemy.sql.selectable.TableSample",
        "lacks what multisite needs to limit statements to a site: cannot import name 'TableSample'",
    ),
    "a closed session keeps its objects": (
        "Session.close = lambda self: self.rollback()",
        "a session that is closed keeps its identity map",
    ),
    "merging goes another way": (
        "leave_out(Session, '_merge')",
        "nothing in Session calls _merge",
    ),
    "errors go another way": (
        "leave_out(Connection, '_handle_dbapi_exception')",
        "nothing in Connection calls _handle_dbapi_exception",
    ),
    "defaults go another way": (
        "leave_out(DefaultExecutionContext, '_exec_default_clause_element')",
        "nothing in DefaultExecutionContext calls _exec_default_clause_element",
    ),
    "joins are made another way": ("leave_out(Join, 'get_referent')", "nothing in Join calls get_referent"),
}
"""What a release does differently, as Python, and what multisite says at its import; None if it works with it."""

SCRIPT = """
import json, os, sys
import sqlalchemy.sql.compiler
from functools import partial
from sqlalchemy.engine import Connection
from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.orm import Session
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.sql.selectable import Join

def prepare_elsewhere(name):
    original = getattr(DefaultExecutionContext, name).__func__
    execute = Connection._execute_context
    def execute_context(self, dialect, constructor, *args, **kw):
        if constructor == getattr(dialect.execution_ctx_cls, name):
            constructor = partial(original, dialect.execution_ctx_cls)
        return execute(self, dialect, constructor, *args, **kw)
    Connection._execute_context = execute_context

def leave_out(owner, name):
    for key, method in list(vars(owner).items()):
        function = getattr(method, "__func__", method)
        if name in getattr(getattr(function, "__code__", None), "co_names", ()):
            names = tuple("other" if each == name else each for each in function.__code__.co_names)
            function.__code__ = function.__code__.replace(co_names=names)

def meet(change):
    exec(change)
    try:
        import multisite.scoping
    except Exception as error:
        return [type(error).__name__, str(error)]

for name, change in json.load(sys.stdin).items():
    if (child := os.fork()) == 0:
        print(json.dumps([name, meet(change)]), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.fixture(scope="module")
def met(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str] | None]:
    """The error of multisite's import with each changed release, in a process that has not imported it before."""
    if not hasattr(os, "fork"):
        pytest.skip("each release is met in a fork of one process, which this system has not")
    script = tmp_path_factory.mktemp("script") / "meet.py"
    script.write_text(SCRIPT)
    changes = json.dumps({name: dedent(change) for name, (change, _) in RELEASES.items()})
    done = subprocess.run(
        [sys.executable, script], input=changes, cwd=script.parent, capture_output=True, text=True, check=True
    )
    return dict(json.loads(line) for line in done.stdout.splitlines())


@pytest.mark.parametrize("release", RELEASES)
def test_stops_at_a_release_that_it_cannot_work_with(met: dict[str, list[str] | None], release: str) -> None:
    says = RELEASES[release][1]
    if says is None:
        assert met[release] is None
    else:
        kind, message = met[release]
        assert kind == "MultisiteError"
        assert message.startswith(f"SQLAlchemy {sa.__version__} ")
        assert says in message


def test_the_trial_leaves_nothing_behind() -> None:
    from multisite.scoping.tables import tables

    before = set(tables.declared), set(tables.scoped)
    install.run_self_test()
    assert (tables.declared, tables.scoped) == before
    install.run_self_test()


def test_the_trial_does_not_depend_on_where_it_is_held() -> None:
    from multisite import all_sites, using_site

    with using_site(Site(3, "three.example", "", "")):
        install.run_self_test()
    with all_sites("test"):
        install.run_self_test()


def test_the_trial_notices_a_compiler_without_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SQLCompiler, "__new__", lambda cls, *args, **kwargs: object.__new__(cls))
    with pytest.raises(MultisiteError, match="does not let multisite limit"):
        install.run_self_test()
    # A statement that was compiled without limits is compiled again when it is executed.
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    driver: Any = engine.raw_connection()
    driver.executescript(self_test._CREATED)
    driver.close()
    with Session(engine, info={"site": Site(2, "two.example", "", "")}) as session:
        assert session.scalars(self_test._rows).all() == [2]
    engine.dispose()
