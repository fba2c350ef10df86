"""The listeners that a request's session is given at once: those that SQLAlchemy would give it one by one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import Session

from multisite import Site
from multisite.web import dbsession
from multisite.web.dbsession import RequestSession

GARDEN = Site(1, "garden.example", "Garden", "garden.example")


@pytest.fixture
def engine() -> Iterator[sa.Engine]:
    engine = sa.create_engine("sqlite://")
    yield engine
    engine.dispose()


def slow_session(engine: sa.Engine) -> RequestSession:
    """Return a session whose listeners SQLAlchemy looks up."""
    session = RequestSession.__new__(RequestSession)
    Session.__init__(session, engine, info={"site": GARDEN})
    return session


def test_the_listeners_are_those_that_sqlalchemy_finds(engine: sa.Engine) -> None:
    fast, slow = RequestSession(engine, info={"site": GARDEN}), slow_session(engine)
    for name in dbsession._EVENTS:
        assert getattr(fast.dispatch, name) is getattr(slow.dispatch, name), name


def test_a_listener_of_one_session_is_not_called_for_another(engine: sa.Engine) -> None:
    fast, other, slow = (RequestSession(engine, info={"site": GARDEN}) for _ in range(3))
    called: list[Any] = []
    for session in (fast, slow):
        event.listen(session, "after_transaction_end", lambda session, _transaction: called.append(session))
    for session in (fast, other, slow):
        session.begin()
        session.rollback()
    assert called == [fast, slow]


def test_a_listener_of_the_class_that_comes_later_is_called(engine: sa.Engine) -> None:
    session = RequestSession(engine, info={"site": GARDEN})
    called: list[Any] = []

    def note(session: Session, transaction: Any) -> None:
        called.append(session)

    event.listen(RequestSession, "after_transaction_end", note)
    try:
        session.begin()
        session.rollback()
    finally:
        event.remove(RequestSession, "after_transaction_end", note)
    assert called == [session]


def test_an_event_that_sqlalchemy_does_not_have_is_left_out(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dbsession, "_EVENTS", (*dbsession._EVENTS, "no_such_event"))
    with RequestSession(engine, info={"site": GARDEN}) as session:
        assert session.dispatch.after_begin is slow_session(engine).dispatch.after_begin
        session.begin()
