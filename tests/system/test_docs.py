"""README.md and docs/: every public name is documented, and every example does what its page says.

Commands run in a copy of a clone (templates, sites, migrations, development.ini) with its own database, and the Python
examples of each page in one process (tests/support/snippets.py). tests/system/test_existing.py follows
docs/existing-application.md. Sphinx is not needed: `python3 dev.py docs` builds the pages, and warnings are errors.
"""

from __future__ import annotations

import dataclasses
import http.client
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from types import ModuleType
from zoneinfo import ZoneInfo

import click
import plaster
import pytest
import warm
from ghost_export import post, write_ghost
from mako.template import Template
from paths import ROOT, SUPPORT
from programs import BIN, make_programs
from pyramid.config import Configurator
from pyramid.interfaces import IRequestExtensions
from pyramid.path import DottedNameResolver
from snippets import Command, Snippet, commands_in, headings, pages, prose, snippets
from waitress.adjustments import Adjustments
from wordpress_export import item, write_export

import multisite
from multisite import SettingError
from multisite.cli import main
from multisite.cli.commands import COMMANDS
from multisite.content.imports.front_matter import parse_article
from multisite.core import setting_parsers
from multisite.core.settings import PREFIX, Settings, parse_settings
from multisite.web.mako_settings import parse_mako_options

pytestmark = pytest.mark.slow

DOCS = ROOT / "docs"
HOME = "/home/you/multisite"
"""The path by which the pages refer to the clone."""

EXPORT = (
    item(1, "Rake them <em>wet</em>.", title="Leaf mould", name="leaf-mould", comments=2),
    item(2, "Not yet.", title="An idea", name="", status="draft"),
    item(3, "x", title="For me alone", status="private"),
)
"""The posts in the export of WordPress that the pages import."""

WALKED_ELSEWHERE = {
    "deployment.md": "system/test_deployment.py",
    "existing-application.md": "support/adopting.py",
    "sharding.md": "sharding/test_distribute.py",
    "testing.md": "testing/test_leak_detector.py",
    "vhosts.md": "vhosts/test_vhosts_docs.py",
}
"""Pages whose examples other tests run, and the file in `tests` that does so."""

NOT_RUN = {
    "python3 dev.py": "starts a server, installs, or runs these tests; the words are parsed, its output is compared",
    "python3 -m pip": "installs from the network; what it names is looked at in test_install_names.py",
}
"""Commands that are checked without being run: how they begin, and why they are not run."""

PAGES = [page for page in pages() if page.name not in WALKED_ELSEWHERE]


def every(*languages: str) -> list[Snippet]:
    """Return the examples in these languages on all pages that are tested here."""
    return [snippet for page in PAGES for snippet in snippets(page, *languages)]


# Headings: everything that exists is documented, and everything documented exists.


def section(page: Path, heading: str) -> str:
    """Return the text below a heading, up to the next one."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert found is not None, f"{page.name} has no heading '{heading}'"
    return found[1]


TYPES = {
    setting_parsers.parse_folder: "folder",
    setting_parsers.parse_file: "file",
    setting_parsers.parse_media_url: "folder or URL",
    setting_parsers.parse_url: "database URL",
    setting_parsers.parse_boolean: "`true` or `false`",
    setting_parsers.parse_seconds: "seconds",
    setting_parsers.parse_count: "whole number",
    setting_parsers.parse_unknown_host: "`404`, `421` or a host",
    setting_parsers.parse_paths: "list of paths",
    setting_parsers.parse_words: "list of names",
    setting_parsers.parse_limit: "whole number, or 0",
    setting_parsers.parse_log_days: "whole number of at least 30",
    setting_parsers.parse_mail_url: "URL of a mail server",
    setting_parsers.parse_host: "host",
    setting_parsers.parse_suffix: "end of a name",
    setting_parsers.parse_url_path: "path",
    setting_parsers.parse_header_name: "name of a header",
    setting_parsers.parse_networks: "list of networks",
    setting_parsers.parse_public_addresses: "list of addresses, or a host",
    setting_parsers.parse_role: "name of a PostgreSQL role",
    setting_parsers.parse_row_security_form: "`role` or `setting`",
    setting_parsers.parse_secret: "secret",
    setting_parsers.parse_secrets: "list of secrets",
}
"""The names that the page gives to the parsers of settings."""


def shown_default(value: object) -> str:
    """Return a default as the page writes it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{' '.join(map(str, value))}`" if value else "empty"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


@pytest.mark.parametrize("field", dataclasses.fields(Settings), ids=lambda field: field.name)
def test_every_setting_has_a_heading_with_its_type_and_default(field: dataclasses.Field[object]) -> None:
    text = section(DOCS / "settings.md", PREFIX + field.name)
    line = f"*Type:* {TYPES[field.metadata['parse']]}. *Default:* {shown_default(field.default)}."
    assert text.strip().splitlines()[0] == line


def test_no_setting_has_a_heading_that_is_none() -> None:
    known = {PREFIX + field.name for field in dataclasses.fields(Settings)}
    assert {heading for heading in headings(DOCS / "settings.md") if heading.startswith(PREFIX)} == known


def test_every_command_has_a_heading() -> None:
    described = [heading for heading in headings(DOCS / "commands.md") if heading != "Commands"]
    assert described == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_described(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    page = DOCS / "commands.md"
    text = section(page, name) + section(page, "Commands")
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.opts[0] in text, f"{name} {parameter.opts[0]} is not described"


def names_in_headings(page: Path) -> set[str]:
    """Return the code in the headings of `page`, without arguments: `f` for `f(x)`."""
    return {name.partition("(")[0] for heading in headings(page) for name in re.findall("`([^`]+)`", heading)}


def test_every_public_name_has_a_heading() -> None:
    assert set(multisite.__all__) - names_in_headings(DOCS / "python-api.md") == set()


def configured(tmp_path: Path) -> Configurator:
    """Return a configurator after `include("multisite")` and `commit()`."""
    config = Configurator(
        settings={
            "sqlalchemy.url": f"sqlite:///{tmp_path / 'docs.db'}",
            "multisite.templates_dir": str(tmp_path / "templates"),
            "multisite.sites_dir": str(tmp_path / "sites"),
        }
    )
    config.include("multisite")
    config.commit()
    return config


def test_every_directive_has_a_heading(tmp_path: Path) -> None:
    plain = Configurator()
    plain.include("pyramid_tm")
    ours = set(configured(tmp_path).registry._directives) - set(getattr(plain.registry, "_directives", ()))
    assert "set_multisite_engine" in ours
    assert {f"config.{name}" for name in ours} - names_in_headings(DOCS / "python-api.md") == set()


def test_every_request_attribute_has_a_heading(tmp_path: Path) -> None:
    def attributes(config: Configurator) -> set[str]:
        extensions = config.registry.queryUtility(IRequestExtensions)
        return {*extensions.descriptors, *extensions.methods}

    plain = Configurator()
    plain.include("pyramid_tm")
    plain.commit()
    ours = attributes(configured(tmp_path)) - attributes(plain)
    assert "site" in ours
    described = {name for name in names_in_headings(DOCS / "python-api.md") if name.startswith("request.")}
    assert described == {f"request.{name}" for name in ours}


# Python


@pytest.mark.parametrize("page", [page for page in PAGES if snippets(page, "python", "pycon")], ids=lambda p: p.name)
def test_python_examples_do_what_the_page_says(page: Path, tmp_path: Path) -> None:
    warnings = ["-W", "error"]
    for module_warning in (
        "pkg_resources is deprecated as an API:UserWarning",
        "'cgi' is deprecated:DeprecationWarning",
        "Deprecated call to `pkg_resources.declare_namespace:DeprecationWarning",
    ):
        warnings += ["-W", f"ignore:{module_warning}"]
    done = subprocess.run(
        [*warm.python(), *warnings, str(SUPPORT / "snippets.py"), str(page), str(tmp_path)],
        # Python ignores a -W filter that PYTHONWARNINGS repeats, and then applies "error" first.
        env={name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip() == str(len(snippets(page, "python", "pycon")))


def test_a_python_example_that_does_something_else_is_found(tmp_path: Path) -> None:
    page = tmp_path / "wrong.md"
    page.write_text("```pycon\n>>> 1 + 1\n3\n```\n", "utf-8")
    (tmp_path / "work").mkdir()
    done = subprocess.run(
        [*warm.python(), str(SUPPORT / "snippets.py"), str(page), str(tmp_path / "work")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "does not print what it says" in done.stderr


# Ini files, templates and articles


@pytest.mark.parametrize("snippet", every("ini"), ids=str)
def test_ini_examples_are_read_by_what_reads_them(snippet: Snippet, tmp_path: Path) -> None:
    ini = tmp_path / "example.ini"
    ini.write_text(snippet.text, "utf-8")
    sections = plaster.get_sections(str(ini))
    assert sections
    if "loggers" in sections:
        check_logging(ini)
        return
    assert set(sections) <= {"app:main", "server:main", "pshell"}
    if "app:main" in sections:
        app = plaster.get_settings(str(ini), "app:main")
        assert [key for key in app if key.startswith((PREFIX, "sqlalchemy.", "mako."))]
        parse_settings(app)
        parse_mako_options(app, DottedNameResolver().maybe_resolve)
    if "pshell" in sections:
        assert callable(DottedNameResolver().resolve(plaster.get_settings(str(ini), "pshell")["setup"]))
    if "server:main" in sections:
        server = dict(plaster.get_settings(str(ini), "server:main"))
        assert server.pop("use") == "egg:waitress#main"
        Adjustments(**{key: value for key, value in server.items() if key not in ("here", "__file__")})


def check_logging(ini: Path) -> None:
    """Configure logging by an example, in its own process."""
    script = "import logging, logging.config, sys; logging.config.fileConfig(sys.argv[1]); logging.error('found')"
    done = subprocess.run([sys.executable, "-c", script, ini], capture_output=True, text=True, check=True)
    assert done.stderr.endswith("[- -] [root:1] found\n")


def test_an_ini_example_with_an_unknown_key_is_found() -> None:
    with pytest.raises(SettingError):
        parse_settings({"multisite.site_dir": "sites"})


@pytest.mark.parametrize("snippet", every("markdown"), ids=str)
def test_articles_in_examples_can_be_imported(snippet: Snippet) -> None:
    article = parse_article(snippet.text, PurePath("leaf-mould.md"), ZoneInfo("Europe/Berlin"))
    assert (article.slug, article.title) == ("leaf-mould", "Leaf mould")
    assert article.published is not None
    assert article.body


def test_every_template_in_an_example_says_where_it_goes() -> None:
    for snippet in every("mako"):
        assert place_of(snippet).startswith("sites/"), f"{snippet} does not begin with its place"
        Template(snippet.text)  # It compiles; the commands of the page test what it does.


def place_of(snippet: Snippet) -> str:
    """Return the path in the first comment of a template."""
    found = re.match(r"## (\S+\.mako)\n", snippet.text)
    assert found is not None, f"{snippet} does not begin with a comment that holds its path"
    return found[1]


# Commands


@dataclasses.dataclass
class Clone:
    """A copy of a clone with the demo sites in its own database, and a server once one is needed."""

    folder: Path
    dev: ModuleType
    server: subprocess.Popen[bytes] | None = None
    port: int = 0

    def run(self, command: str) -> tuple[int, str]:
        """Run `command` as in a shell; return its exit code and its output, from stdout and stderr."""
        env = {name: value for name, value in self.dev.environment().items() if not name.startswith("MULTISITE_")}
        env["PATH"] = os.pathsep.join([str(self.folder / ".venv" / "bin"), env["PATH"]])
        done = subprocess.run(
            command, shell=True, cwd=self.folder, env=env,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", check=False,
        )  # fmt: skip
        return done.returncode, done.stdout.replace(str(self.folder), HOME)

    def serve(self) -> None:
        """Serve the clone's development.ini on a free port, once."""
        if self.server is not None:
            return
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        command = [str(BIN / "pserve"), "--server-name", "port", "development.ini", f"http_port={self.port}"]
        with (self.folder / "server.log").open("wb") as log:
            self.server = subprocess.Popen(command, cwd=self.folder, env=self.dev.environment(), stdout=log, stderr=log)
        wait_for(self.is_listening)

    def is_listening(self) -> bool:
        assert self.server is not None
        assert self.server.poll() is None, (self.folder / "server.log").read_text("utf-8")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def curl(self, command: str) -> str:
        """Return what `curl` would print; supports the options that the pages use."""
        self.serve()
        words = shlex.split(command)[1:]
        headers = dict(words[i + 1].split(": ", 1) for i, word in enumerate(words) if word == "-H")
        address = words[-1]
        assert address.startswith("http://127.0.0.1:6543/")
        assert set(words[:-1]) - {"-H", "-i", "-I"} <= {f"{name}: {value}" for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        path = address.removeprefix("http://127.0.0.1:6543")
        connection.request("HEAD" if "-I" in words else "GET", path, headers=headers)
        response = connection.getresponse()
        head = "".join(f"{name}: {value}\n" for name, value in response.getheaders())
        status = f"HTTP/1.1 {response.status} {response.reason}\n"
        body = response.read().decode("utf-8")
        connection.close()
        return (f"{status}{head}\n" if "-i" in words or "-I" in words else "") + body

    def stop(self) -> None:
        if self.server is not None:
            self.server.send_signal(signal.SIGTERM)
            self.server.wait(timeout=30)


def wait_for(condition: Callable[[], bool]) -> bool:
    """Return True once `condition` holds, or False after a timeout; for conditions that depend on another process."""
    end = time.monotonic() + 60
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture(scope="module")
def demo(dev: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder as `dev.py serve` leaves it: with the demo sites and their content."""
    folder = tmp_path_factory.mktemp("demo") / "clone"
    folder.mkdir()
    for name in ("templates", "sites", "migrations"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for host in {path.name for path in (folder / "sites").iterdir()} - set(dev.DEMO_SITES):
        shutil.rmtree(folder / "sites" / host)  # A site that was added to this clone.
    shutil.copyfile(ROOT / "development.ini", folder / "development.ini")
    (folder / "docs").mkdir()
    shutil.copytree(DOCS / "screenshots", folder / "docs" / "screenshots")
    (folder / "var").mkdir()
    make_programs(folder / ".venv" / "bin")
    clone = Clone(folder, dev)
    commands = ["multisite migrate"]
    for host, options in dev.DEMO_SITES.items():
        commands += [shlex.join(["multisite", "add-site", host, *options])]
        commands += [f"multisite import-entries {host} sites/{host}/content"]
    for command in commands:
        status, printed = clone.run(command)
        assert status == 0, printed
    return folder


@contextmanager
def clone_of(demo: Path, dev: ModuleType, folder: Path) -> Iterator[Clone]:
    shutil.copytree(demo, folder, symlinks=True)
    write_export(folder / "export.xml", EXPORT)
    write_ghost(folder / "ghost.json", post(1), post(2, title="About", type="page"))
    clone = Clone(folder, dev)
    try:
        yield clone
    finally:
        clone.stop()


def walk(page: Path, clone: Clone) -> int:
    """Follow a page in order: write its templates and lists of sites, run its commands, and return their number."""
    count = 0
    for snippet in snippets(page, "console", "sh", "mako", "csv", "toml"):
        assert snippet.language != "sh", f"{snippet}: commands are written as console, so that what they print is seen"
        if snippet.language == "mako":
            place = clone.folder / place_of(snippet)
            assert place.parent.is_dir(), f"{snippet}: {place.parent} is not there"
            place.write_text(snippet.text, "utf-8")
            continue
        if snippet.language in {"csv", "toml"}:
            (clone.folder / f"sites.{snippet.language}").write_text(snippet.text, "utf-8")
            continue
        for command in commands_in(snippet):
            do(command, clone, str(snippet))
            count += 1
    return count


def do(command: Command, clone: Clone, where: str) -> None:
    """Run one command, and compare its output and exit code with the page."""
    if command.text.startswith("python3 dev.py"):
        check_dev(command, clone.dev, where)
    elif command.text.startswith("python3 -m pip"):
        # tests/system/test_install_names.py checks the names of the installed packages.
        assert shlex.split(command.text)[3] in {"install", "wheel", "--python"}, where
    elif command.text.startswith("curl "):
        # Repeated, since a server takes up to a second to notice a new site or a changed file.
        assert wait_for(lambda: command.prints(clone.curl(command.text))), f"{where}: {clone.curl(command.text)}"
    else:
        status, printed = clone.run(command.text)
        assert command.prints(printed), f"{where}: {command.text} prints\n{printed}"
        assert status == int(command.expected.startswith("Error: ")), f"{where}: {command.text} ends with {status}"


def check_dev(command: Command, dev: ModuleType, where: str) -> None:
    """Parse the arguments of `python3 dev.py …`, and compare what `serve` prints when it is ready."""
    words = shlex.split(command.text)[2:]
    options = dev.parse(words)
    assert options.rest == [], where
    if command.expected:
        assert words == ["serve"], f"{where}: nobody knows what that prints"
        printed: list[str] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(dev, "say", lambda text="": printed.append(text))
            dev.print_urls(*dev.server_address())
        assert command.prints("Starting the server\n" + "\n".join(printed)), f"{where}: it prints {printed}"


@pytest.mark.parametrize("page", [page for page in PAGES if snippets(page, "console", "sh")], ids=lambda p: p.name)
def test_commands_do_what_the_page_says(page: Path, demo: Path, dev: ModuleType, tmp_path: Path) -> None:
    with clone_of(demo, dev, tmp_path / "clone") as clone:
        assert walk(page, clone)


def test_pictures_of_imported_articles_are_there(demo: Path, dev: ModuleType, tmp_path: Path) -> None:
    """docs/getting-started.md imports articles of another site; their images are static files of that site."""
    with clone_of(demo, dev, tmp_path / "clone") as clone:
        walk(DOCS / "getting-started.md", clone)
        articles = (clone.folder / "sites" / "garden.localhost" / "content").glob("*.md")
        found = [path for each in articles for path in re.findall(r"\]\((/static/\S+?)\)", each.read_text("utf-8"))]
        assert found
        for path in found:
            answer = clone.curl(f"curl -I -H 'Host: fifth.localhost' http://127.0.0.1:6543{path}")
            assert answer.startswith("HTTP/1.1 200 "), f"{path}: {answer}"


def test_every_template_of_a_page_is_part_of_a_page_that_answers(demo: Path, dev: ModuleType, tmp_path: Path) -> None:
    found = every("mako")
    assert found
    with clone_of(demo, dev, tmp_path / "clone") as clone:
        status, printed = clone.run("multisite add-site fifth.localhost")
        assert status == 0, printed
        for snippet in found:
            place = clone.folder / place_of(snippet)
            place.write_text(snippet.text, "utf-8")
            path = "nowhere" if place.name == "404.mako" else ""
            page = clone.curl(f"curl -i -H 'Host: {place.parent.name}' http://127.0.0.1:6543/{path}")
            assert page.startswith("HTTP/1.1 404 " if path else "HTTP/1.1 200 "), f"{snippet}: {page}"
            words = re.findall(r"<p>([A-Z][a-z]+ [a-z]+)", snippet.text)
            assert words, f"{snippet} has no words of its own"
            assert words[0] in page


def test_a_command_that_prints_something_else_is_found(demo: Path, dev: ModuleType, tmp_path: Path) -> None:
    with clone_of(demo, dev, tmp_path / "clone") as clone:
        do(Command("multisite add-site a..b", "Error: ...\n"), clone, "here")
        for wrong in (
            Command("multisite list-sites", "nothing\n"),
            Command("multisite add-site a..b", ""),
            Command("python3 dev.py serve", "nothing\n"),
        ):
            with pytest.raises(AssertionError, match="^here"):
                do(wrong, clone, "here")
        with pytest.raises(SystemExit):
            do(Command("python3 dev.py server", ""), clone, "here")


def test_commands_that_are_not_run_are_few() -> None:
    beginnings = [command.text for snippet in every("console") for command in commands_in(snippet)]
    assert all(any(text.startswith(known) for text in beginnings) for known in NOT_RUN)


# The pages as a whole


def test_every_example_is_of_a_kind_that_is_tested() -> None:
    tested = {"python", "pycon", "console", "ini", "mako", "markdown", "caddyfile", "nginx", "sql", "csv", "toml"}
    not_run = {"text", "{toctree}", "{eval-rst}"}  # Drawings, lists of files and pages, and the API reference.
    for page in PAGES:
        for snippet in snippets(page):
            assert snippet.language in tested | not_run, f"{snippet} is a {snippet.language or 'block without a name'}"


def test_the_page_that_is_walked_elsewhere_is() -> None:
    for name, test in WALKED_ELSEWHERE.items():
        assert f'"{name}"' in (ROOT / "tests" / test).read_text("utf-8")


def test_the_numbers_in_the_readme_are_those_of_the_other_pages() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    attempts = (DOCS / "bypass-attempts.md").read_text("utf-8")
    benchmarks = (DOCS / "benchmarks.md").read_text("utf-8")
    faults = section(DOCS / "security.md", "The differential oracle").count("\n| ") - 1
    closed = sum(map(int, re.findall(r"\*\* \((\d+)\): ", attempts)))
    succeed = re.search(r"<!-- succeed -->\n(.*?)<!-- /succeed -->", attempts, re.DOTALL)
    assert succeed is not None
    assert f"{closed:,} bypass attempts" in readme
    assert f"{succeed[1].count(chr(10)) - 2} more that do succeed" in readme
    assert f"each of {faults} planted faults" in readme
    assert re.search(r"^\| page \|.*\| 0\.62\d( \(over\))? \| 0\.62 \|$", benchmarks, re.MULTILINE)
    assert re.search(r"cookiecutter's session, 1 site \|.*\| 0\.92[5-9] \|$", benchmarks, re.MULTILINE)
    assert "76 MiB with multisite" in benchmarks
    assert "takes 61 MiB each" in benchmarks
    for number in ("0.62 of the instructions", "0.93 with the session", "[76 MiB]", "[61 MiB each]", "2 to 4 kB"):
        assert number in readme


@pytest.mark.parametrize("page", [*pages(), ROOT / "CONTRIBUTING.md"], ids=lambda p: p.name)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", re.sub("`[^`\n]*`", "", prose(page))):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.is_file(), f"{page.name} links to {target}"
        if anchor:
            slugs = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings(linked)]
            assert anchor in slugs, f"{page.name} links to {target}"


@pytest.mark.parametrize("folder", [DOCS, DOCS / "decisions"], ids=lambda folder: folder.name)
def test_every_page_is_in_the_table_of_contents(folder: Path) -> None:
    index = (folder / "index.md").read_text("utf-8")
    listed = [line for tree in re.findall(r"```{toctree}\n(.*?)```", index, re.DOTALL) for line in tree.split("\n")]
    for page in folder.glob("*.md"):
        assert page.name == "index.md" or page.stem in listed, f"{folder.name}/index.md does not list {page.stem}"


@pytest.mark.parametrize("page", [*pages(), ROOT / "CONTRIBUTING.md"], ids=lambda p: p.name)
def test_files_that_a_page_names_exist(page: Path) -> None:
    code = "\n".join(re.findall(r"`[^`\n]*`", page.read_text("utf-8")))
    named = r"(?<![\w/.])(?:multisite|tests|docs|migrations|benchmarks)/[\w/.-]*\w\.(?:py|md|svg)"
    for file in re.findall(named, code):
        assert (ROOT / file).is_file(), f"{page.name} names {file}"
    for module in re.findall(r"-m ((?:attack_catalogue|differential|benchmarks)[\w.]*)", code):
        path = module.replace(".", "/")
        found = [base / f"{path}{end}" for base in (ROOT, ROOT / "tests") for end in (".py", "/__main__.py")]
        assert any(each.is_file() for each in found), f"{page.name} names the module {module}"
