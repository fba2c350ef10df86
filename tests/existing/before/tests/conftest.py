"""One database for the run, one session for the test, which every request of the test shares and which rolls back."""

import alembic.command
import alembic.config
import pytest
import transaction
import webtest
from pyramid.paster import get_appsettings
from pyramid.scripting import prepare
from pyramid.testing import DummyRequest

from myapp import main, models
from myapp.models.meta import Base

INI = "testing.ini"


@pytest.fixture(scope="session")
def app_settings():
    return get_appsettings(INI)


@pytest.fixture(scope="session")
def dbengine(app_settings):
    engine = models.get_engine(app_settings)
    config = alembic.config.Config(INI)
    Base.metadata.drop_all(bind=engine)
    alembic.command.stamp(config, "base", purge=True)
    alembic.command.upgrade(config, "head")
    yield engine
    Base.metadata.drop_all(bind=engine)
    alembic.command.stamp(config, "base", purge=True)


@pytest.fixture(scope="session")
def app(app_settings, dbengine):
    return main({}, dbengine=dbengine, **app_settings)


@pytest.fixture
def tm():
    tm = transaction.TransactionManager(explicit=True)
    tm.begin()
    tm.doom()
    yield tm
    tm.abort()


@pytest.fixture
def dbsession(app, tm):
    session_factory = app.registry["dbsession_factory"]
    return models.get_tm_session(session_factory, tm)


@pytest.fixture
def testapp(app, tm, dbsession):
    environ = {"HTTP_HOST": "example.com", "tm.active": True, "tm.manager": tm, "app.dbsession": dbsession}
    return webtest.TestApp(app, extra_environ=environ)


@pytest.fixture
def app_request(app, tm, dbsession):
    with prepare(registry=app.registry) as env:
        request = env["request"]
        request.host = "example.com"
        request.dbsession = dbsession
        request.tm = tm
        yield request


@pytest.fixture
def dummy_request(tm, dbsession):
    request = DummyRequest()
    request.host = "example.com"
    request.dbsession = dbsession
    request.tm = tm
    return request
