"""A folder in which the command `multisite` runs: an ini file, templates and a database."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import sqlalchemy as sa
import warm
from click.testing import CliRunner, Result
from paths import ROOT

from multisite import all_sites
from multisite.cli import main

MULTISITE = ("-c", "from multisite.cli import main; main(prog_name='multisite')")


class Folder:
    """A folder with a development.ini, in which commands are run."""

    def __init__(self, path: Path, database_url: str) -> None:
        self.path = path
        self.database_url = database_url
        self.write()

    def write(self, *, app: str = "", server: str = "listen = localhost:6543", url: str | None = None) -> None:
        """Write the ini file, with further lines in `[app:main]` and other lines in `[server:main]`."""
        url = (url or self.database_url).replace("%", "%%")
        (self.path / "development.ini").write_text(
            f"[app:main]\nuse = egg:pyramid-multisite\nsqlalchemy.url = {url}\n"
            "multisite.sites_dir = %(here)s/sites\nmultisite.templates_dir = %(here)s/templates\n"
            f"{app}\n[server:main]\nuse = egg:waitress#main\n{server}\n"
        )

    def process(
        self, *arguments: str, env: dict[str, str] | None = None, options: tuple[str, ...] = ("-W", "default")
    ) -> subprocess.CompletedProcess[str]:
        """Run the command in its own process, with every warning shown."""
        return subprocess.run(
            [*warm.python(application=True), *options, *MULTISITE, *arguments],
            cwd=self.path,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
            capture_output=True,
            text=True,
            check=False,
        )

    def run(self, *arguments: str) -> str:
        done = self.process(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def invoke(self, *arguments: str) -> Result:
        """Run the command in this process, which is faster."""
        return CliRunner().invoke(main, ["-c", str(self.path / "development.ini"), *arguments])

    def fails(self, *arguments: str) -> str:
        """Run a command that must fail with one line on stderr, and return that line."""
        result = self.invoke(*arguments)
        assert (result.exit_code, result.stdout) == (1, ""), result.output
        assert isinstance(result.exception, SystemExit)
        (line,) = result.stderr.splitlines()
        assert line.startswith("Error: ")
        assert len(line) < 600
        return line.removeprefix("Error: ")

    def rows(self) -> int:
        engine = sa.create_engine(self.database_url, poolclass=sa.NullPool)
        with all_sites("a test"), engine.connect() as connection:
            statement = "SELECT (SELECT count(*) FROM sites) + (SELECT count(*) FROM domains)"
            return int(connection.exec_driver_sql(statement).scalar_one())

    def folders(self) -> list[str]:
        return sorted(path.name for path in self.path.glob("sites/*"))
