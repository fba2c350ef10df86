"""How to run the `multisite` command from here, for messages that suggest it; pure.

In a clone, or an environment that is not activated, the command is not on the PATH: it is `.venv/bin/multisite`, say.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["command"]

_NAMES = frozenset({"multisite", "multisite.exe"})


def command(arguments: str) -> str:
    """Return the shell command that runs `multisite` with `arguments` in the current directory.

    Args:
        arguments: What follows the name of the program, such as `migrate`, quoted for the shell already.

    Returns:
        `multisite migrate` if the PATH finds the script that runs, or that of the environment that runs, such as a
        server's. Otherwise its path, relative if the script is below the current directory. Where
        `python -m multisite` was started, that.
    """
    return f"{_program()} {arguments}"


def _program() -> str:
    # Not at the top: every import of multisite would pay for what a few messages need.
    import shlex
    import shutil
    import sysconfig

    if sys.orig_argv[1:3] == ["-m", "multisite"]:
        return f"{shlex.quote(sys.orig_argv[0])} -m multisite"
    started = Path(sys.argv[0]) if sys.argv else Path()
    if started.name not in _NAMES or not started.is_file():
        started = Path(sysconfig.get_path("scripts"), "multisite.exe" if os.name == "nt" else "multisite")
    if not started.is_file():
        return "multisite"
    found = shutil.which("multisite")
    if found is not None and Path(found).resolve() == started.resolve():
        return "multisite"
    path = started.absolute()
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))
