"""A folder with the programs of this environment, of which `multisite` and `alembic` start warm."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import warm

BIN = Path(sys.executable).parent


def make_programs(folder: Path) -> None:
    """Create the folder, for the reference application: its modules are imported before a command starts."""
    folder.mkdir(parents=True)
    for program in BIN.iterdir():
        (folder / program.name).symlink_to(program)
    for name, code in (
        ("multisite", "import sys; from multisite.cli import main; del sys.argv[0]; main()"),
        ("alembic", "import sys; from alembic.config import main; del sys.argv[0]; main()"),
    ):
        (folder / name).unlink()
        command = shlex.join([*warm.python(application=True), "-c", code])
        (folder / name).write_text(f'#!/bin/sh\nexec {command} "$0" "$@"\n', "utf-8")
        (folder / name).chmod(0o755)
