"""Caddy and nginx in front of the application, configured by docs/reverse-proxy.md."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from databases import closing_engine, make_own_tables
from paths import ROOT
from proxies import free_port, https_get, running
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response
from snippets import Snippet, snippets
from waitress_server import serving

from multisite.core.keys import DIRECTORY
from multisite.core.settings import Settings, parse_settings
from multisite.sites.creation import add_site

PAGE = ROOT / "docs" / "reverse-proxy.md"


def snippet(language: str) -> Snippet:
    (found,) = snippets(PAGE, language)
    return found


def url_view(request: Request) -> Response:
    return Response(f"{request.site.name} {request.scheme} {request.client_addr}")


AddSite = Callable[[str], Any]


@pytest.fixture
def add(tmp_path: Path, sqlite_database_url: str) -> Iterator[tuple[AddSite, int]]:
    """Serve an application configured by the page; yield a function that adds a site, and the port."""
    settings: dict[str, Any] = {
        "multisite.sites_dir": str(tmp_path / "sites"),
        "multisite.refresh_seconds": "0",
        "multisite.tls_ask_path": "/multisite/tls-ask",
    }
    with closing_engine(sqlite_database_url) as engine:
        make_own_tables(engine)
        config = Configurator(settings=settings)
        config.include("multisite")
        config.set_multisite_engine(engine)
        config.add_route("url", "/")
        config.add_view(url_view, route_name="url")
        app = config.make_wsgi_app()
        parsed = parse_settings(settings)
        with serving(
            app, threads=4, trusted_proxy="127.0.0.1", trusted_proxy_headers="x-forwarded-proto x-forwarded-for"
        ) as (_, port):
            yield adder(engine, parsed), port
        app.registry[DIRECTORY].deactivate()


def adder(engine: sa.Engine, settings: Settings) -> AddSite:
    def add(host: str) -> Any:
        return add_site(engine, host, settings=settings, name=f"the site {host}")

    return add


def test_caddy_gets_a_certificate_for_a_new_site_at_once_and_none_for_others(
    add: tuple[AddSite, int], tmp_path: Path
) -> None:
    caddy = shutil.which("caddy")
    if caddy is None:
        pytest.skip("no caddy on this machine (Debian: apt-get install caddy)")
    add_one, app_port = add
    port, storage = free_port(), tmp_path / "caddy"
    text = snippet("caddyfile").text.replace("127.0.0.1:6543", f"127.0.0.1:{app_port}")
    # The internal authority of Caddy signs certificates, and ports are unprivileged; the rest is as on the page.
    text = text.replace("{\n", f"{{\n\tadmin off\n\thttps_port {port}\n\thttp_port {free_port()}\n", 1)
    text = text.replace("{\n", f"{{\n\tskip_install_trust\n\tstorage file_system {storage}\n", 1)
    text = text.replace("on_demand\n", "on_demand\n\t\tissuer internal\n", 1)
    (tmp_path / "Caddyfile").write_text(text)
    root = storage / "pki/authorities/local/root.crt"
    with running(
        [caddy, "run", "--config", str(tmp_path / "Caddyfile"), "--adapter", "caddyfile"],
        port,
        tmp_path / "caddy.log",
        HOME=str(tmp_path),
    ):
        for _ in range(300):
            if root.is_file():
                break
            time.sleep(0.1)
        context = ssl.create_default_context(cafile=str(root))
        with pytest.raises((ssl.SSLError, OSError)):
            https_get(port, "new.example", context)
        add_one("new.example")
        assert b"the site new.example https 127.0.0.1" in https_get(port, "new.example", context)
        with pytest.raises((ssl.SSLError, OSError)):
            https_get(port, "unknown.example", context)
        hidden = https_get(port, "new.example", context, "/multisite/tls-ask?domain=new.example")
        assert hidden.startswith(b"HTTP/1.1 404")


def test_nginx_has_the_certificates_of_its_map_and_limits_visitors(add: tuple[AddSite, int], tmp_path: Path) -> None:
    nginx, openssl = shutil.which("nginx"), shutil.which("openssl")
    if nginx is None or openssl is None:
        pytest.skip("no nginx on this machine (Debian: apt-get install nginx-light openssl)")
    add_one, app_port = add
    context = ssl.create_default_context()
    for name, names in {"example.com": "example.com,DNS:*.example.com", "shop.example": "shop.example"}.items():
        folder = tmp_path / "ssl" / name
        folder.mkdir(parents=True)
        key, certificate = folder / "privkey.pem", folder / "fullchain.pem"
        subprocess.run(
            f"{openssl} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2".split()
            + f"-keyout {key} -out {certificate} -subj /CN={name} -addext subjectAltName=DNS:{names}".split(),
            check=True,
            capture_output=True,
        )
        context.load_verify_locations(certificate)
    port = free_port()
    text = snippet("nginx").text.replace("127.0.0.1:6543", f"127.0.0.1:{app_port}")
    text = text.replace("listen 443", f"listen 127.0.0.1:{port}").replace("/etc/ssl/sites", str(tmp_path / "ssl"))
    conf = tmp_path / "nginx.conf"
    folders = "".join(
        f"{kind}_temp_path {tmp_path / kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    # As root, nginx would drop its privileges, and then could not read the folder of the test.
    conf.write_text(
        f"user root;\ndaemon off;\npid {tmp_path}/nginx.pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{folders}{text}\n}}\n"
    )
    with running([nginx, "-p", str(tmp_path), "-e", "stderr", "-c", str(conf)], port, tmp_path / "nginx.log"):
        add_one("shop.example")
        add_one("www.example.com")
        assert b"the site shop.example https 127.0.0.1" in https_get(port, "shop.example", context)
        assert b"the site www.example.com https 127.0.0.1" in https_get(port, "www.example.com", context)
        with pytest.raises((ssl.SSLError, OSError)):
            https_get(port, "unknown.example", context)
        hidden = https_get(port, "shop.example", context, "/multisite/tls-ask?domain=shop.example")
        assert hidden.startswith(b"HTTP/1.1 404")
        answers = [https_get(port, "shop.example", context)[:12] for _ in range(90)]
        assert set(answers) == {b"HTTP/1.1 200", b"HTTP/1.1 429"}
