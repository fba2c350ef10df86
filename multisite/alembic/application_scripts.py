"""Find the application's own migrations, in the folder that `[alembic]` in the ini names."""

from __future__ import annotations

import warnings
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from multisite.errors import MultisiteError

__all__ = ["application_scripts"]

_LOCATION = "name the folder with the application's env.py, or remove the section if there is none"


def application_scripts(ini_path: Path) -> tuple[Config, ScriptDirectory]:
    """Return alembic's configuration from an ini file with a section `[alembic]`, and its script directory.

    Raises:
        MultisiteError: The folder or its env.py is missing, or the revisions do not have a single head.
    """
    config = Config(ini_path)
    location = config.get_alembic_option("script_location")
    where = f"{ini_path}, [alembic]: "
    if location is None:
        raise MultisiteError(f"{where}script_location is missing: {_LOCATION}")
    try:
        script = ScriptDirectory.from_config(config)
    except CommandError as error:
        if ":" in location or Path(location).is_dir():  # an asset spec, or another error
            raise MultisiteError(f"{where}{error}") from error
        raise MultisiteError(f"{where}script_location = {location}: there is no such folder; {_LOCATION}") from None
    if not Path(script.dir, "env.py").is_file():
        raise MultisiteError(f"{where}script_location = {location}: there is no env.py in it; {_LOCATION}")
    heads = _heads(script, where)
    if len(heads) > 1:
        raise MultisiteError(
            f"{where}the revisions have {len(heads)} heads, {' and '.join(sorted(heads))}: merge them with "
            "'alembic merge heads'"
        )
    return config, script


def _heads(script: ScriptDirectory, where: str) -> list[str]:
    with warnings.catch_warnings():
        # alembic warns before it raises the KeyError.
        warnings.filterwarnings("ignore", "Revision .* referenced from", UserWarning)
        try:
            return script.get_heads()
        except KeyError as error:
            raise MultisiteError(
                f"{where}the revision {error.args[0]} is missing, and another one depends on it"
            ) from None
