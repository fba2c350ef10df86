"""Path traversal attempts by names of templates and static files, in a process that records each opened file.

    python tests/support/payloads.py multisite|plain FOLDER

prints, as JSON, the result of each tag and name, and the opened files that do not belong to the site. `plain` is the
negative control: pyramid_mako and Pyramid's own static view, with the same folders. An audit hook cannot be removed, so
this runs in its own process.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

SECRET = "the secret"

NAMES = {
    "dots": [
        "..",
        "../secret.mako",
        "../../secret.mako",
        "./../../secret.mako",
        "/../../secret.mako",
        "/..//../secret.mako",
        "a/../../../secret.mako",
        "....//....//secret.mako",
        ".../secret.mako",
    ],
    "absolute": [
        "{root}/secret.mako",
        "/{root}/secret.mako",
        "file://{root}/secret.mako",
        "/etc/passwd",
        "//etc/passwd",
    ],
    "back-slashes": [
        "..\\..\\secret.mako",
        "..\\/..\\/secret.mako",
        "\\..\\..\\secret.mako",
        "\\\\server\\share\\secret.mako",
        "C:\\secret.mako",
        "C:/secret.mako",
        "C:secret.mako",
    ],
    "encoded": [
        "%2e%2e/%2e%2e/secret.mako",
        "..%2f..%2fsecret.mako",
        "%2e%2e%2f%2e%2e%2fsecret.mako",
        "%252e%252e/%252e%252e/secret.mako",
        "..%5c..%5csecret.mako",
        "..%c0%af..%c0%afsecret.mako",
        "\uff0e\uff0e/\uff0e\uff0e/secret.mako",
        "..\u2215..\u2215secret.mako",
        "\udcc0\udcae\udcc0\udcae/secret.mako",
    ],
    "NUL and control": [
        "../../secret.mako\0",
        "../../secret.mako\0.mako",
        "\0/../../secret.mako",
        "page.mako\0",
        "page.mako\n",
        "..\r/../secret.mako",
        "..\t/../secret.mako",
    ],
    "links": [
        "link.mako",
        "chain.mako",
        "folder/secret.mako",
        "deep/link.mako",
        "shared-link.mako",
        "shared-folder/secret.mako",
        "theme-link.mako",
        "to-hidden.mako",
        "relative/../link.mako",
    ],
    "another site": [
        "../kitchen/secret.mako",
        "/../kitchen/secret.mako",
        "{root}/sites/kitchen/secret.mako",
        "kitchen-link.mako",
        "kitchen/secret.mako",
        "kitchen-link.mako/",
    ],
    "another theme": [
        "/themes/light/secret.mako",
        "themes/light/secret.mako",
        "./themes/light/secret.mako",
        "//themes//light//secret.mako",
        "/themes/dark/../light/secret.mako",
        "../light/secret.mako",
        "THEMES/light/secret.mako",
        "light-link.mako",
        "light/secret.mako",
    ],
    "packages": [
        "payload_app:settings.ini",
        "payload_app:__init__.py",
        "payload_app:../secret.mako",
        "payload_app:templates/../../secret.mako",
        "payload_app:templates/../settings.ini",
        "payload_app:templates/.env",
        "payload_app:templates/link.mako",
        "payload_app:/templates/../../secret.mako",
        "payload_app.nowhere:secret.mako",
        "os:path.py",
        "json:__init__.py",
        ":secret.mako",
    ],
    "parents": [
        "parent:../../secret.mako",
        "parent:/themes/light/secret.mako",
        "parent:shared-link.mako",
        "parent:{root}/secret.mako",
        "parent:parent:parent:../../secret.mako",
        "below-site:../../secret.mako",
        "below-site:/themes/light/secret.mako",
        "below-theme:shared-link.mako",
        "below-site:below-site:/secret.mako",
    ],
    "dot files": [".env", "/.env", ".hidden/secret.mako", ".git/config", "./.env", "deep/.env"],
    "long": ["a/" * 5000 + "secret.mako", "../" * 300 + "secret.mako", "a" * 300 + ".mako"],
}
"""Names by kind. `{root}` is the folder that contains the secret and the folders of sites and templates."""

CALLS = {
    "inherit": "<%inherit file=\"${context['name']}\"/>",
    "include": '<%include file="${name}"/>',
    "namespace": '<%namespace name="n" file="${context[\'name\']}"/>${n.body()}',
    "get_template": "${context.lookup.get_template(name).render_unicode()}",
    "local.get_template": "${local.get_template(name).render_unicode()}",
    "local.get_namespace": "${local.get_namespace(name).body()}",
    "local.include_file": "<% local.include_file(name) %>",
}
"""Templates that use a given name, by the tag or function that they pass it to."""

STATIC = ["/static/{}", "/static/img/{}", "/static//{}", "/static/.{}"]
STATIC_NAMES = (
    "link.css",
    "link.mako",
    "folder/secret.mako",
    "kitchen/secret.css",
    "light/secret.css",
    "layout.css",
    "page.mako",
    "page.MAKO",
    "page.mako~",
    "app.ini",
)
"""Paths of static files: `STATIC` for each of `NAMES`; `STATIC_NAMES` for links, templates and settings there."""


def make(root: Path) -> None:
    """Create the folders of the site `garden` with the theme `dark`, and files that it must not reach."""
    for path, text in {
        "secret.mako": SECRET,
        "outside/secret.mako": SECRET,
        "sites/garden/page.mako": "page",
        "sites/garden/.env": SECRET,
        "sites/garden/.hidden/secret.mako": SECRET,
        "sites/garden/.git/config": SECRET,
        "sites/garden/deep/.env": SECRET,
        "sites/kitchen/secret.mako": SECRET,
        "sites/kitchen/static/secret.css": SECRET,
        "templates/shared.mako": "shared",
        "templates/themes/dark/page.mako": "dark",
        "templates/themes/light/secret.mako": SECRET,
        "templates/themes/light/static/secret.css": SECRET,
        "payload_app/__init__.py": f"SECRET = {SECRET!r}",
        "payload_app/settings.ini": SECRET,
        "payload_app/templates/package.mako": "package",
        "payload_app/templates/.env": SECRET,
        "sites/garden/static/style.css": "style",
        "sites/garden/static/page.mako": SECRET,
        "sites/garden/static/app.ini": SECRET,
        "sites/garden/static/.env": SECRET,
        "sites/garden/static/img/leaf.svg": "leaf",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, "utf-8")
    for link, target in {
        "sites/garden/link.mako": "../../secret.mako",
        "sites/garden/chain.mako": "link.mako",
        "sites/garden/folder": "../../outside",
        "sites/garden/deep/link.mako": "../../../secret.mako",
        "sites/garden/kitchen-link.mako": "../kitchen/secret.mako",
        "sites/garden/kitchen": "../kitchen",
        "sites/garden/light-link.mako": "../../templates/themes/light/secret.mako",
        "sites/garden/light": "../../templates/themes/light",
        "sites/garden/to-hidden.mako": ".hidden/secret.mako",
        "templates/shared-link.mako": "../secret.mako",
        "templates/shared-folder": "../outside",
        "templates/themes/dark/theme-link.mako": "../light/secret.mako",
        "payload_app/templates/link.mako": "../settings.ini",
        "sites/garden/static/link.mako": "../../../secret.mako",
        "sites/garden/static/link.css": "../../../secret.mako",
        "sites/garden/static/folder": "../../../outside",
        "sites/garden/static/kitchen": "../../kitchen/static",
        "sites/garden/static/light": "../../../templates/themes/light/static",
        "sites/garden/static/layout.css": "../page.mako",
    }.items():
        (root / link).symlink_to(target)
    for tag, text in CALLS.items():
        (root / "templates" / f"call-{tag}.mako").write_text(text, "utf-8")


class Watch:
    """Records files below `root`, and /etc/passwd, that are opened inside a `with` and do not belong to the site."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.opened: set[str] | None = None
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and self.opened is not None and isinstance(arguments[0], (str, bytes, os.PathLike)):
            self.opened.add(os.fsdecode(arguments[0]))

    @contextmanager
    def __call__(self) -> Iterator[set[str]]:
        found: set[str] = set()
        self.opened = set()
        try:
            yield found
        finally:
            opened, self.opened = self.opened, None
            found.update(path for path in opened if self._is_outside(path))

    def _is_outside(self, path: str) -> bool:
        real = Path(os.path.realpath(path))
        if not real.is_relative_to(self.root):
            return str(real) == "/etc/passwd"
        below = real.relative_to(self.root)
        return (
            any(step.startswith(".") for step in below.parts)
            or not any(map(below.is_relative_to, ("sites/garden", "templates", "payload_app/templates")))
            or below.is_relative_to("templates/themes/light")
        )


def targets(root: Path, kind: str) -> tuple[dict[str, Callable[[str], str]], Callable[[str], str]]:
    """Return, by tag, functions that render a name, and a function that requests the path of a static file."""
    import payload_app
    from pyramid.config import Configurator
    from pyramid.renderers import render
    from pyramid.request import Request, apply_request_extensions

    settings = {"multisite.sites_dir": root / "sites", "multisite.templates_dir": root / "templates"}
    config = Configurator(package=payload_app, settings=settings)
    if kind == "multisite":
        from multisite.core.keys import SETTINGS
        from multisite.core.settings import parse_settings
        from multisite.core.site import Site

        site = Site(1, "garden.example", "Garden", "garden", theme="dark")
        config.add_request_method(lambda request: site, "site", reify=True)
        config.registry[SETTINGS] = parse_settings(settings)
        config.include("multisite.web.renderer")
        config.include("multisite.static")
    else:
        folders = [root / "sites/garden", root / "templates/themes/dark", root / "templates"]
        config.registry.settings["mako.directories"] = [str(folder) for folder in folders]
        config.include("pyramid_mako")
        config.add_static_view("static", str(root / "sites/garden/static"))
    app = config.make_wsgi_app()
    request = Request.blank("/", host="garden.example")
    request.registry = app.registry
    apply_request_extensions(request)

    def called(tag: str) -> Callable[[str], str]:
        page = f"call-{tag}.mako"
        return lambda name: str(render(page, {"name": name}, request=request))

    def rendered(name: str) -> str:
        return str(render(name, {}, request=request))

    def served(path: str) -> str:
        asked = Request.blank("/", host="garden.example")
        asked.environ["PATH_INFO"] = path.encode("utf-8", "surrogateescape").decode("latin-1")
        return asked.get_response(app).text

    return {**{tag: called(tag) for tag in CALLS}, "renderer": rendered}, served


def run(root: Path, kind: str) -> dict[str, Any]:
    sys.path.insert(0, str(root))
    watch = Watch(root)
    found: dict[str, Any] = {}

    def attempt(tag: str, name: str, call: Callable[[str], str]) -> None:
        with watch() as outside:
            try:
                said = call(name)
            except Exception as error:
                said = type(error).__name__
        result = {"outside": sorted(outside), "told": SECRET in said}
        found.setdefault(tag, {})[ascii(name)[:200]] = result

    names = [name.replace("{root}", str(root)) for names in NAMES.values() for name in names]
    for tag in (*CALLS, "renderer"):
        # A new application for each tag, since an application caches the files that it has opened.
        calls, served = targets(root, kind)
        for name in names:
            attempt(tag, name, calls[tag])
        if kind == "multisite":  # Positive control: existing templates are found.
            assert calls[tag]("payload_app:templates/package.mako" if tag == "renderer" else "/page.mako")
    for path in (form.format(name.removeprefix("/")) for name in names for form in STATIC):
        attempt("static", path, served)
        attempt("static", quote(path, errors="surrogateescape"), served)
    for name in STATIC_NAMES:
        attempt("static", f"/static/{name}", served)
    assert served("/static/style.css") == "style"
    return found


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[2]), sys.argv[1])))
