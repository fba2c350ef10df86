"""How to run the `multisite` command from the current directory, for messages that suggest it.

In a clone, or an environment that is not activated, the command is not on the PATH but, say, `.venv/bin/multisite`.
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
        arguments: The arguments, such as `migrate`, already quoted for the shell.

    Returns:
        `multisite migrate` if the PATH finds the script: the running one, or in a server that of its environment.
        Otherwise the path of the script instead of its name, relative if it is below the current directory; or
        `python -m multisite migrate` if the command was started as a module.
    """
    return f"{_program()} {arguments}"


def _program() -> str:
    # Imported here, because only a few messages need them.
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
