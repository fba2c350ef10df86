"""Attempts in requests of a Pyramid application, after a request, and with caches of objects."""

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

from attack_catalogue import Context, add, attempt, no_result, not_found, own_rows, refused
from attack_catalogue.connections import books, read, secret
from attack_catalogue.models import Slip
from attack_catalogue.sessions import plain_read
from multisite import CrossSiteError, NoCurrentSite, UnscopedStatement, using_site
from multisite.core.keys import DIRECTORY


def application(ctx: Context, view: Callable[[Request], Any]) -> Any:
    """Return a Pyramid application with one view, at /page/ for a site and at /open/ without one."""
    config = Configurator(settings={"multisite.open_paths": "/open/", "multisite.refresh_seconds": "0"})
    config.include("multisite")
    config.set_multisite_engine(ctx.engine)

    def dbsession(request: Request) -> Session:
        from multisite.web.dbsession import RequestSession

        session = RequestSession(ctx.engine, info={"request": request}, expire_on_commit=False)
        ctx.stack.callback(session.close)
        return session

    config.add_request_method(dbsession, reify=True)
    config.add_route("all", "/{where}/")
    config.add_view(view, route_name="all")
    app = config.make_wsgi_app()
    ctx.stack.callback(app.registry[DIRECTORY].deactivate)
    return app


def request_to(ctx: Context) -> tuple[str, str]:
    """Return the path and host of a request to the own site, or of one without a site."""
    return ("/page/", ctx.site.host) if ctx.site else ("/open/", "nowhere.example")


def requested(view: Callable[[Request], Any]) -> Callable[[Context], Any]:
    """Send a request to an application with `view`, which returns a response or its text."""

    def act(ctx: Context) -> Any:
        late: list[Any] = []

        def as_response(request: Request) -> Response:
            request.late = late
            request.ctx = ctx
            found = view(request)
            return found if isinstance(found, Response) else Response(str(found))

        path, host = request_to(ctx)
        answer = TestApp(application(ctx, as_response)).get(path, headers={"Host": host})
        if late and isinstance(late[0], Exception):
            raise late[0]
        return [answer.text, late]

    return act


def read_late(request: Request, joins: bool = True) -> None:
    """Read in a callback: by the session of the request, if `joins`, and by a new session for the request."""
    try:
        if joins:
            request.late.append(request.dbsession.scalars(secret).all())
        with Session(request.ctx.engine, info={"request": request}) as session:
            request.late.append(session.scalars(secret).all())
    except Exception as error:
        request.late.append(error)


def streamed(request: Request, *, new: bool) -> Response:
    def body() -> Iterator[bytes]:
        session = Session(request.ctx.engine, info={"request": request}) if new else request.dbsession
        with session:
            for found in session.scalars(secret):
                yield found.encode()

    return Response(app_iter=body())


def streaming_began(request: Request) -> Response:
    rows = request.ctx.open_session(request=request).scalars(secret.execution_options(yield_per=1))
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
    """Invoke a subrequest for another host: the outer request keeps its site."""
    from pyramid.request import Request as NewRequest

    if request.params.get("inner"):
        return "inner"
    inner = NewRequest.blank("/page/?inner=1", headers={"Host": request.ctx.other.host})
    request.invoke_subrequest(inner, use_tweens=True)
    return str(request.dbsession.scalars(secret).all())


add(
    "execution",
    own_rows,
    {
        "request": requested(lambda request: request.dbsession.scalars(secret).all()),
        "request, new session": requested(lambda request: plain_read(request.ctx)),
        "request, plain connection": requested(lambda request: _read_plainly(request.ctx)),
        "request, streamed body": requested(lambda request: streamed(request, new=True)),
        "request, streamed body by its session": requested(lambda request: streamed(request, new=False)),
        "request, streaming begun in the view": requested(streaming_began),
        "request, response callback": requested(with_callback("response")),
        "request, finished callback": requested(with_callback("finished")),
        "request, after the commit": requested(after_commit),
        "request, before the commit": requested(before_commit),
        "request, thread pool": requested(in_pool),
        "request within a request": requested(subrequest),
        "request, over a socket": lambda ctx: _over_a_socket(ctx),
        "requests of two sites in turn": lambda ctx: _requests_in_turn(ctx),
        "request, session of the last request": lambda ctx: _outlives(ctx),
    },
)

# `site_session` requires a site.
add(
    "execution",
    own_rows,
    {
        "request, second session": requested(lambda request: request.site_session(request.site).scalars(secret).all()),
    },
    without_site=None,
)

add(
    "execution",
    refused(UnscopedStatement),
    {
        "request, text": requested(lambda request: request.dbsession.execute(text("SELECT secret FROM books")).all()),
    },
)

add(
    "execution",
    refused(CrossSiteError),
    {
        "request, object of the last request added": lambda ctx: _object_of_last_request(ctx),
        "request, another session within another site": requested(lambda request: _request_within_another(request)),
    },
)


def _read_plainly(ctx: Context) -> Any:
    with ctx.engine.connect() as connection:
        return read(connection)


def _request_within_another(request: Request) -> Any:
    request.dbsession.scalars(secret).all()
    with using_site(request.ctx.other):
        return request.dbsession.scalars(secret).all()


def _over_a_socket(ctx: Context) -> Any:
    import http.client

    app = application(ctx, lambda request: _refusing(request))
    with serving(app) as (address, port):
        connection = http.client.HTTPConnection(address, port, timeout=60)
        path, host = request_to(ctx)
        connection.request("GET", path, headers={"Host": host, "Connection": "close"})
        answer = connection.getresponse().read().decode()
        connection.close()
    if answer == "refused":
        raise NoCurrentSite("the page")
    return answer


def _refusing(request: Request) -> Response:
    """Stream the body in a thread of the server, after every tween has returned."""
    try:
        request.dbsession.scalars(secret).all()
    except NoCurrentSite:
        return Response("refused")

    def body() -> Iterator[bytes]:
        with Session(request.dbsession.get_bind(), info={"request": request}) as session:
            for found in session.scalars(secret):
                yield found.encode()

    return Response(app_iter=body())


def _requests_in_turn(ctx: Context) -> Any:
    app = TestApp(application(ctx, lambda request: Response(str(request.dbsession.scalars(secret).all()))))
    for _ in range(2):
        assert ctx.other_secret in app.get("/page/", headers={"Host": ctx.other.host}).text
        path, host = request_to(ctx)
        answer = app.get(path, headers={"Host": host}).text
    return answer


def _outlives(ctx: Context) -> Any:
    """Use a session after its request: it still belongs to the site of that request."""
    kept: list[Session] = []

    def view(request: Request) -> Response:
        kept.append(ctx.open_session(request=request))
        kept[-1].scalars(secret).all()
        return Response("")

    path, host = request_to(ctx)
    TestApp(application(ctx, view)).get(path, headers={"Host": host})
    with closing(kept[0]) as session:
        return session.scalars(secret).all()


def _object_of_last_request(ctx: Context) -> Any:
    kept: list[Any] = []

    def view(request: Request) -> Response:
        if kept:
            request.dbsession.add(kept[0])
        else:
            kept.append(request.dbsession.scalars(select(Book)).first())
            request.dbsession.expunge_all()
        return Response("")

    app = TestApp(application(ctx, view))
    app.get("/page/", headers={"Host": ctx.other.host})
    path, host = request_to(ctx)
    if ctx.site is None:
        kept.clear()
    app.get(path, headers={"Host": host})


# -- caches of objects ------------------------------------------------------------------------------------------------


def cached_book(ctx: Context) -> Any:
    """Return a book from a cache whose keys do not contain the site, written by the other site."""
    region = make_region().configure("dogpile.cache.memory_pickle")

    @region.cache_on_arguments()
    def newest(name: str) -> Any:
        with Session(ctx.engine) as session:
            found = session.scalars(select(Book).order_by(Book.id.desc())).first()
            session.expunge_all()
            return found

    with using_site(ctx.other):
        newest("book")
    with ctx.using_site():
        return newest("book")


add(
    "execution",
    refused(CrossSiteError),
    {
        "cached object of another site, added": lambda ctx: ctx.session.add(cached_book(ctx)),
        "cached object of another site, merged without a query": lambda ctx: ctx.session.merge(
            cached_book(ctx), load=False
        ),
        "cached object of another site, merged": lambda ctx: ctx.session.merge(cached_book(ctx)),
    },
)
add(
    "execution",
    not_found(DetachedInstanceError),
    {
        "cached object of another site, loaded lazily": lambda ctx: cached_book(ctx).author.secret,
    },
    without_site=(DetachedInstanceError,),
)


@attempt("execution", no_result, changes=True, commits=True)
def request_that_writes(ctx: Context) -> None:
    def view(request: Request) -> str:
        request.dbsession.execute(books.update().values(stock=6))
        request.dbsession.add(Slip(secret="new"))
        return ""

    requested(view)(ctx)
