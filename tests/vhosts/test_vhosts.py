"""Routing: the application that serves each request, and the lines of the ini file that are refused."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import paste.deploy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vhosting import World, ask

from multisite.core import domains
from multisite.errors import MultisiteError
from multisite.vhosts.explain import explain
from multisite.vhosts.ini import IniPosition, IniPositions, VhostError
from multisite.vhosts.routes import Route, RouteTable, read_routes

APPS = """
    [app:mainapp]
    use = call:PREFIX_echo:main
    me = main
    [app:staticapp]
    use = call:PREFIX_echo:main
    me = static
    [app:app1]
    use = call:PREFIX_echo:main
    me = app1
    [app:shopapp]
    use = call:PREFIX_echo:main
    me = shop
"""

ISSUE = (
    """
    [composite:main]
    use = egg:pyramid-multisite#vhosts
    domain example.com / = mainapp
    domain files.example.com / = staticapp
    domain example.com /foo = app1
    domain foo.example.com / = app1
    domain *.shops.example / = shopapp
    """
    + APPS
)


def test_the_example_of_the_docs_works_as_written(world: World) -> None:
    app = world.load(ISSUE)
    for url, expected in {
        "//example.com/": "main '' '/'",
        "//EXAMPLE.com.:80/": "main '' '/'",
        "//example.com/foo": "app1 '/foo' ''",
        "//example.com/foo/": "app1 '/foo' '/'",
        "//example.com/foo/x/foo": "app1 '/foo' '/x/foo'",
        "//example.com/food": "main '' '/food'",
        "//example.com//foo": "main '' '//foo'",
        "//files.example.com/foo": "static '' '/foo'",
        "//foo.example.com/foo": "app1 '' '/foo'",
        "//one.shops.example/": "shop '' '/'",
        "//a.b.shops.example:6543/": "shop '' '/'",
    }.items():
        assert ask(app, url) == (200, expected, {"Content-Type": "text/plain"}), url
    for url in ("//other.example/", "//shops.example/", "//badexample.com/", "//com/"):
        assert ask(app, url).status == 404, url


def test_ports_paths_international_names_and_lines_without_a_domain(world: World) -> None:
    app = world.load(
        """
        [composite:main]
        use = egg:pyramid-multisite#vhosts
        domain example.com port 8080 /admin = app1
        domain example.com = mainapp
        domain *.Bücher.example /laden/ = shopapp
        /health = staticapp
        /health/deep = app1
        """
        + APPS
    )
    for url, expected in {
        "//example.com:8080/admin/x": "app1 '/admin' '/x'",
        "//example.com/admin/x": "main '' '/admin/x'",
        "//example.com:8080/": "main '' '/'",
        "//a.xn--bcher-kva.example/laden/x": "shop '/laden' '/x'",
        "//other.example/health": "static '/health' ''",
        "//other.example/health/deep": "app1 '/health/deep' ''",
        "//a.xn--bcher-kva.example/health": "static '/health' ''",
        "//example.com/health": "main '' '/health'",  # a line with the domain takes precedence, as in Paste
    }.items():
        assert ask(app, url).text == expected, url
    assert ask(app, "//a.xn--bcher-kva.example/").status == 404
    assert ask(app, "//example.com/admin", **{"wsgi.url_scheme": "https", "HTTP_HOST": "example.com"}).status == 200


def test_underscores_need_a_setting(world: World) -> None:
    lines = """
        [composite:main]
        use = egg:pyramid-multisite#vhosts
        domain example.com / = mainapp
        domain *.example.com / = shopapp
    """
    app = world.load(lines + APPS)
    assert ask(app, "//my_shop.example.com/").status == 400
    with pytest.raises(MultisiteError, match="names no host"):
        explain(app.table, "http://my_shop.example.com/", underscores=app.allow_underscores)
    app = world.load(
        lines + "    vhosts.allow_underscores = true\n        domain my_shop.example.com / = app1\n" + APPS
    )
    assert ask(app, "//MY_shop.example.com:80/x").text == "app1 '' '/x'"
    assert ask(app, "//your_shop.example.com/").text == "shop '' '/'"
    assert ask(app, "//my-shop.example.com/").text == "shop '' '/'"
    route = explain(app.table, "http://my_shop.example.com/", underscores=app.allow_underscores).route
    assert route is not None
    assert route.application == "app1"
    with pytest.raises(VhostError, match=r"not '_' \(the setting allow_underscores permits it\)"):
        world.load(lines + "    domain my_shop.example.com / = app1\n" + APPS)


def test_the_default_port_of_the_scheme_matches(world: World) -> None:
    app = world.load(
        """
        [composite:main]
        use = egg:pyramid-multisite#vhosts
        domain example.com port 443 / = shopapp
        domain example.com / = mainapp
        """
        + APPS
    )
    assert ask(app, "//example.com/").text.startswith("main")
    assert ask(app, "//example.com/", **{"wsgi.url_scheme": "https"}).text.startswith("shop")


def test_no_byte_of_a_path_is_lost_when_it_is_shifted(world: World) -> None:
    app = world.load(ISSUE)
    # As in WSGI: UTF-8, a lone continuation byte, a decoded %2F and %25.
    for rest in ("/b\xc3\xbccher", "/\xff\x80", "/a%2Fb%25", "/foo//foo/", "/\xc3"):
        assert ask(app, f"//example.com/foo{rest}").text == f"app1 '/foo' {rest!r}"
    assert ask(app, "//example.com/foo\xc3\xbc").text == "main '' '/foo\xc3\xbc'"
    answer = ask(app, "//example.com/foo/x", SCRIPT_NAME="/outer")
    assert answer.text == "app1 '/outer/foo' '/x'"


def test_invalid_and_unknown_hosts_get_no_details(world: World) -> None:
    app = world.load(ISSUE)
    for host in ("exa mple.com", "", None, "a@example.com", "example.com,other.example", "example.com:0", "x" * 300):
        answer = ask(app, "//example.com/", HTTP_HOST=host)
        assert answer.status == 400, host
        assert "example" not in answer.text
    assert ask(app, "//example.com/", REQUEST_URI="http://other.example/").status == 400
    # If only one of the two has a port, the other has the default port of the scheme.
    for host, target, status in (
        ("example.com", "http://example.com:8080/", 400),
        ("example.com:8080", "http://example.com/", 400),
        ("example.com:80", "HTTP://example.com/", 200),
        ("example.com", "https://example.com:443/", 200),
        ("example.com:8080", "https://example.com:8080/", 200),
    ):
        assert ask(app, f"//{host}/", REQUEST_URI=target).status == status, (host, target)
    answer = ask(app, "//unknown.example/secret")
    assert answer.status == 404
    assert answer.headers["Cache-Control"] == "no-store"
    assert len(answer.text) < 100
    for word in ("example", "secret", "app"):
        assert word not in answer.text
    head = ask(app, "//unknown.example/", REQUEST_METHOD="HEAD")
    assert (head.status, head.text, head.headers["Content-Length"]) == (404, "", str(len(answer.text)))


# Invalid lines


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("domain example.org / = nowhere", "names no application: No section 'nowhere'"),
        ("domain EXAMPLE.com. / = app1", "means the same domain and path as 'domain example.com / = mainapp' (line 4)"),
        ("domain example.com = mainapp", "means the same domain and path as 'domain example.com / = mainapp' (line 4)"),
        ("domain exa_mple.com / = app1", "'exa_mple.com' is not a host: a host may have letters"),
        ("domain *.*.example / = app1", "a * may only stand for whole labels"),
        ("domain 127.1 / = app1", "its last label is a number"),
        ("domain \u0430pple.example / = app1", "mixes letters of"),
        ("domain example.org:8080 / = app1", "A port is a word: 'domain example.org port 8080 / = app1'"),
        ("domain example.org:8080 /=app1", "A port is a word: 'domain example.org port 8080 /=app1'"),
        ("domain [::1] / = app1", "An IPv6 address cannot be written here"),
        ("http://example.org/ = app1", "a domain is written without http://"),
        ("domain example.org port / = app1", "'/' is not a port"),
        ("domain example.org port = app1", "no number follows the word port"),
        ("domain example.org port 70000 / = app1", "is not a port"),
        ("port 80 / = app1", "a port needs a domain"),
        ("domain = app1", "expected 'domain HOST [port N] PATH = APPLICATION'"),
        ("domain example.org/ = app1", "a space is missing between the host and its path"),
        ("domain example.org foo = app1", "a path begins with a slash"),
        ("domain example.org / /foo = app1", "a path begins with a slash, and nothing follows it"),
        ("domain example.org /bü = app1", "its path may only have letters, digits"),
        ("domain example.org /a/../b = app1", "its path may only have letters, digits"),
        ("/a//b = app1", "'/a//b' cannot be a path here: its path has an empty segment"),
        ("domain example.org / = app1 app2", "must name one application"),
        ("domain example.org / =", "must name one application"),
        ("domain example.org / = main", "leads back to [composite:main] itself"),
        ("nonsense = app1", "is not understood: expected 'domain HOST"),
        ("not_found_app = app1", "; write '/ = APPLICATION' for everything that no other line"),
        ("vhosts.lasy = true", "there is no setting vhosts.lasy; did you mean vhosts.lazy?"),
        ("vhosts.lazy = yes", "vhosts.lazy = yes: expected true or false"),
        ("vhosts.retry_seconds = soon", "expected a number of seconds from 0 to 86400"),
        ("vhosts.init = no.such.thing", "vhosts.init: 'no.such.thing' fails (ModuleNotFoundError"),
    ],
)
def test_an_invalid_line_is_reported_with_its_section_and_line(world: World, line: str, message: str) -> None:
    text = "# a comment\n[composite:main]\nuse = egg:pyramid-multisite#vhosts\ndomain example.com / = mainapp\n" + line
    path = world.ini(f"{text}\n{_plain(APPS)}")
    with pytest.raises(VhostError) as raised:
        paste.deploy.loadapp(f"config:{path}")
    assert str(raised.value).startswith(f"{path}, line 5, [composite:main]: "), raised.value
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_mixed_scripts_can_be_allowed(world: World) -> None:
    app = world.load(
        """
    [composite:main]
    use = egg:pyramid-multisite#vhosts
    vhosts.allow_mixed = true
    domain \u0430pple.example / = mainapp
    """
        + APPS
    )
    assert ask(app, "//xn--pple-43d.example/").status == 200


def _plain(text: str) -> str:
    return re.sub("^    ", "", text, flags=re.M)


def test_no_line_and_a_circular_section_are_refused(world: World) -> None:
    with pytest.raises(VhostError, match="no line names an application"):
        world.load("[composite:main]\nuse = egg:pyramid-multisite#vhosts\nvhosts.lazy = true\n")
    # If the circle leads through another composite, only the application of that composite fails.
    app = world.load(
        """
    [composite:main]
    use = egg:pyramid-multisite#vhosts
    domain a.example / = inner
    domain b.example / = mainapp
    [composite:inner]
    use = egg:pyramid-multisite#vhosts
    / = main
    """
        + APPS
    )
    assert ask(app, "//b.example/").status == 200
    assert ask(app, "//a.example/").status == 503


def test_a_section_that_extends_another_is_reported_by_its_own_line(world: World) -> None:
    with pytest.raises(VhostError, match=re.escape("line 6, [composite:staging]: 'domain x.example / = gone'")):
        world.load(
            "[composite:main]\nuse = egg:pyramid-multisite#vhosts\ndomain example.com / = mainapp\n"
            "[composite:staging]\nuse = main\ndomain x.example / = gone\n" + _plain(APPS),
            name="staging",
        )
    with pytest.raises(VhostError, match=re.escape("line 3, [composite:main]: 'domain example.com / = gone'")):
        world.load(
            "[composite:main]\nuse = egg:pyramid-multisite#vhosts\ndomain example.com / = gone\n[composite:staging]\n"
            "use = main\ndomain x.example / = mainapp\n" + _plain(APPS),
            name="staging",
        )


def test_without_a_file_errors_quote_the_line() -> None:
    with pytest.raises(VhostError, match=r"^egg:pyramid-multisite#vhosts: 'domain a\.\.b / = x'"):
        read_routes({"domain a..b / = x".partition(" =")[0]: "x"}, IniPositions(None, []))


# The same rules as elsewhere


NAMES = st.sampled_from(
    ["example.com", "a.example.com", "b.a.example.com", "*.example.com", "*.a.example.com", "*.com"]
)
DOMAINS = st.builds(
    domains.Domain, NAMES, st.sampled_from([None, 80, 8080]), st.sampled_from(["", "/a", "/a/b", "/ab", "/a/b/c"])
)
ASKED = st.tuples(
    st.sampled_from(["example.com", "a.example.com", "b.a.example.com", "x.example.com", "com", "127.0.0.1"]),
    st.sampled_from([80, 8080, 443]),
    st.sampled_from(["", "/", "/a", "/a/", "/ab", "/a/b/c/d", "/a/bc", "//a"]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(DOMAINS, max_size=12, unique=True), st.sets(st.sampled_from(["", "/a", "/a/b"])), ASKED)
def test_routes_follow_the_rules_of_domains(
    given_domains: list[domains.Domain], fallback: set[str], asked: tuple[str, int, str]
) -> None:
    name, port, path = asked
    routes = [Route(each, each.path, str(each), str(each), IniPosition()) for each in given_domains]
    routes += [Route(None, each, f"any{each}", each, IniPosition()) for each in fallback]
    table = RouteTable(routes)
    fitting_names = domains.candidate_names(name)
    best = domains.best_match([each for each in given_domains if each.name in fitting_names], port, path)
    rest = [each for each in fallback if not each or path == each or path.startswith(each + "/")]
    expected = str(best) if best is not None else f"any{max(rest, key=len)}" if rest else None
    found = table.find(name, port, path)
    assert (found and found.application) == expected
    assert table.fitting(name, port, path)[:1] == ([found] if found else [])


def test_neither_a_database_nor_pyramid_is_imported(world: World) -> None:
    path = world.ini(ISSUE)
    script = (
        f"import sys; sys.path.insert(0, {str(world.folder)!r})\n"
        f"from paste.deploy import loadapp; loadapp('config:{path}')\n"
        "print(sorted({'pyramid', 'sqlalchemy', 'webob', 'mako', 'idna', 'multisite.directory'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr
    assert "vhosts" in (Path(__file__).resolve().parents[2] / "setup.py").read_text("utf-8")


# Cost, in function calls, which does not depend on the load of the machine


def calls_of(work: Callable[[], object]) -> int:
    count = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def lines_of(count: int) -> dict[str, str]:
    return {f"domain site{number}.example /": "app" for number in range(count)} | {"domain *.example /": "app"}


def test_the_cost_of_a_lookup_does_not_depend_on_the_number_of_domains() -> None:
    tables = [RouteTable(read_routes(lines_of(count), IniPositions(None, []))) for count in (10, 10_000)]
    for name in ("site5.example", "x.site5.example", "nowhere.test"):
        few, many = (calls_of(partial(table.find, name, 80, "/a/b")) for table in tables)
        assert few == many


def test_building_the_table_takes_linear_time() -> None:
    few, many = (calls_of(partial(read_routes, lines_of(count), IniPositions(None, []))) for count in (100, 1_000))
    assert many < 10.5 * few
