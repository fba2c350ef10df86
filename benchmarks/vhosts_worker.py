"""A process that loads applications by domain, for `benchmarks.vhosts`: `python -m benchmarks.vhosts_worker INI`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from threading import Thread
from typing import Any

from paste.deploy import loadapp

from benchmarks.measured import Measured

__all__ = ["APPLICATION", "answers", "computes"]

APPLICATION = r'''
"""A typical small application: ten models, a template, ten views."""
import sqlalchemy as sa
from mako.template import Template
from pyramid.config import Configurator
from pyramid.response import Response
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

class Base(DeclarativeBase):
    pass

models = [
    type(f"Model{n}", (Base,), {
        "__tablename__": f"table{n}", "__annotations__": {"id": Mapped[int], "title": Mapped[str], "text": Mapped[str]},
        "id": mapped_column(primary_key=True),
    })
    for n in range(10)
]
page = Template("<title>${title}</title>\n% for row in rows:\n<p>${row.title | h}</p>\n% endfor")

def main(global_conf, **settings):
    engine = sa.create_engine(settings["sqlalchemy.url"])
    Base.metadata.create_all(engine)

    def view(request):
        with Session(engine) as session:
            rows = session.scalars(sa.select(models[0])).all()
        return Response(page.render(title="application NUMBER", rows=rows))

    with Configurator(settings=settings) as config:
        for n in range(10):
            config.add_route(f"route{n}", f"/{n or ''}")
            config.add_view(view, route_name=f"route{n}")
        return config.make_wsgi_app()
'''


def answers(global_conf: Any) -> Any:
    """Return an application that only responds."""

    def app(_environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"answered"]

    return app


def computes(global_conf: Any) -> Any:
    """Return an application that computes for about fifty milliseconds."""

    def app(_environ: Any, start_response: Any) -> list[bytes]:
        end = time.thread_time() + 0.05
        while time.thread_time() < end:
            sum(range(1000))
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"computed"]

    return app


class Applications(Measured):
    """The loaded applications of an ini file."""

    def __init__(self, ini: str) -> None:
        super().__init__()
        sys.path.insert(0, str(Path(ini).parent))
        self.app = loadapp(f"config:{ini}")

    def visit(self, hosts: list[str]) -> None:
        """Request the home page of each of these hosts."""
        for host in hosts:
            environ = {
                "HTTP_HOST": host, "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/", "SERVER_NAME": "x",
                "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1", "wsgi.url_scheme": "http", "wsgi.input": sys.stdin,
            }  # fmt: skip
            told: list[str] = []
            b"".join(self.app(environ, lambda status, headers, exc_info=None, told=told: told.append(status)))
            if told != ["200 OK"]:
                raise RuntimeError(f"{host} answers {told}")

    def memory(self) -> dict[str, float]:
        """Return the memory of the process, the same with shared pages divided, and its processor seconds so far."""
        proportional = next(
            int(line.split()[1]) * 1024
            for line in Path("/proc/self/smaps_rollup").read_text("ascii").splitlines()
            if line.startswith("Pss:")
        )
        seconds = time.process_time()
        return {"resident": self.resident_bytes(), "proportional": proportional, "seconds": seconds}

    def listen(self) -> int:
        """Serve the applications with waitress in four threads, and return the port."""
        from waitress import create_server

        server = create_server(self.app, host="127.0.0.1", port=0, threads=4)
        Thread(target=server.run, daemon=True).start()
        return int(server.effective_port)


if __name__ == "__main__":
    Applications(sys.argv[1]).serve()
