"""Around SQLAlchemy's statements: requests of a Pyramid application, what outlives them, and caches of objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

from dogpile.cache import make_region
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response
from scoped_models import Book
from sqlalchemy import select, text
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import DetachedInstanceError
from waitress_server import serving
from webtest import TestApp

from attack_catalogue import Place, add, gone, nothing, own, refused, way
from attack_catalogue.connections import books, read, secret
from attack_catalogue.models import Slip
from attack_catalogue.sessions import plain_read
from multisite import CrossSiteError, NoCurrentSite, UnscopedStatement, using_site
from multisite.core.keys import DIRECTORY


def application(p: Place, view: Callable[[Request], Any]) -> Any:
    """Return a Pyramid application with one view, at /page/ for its sites and at /open/ for nobody's."""
    config = Configurator(settings={"multisite.open_paths": "/open/", "multisite.refresh_seconds": "0"})
    config.include("multisite")
    config.set_multisite_engine(p.engine)

    def dbsession(request: Request) -> Session:
        from multisite.web.dbsession import RequestSession

        session = RequestSession(p.engine, info={"request": request}, expire_on_commit=False)
        p.stack.callback(session.close)
        return session

    config.add_request_method(dbsession, reify=True)
    config.add_route("all", "/{where}/")
    config.add_view(view, route_name="all")
    app = config.make_wsgi_app()
    p.stack.callback(app.registry[DIRECTORY].deactivate)
    return app


def request_to(p: Place) -> tuple[str, str]:
    """Return the path and the host that a visitor of the site, or of none, asks for."""
    return ("/page/", p.site.host) if p.site else ("/open/", "nowhere.example")


def requested(view: Callable[[Request], Any]) -> Callable[[Place], Any]:
    """Answer a request by `view`, which returns a response, or what becomes the text of one."""

    def act(p: Place) -> Any:
        late: list[Any] = []

        def as_response(request: Request) -> Response:
            request.late = late
            request.place = p
            found = view(request)
            return found if isinstance(found, Response) else Response(str(found))

        path, host = request_to(p)
        answer = TestApp(application(p, as_response)).get(path, headers={"Host": host})
        if late and isinstance(late[0], Exception):
            raise late[0]
        return [answer.text, late]

    return act


def read_late(request: Request, joins: bool = True) -> None:
    """Read, in a callback, by the session of the request, unless its transaction has ended, and by a new one for the
    request; keep what comes."""
    try:
        if joins:
            request.late.append(request.dbsession.scalars(secret).all())
        with Session(request.place.engine, info={"request": request}) as session:
            request.late.append(session.scalars(secret).all())
    except Exception as error:
        request.late.append(error)


def streamed(request: Request, *, new: bool) -> Response:
    def body() -> Iterator[bytes]:
        session = Session(request.place.engine, info={"request": request}) if new else request.dbsession
        with session:
            for found in session.scalars(secret):
                yield found.encode()

    return Response(app_iter=body())


def streaming_began(request: Request) -> Response:
    rows = request.place.opened(request=request).scalars(secret.execution_options(yield_per=1))
    return Response(app_iter=(found.encode() for found in rows))


def with_callback(kind: str) -> Callable[[Request], str]:
    def view(request: Request) -> str:
        getattr(request, f"add_{kind}_callback")(read_late if kind == "finished" else lambda r, _: read_late(r))
        return ""

    return view


def after_commit(request: Request) -> str:
    request.dbsession.scalars(secret).all()
    request.tm.get().addAfterCommitHook(lambda committed: read_late(request, False))
    return ""


def before_commit(request: Request) -> str:
    request.dbsession.scalars(secret).all()
    request.tm.get().addBeforeCommitHook(lambda: read_late(request))
    return ""


def in_pool(request: Request) -> str:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(read_late, request).result()
    return ""


def subrequest(request: Request) -> str:
    """A request within the request, for another host: it has rows of its own, and the outer one keeps its."""
    from pyramid.request import Request as NewRequest

    if request.params.get("inner"):
        return "inner"
    inner = NewRequest.blank("/page/?inner=1", headers={"Host": request.place.other.host})
    request.invoke_subrequest(inner, use_tweens=True)
    return str(request.dbsession.scalars(secret).all())


add(
    "side",
    own,
    {
        "request": requested(lambda request: request.dbsession.scalars(secret).all()),
        "request, session of its own": requested(lambda request: plain_read(request.place)),
        "request, plain connection": requested(lambda request: _read_plainly(request.place)),
        "request, streamed body": requested(lambda request: streamed(request, new=True)),
        "request, streamed body by its session": requested(lambda request: streamed(request, new=False)),
        "request, body that began before": requested(streaming_began),
        "request, response callback": requested(with_callback("response")),
        "request, finished callback": requested(with_callback("finished")),
        "request, after the commit": requested(after_commit),
        "request, before the commit": requested(before_commit),
        "request, thread pool": requested(in_pool),
        "request within a request": requested(subrequest),
        "request, over a socket": lambda p: _over_a_socket(p),
        "requests of two sites in turn": lambda p: _requests_in_turn(p),
        "request, session of the last request": lambda p: _outlives(p),
    },
)

# A second session has to be asked for with a site.
add(
    "side",
    own,
    {
        "request, second session": requested(lambda request: request.site_session(request.site).scalars(secret).all()),
    },
    without_site=None,
)

add(
    "side",
    refused(UnscopedStatement),
    {
        "request, text": requested(lambda request: request.dbsession.execute(text("SELECT secret FROM books")).all()),
    },
)

add(
    "side",
    refused(CrossSiteError),
    {
        "request, object of the last request added": lambda p: _object_of_last_request(p),
        "request, another session within another site": requested(lambda request: _request_within_another(request)),
    },
)


def _read_plainly(p: Place) -> Any:
    with p.engine.connect() as connection:
        return read(connection)


def _request_within_another(request: Request) -> Any:
    request.dbsession.scalars(secret).all()
    with using_site(request.place.other):
        return request.dbsession.scalars(secret).all()


def _over_a_socket(p: Place) -> Any:
    import http.client

    app = application(p, lambda request: _refusing(request))
    with serving(app) as (address, port):
        connection = http.client.HTTPConnection(address, port, timeout=60)
        path, host = request_to(p)
        connection.request("GET", path, headers={"Host": host, "Connection": "close"})
        answer = connection.getresponse().read().decode()
        connection.close()
    if answer == "refused":
        raise NoCurrentSite("the page")
    return answer


def _refusing(request: Request) -> Response:
    """Stream, in a thread of the server, after every tween has returned."""
    try:
        request.dbsession.scalars(secret).all()
    except NoCurrentSite:
        return Response("refused")

    def body() -> Iterator[bytes]:
        with Session(request.dbsession.get_bind(), info={"request": request}) as session:
            for found in session.scalars(secret):
                yield found.encode()

    return Response(app_iter=body())


def _requests_in_turn(p: Place) -> Any:
    app = TestApp(application(p, lambda request: Response(str(request.dbsession.scalars(secret).all()))))
    for _ in range(2):
        assert p.foreign in app.get("/page/", headers={"Host": p.other.host}).text
        path, host = request_to(p)
        answer = app.get(path, headers={"Host": host}).text
    return answer


def _outlives(p: Place) -> Any:
    """A session that a request has left behind goes on belonging to that request's site."""
    kept: list[Session] = []

    def view(request: Request) -> Response:
        kept.append(p.opened(request=request))
        kept[-1].scalars(secret).all()
        return Response("")

    path, host = request_to(p)
    TestApp(application(p, view)).get(path, headers={"Host": host})
    with closing(kept[0]) as session:
        return session.scalars(secret).all()


def _object_of_last_request(p: Place) -> Any:
    kept: list[Any] = []

    def view(request: Request) -> Response:
        if kept:
            request.dbsession.add(kept[0])
        else:
            kept.append(request.dbsession.scalars(select(Book)).first())
            request.dbsession.expunge_all()
        return Response("")

    app = TestApp(application(p, view))
    app.get("/page/", headers={"Host": p.other.host})
    path, host = request_to(p)
    if p.site is None:
        kept.clear()
    app.get(path, headers={"Host": host})


# -- caches of objects ------------------------------------------------------------------------------------------------


def cached_book(p: Place) -> Any:
    """Return a book out of a cache whose key does not hold the site, where another site has put its own."""
    region = make_region().configure("dogpile.cache.memory_pickle")

    @region.cache_on_arguments()
    def newest(name: str) -> Any:
        with Session(p.engine) as session:
            found = session.scalars(select(Book).order_by(Book.id.desc())).first()
            session.expunge_all()
            return found

    with using_site(p.other):
        newest("book")
    with p.within():
        return newest("book")


add(
    "side",
    refused(CrossSiteError),
    {
        "cached object of another site, added": lambda p: p.s.add(cached_book(p)),
        "cached object of another site, merged without a query": lambda p: p.s.merge(cached_book(p), load=False),
        "cached object of another site, merged": lambda p: p.s.merge(cached_book(p)),
    },
)
add(
    "side",
    gone(DetachedInstanceError),
    {
        "cached object of another site, loaded on": lambda p: cached_book(p).author.secret,
    },
    without_site=(DetachedInstanceError,),
)


@way("side", nothing, changes=True, commits=True)
def request_that_writes(p: Place) -> None:
    def view(request: Request) -> str:
        request.dbsession.execute(books.update().values(stock=6))
        request.dbsession.add(Slip(secret="new"))
        return ""

    requested(view)(p)
