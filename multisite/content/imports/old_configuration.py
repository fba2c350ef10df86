"""Find the configuration of the tool that files come from, in YAML, TOML, JSON or Python.

It is that of the folder which contains `content`, `_posts` or `_drafts`, or of an imported folder itself. Python of
Pelican is not run: values that are not written out in it are not known.
"""

from __future__ import annotations

import ast
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from multisite.content.errors import InvalidArticle
from multisite.content.imports.files import read_text
from multisite.content.imports.metadata import load_configuration
from multisite.content.imports.old_site import OldSite, Tool, bare_host

__all__ = ["find_old_site"]

_FILES: tuple[tuple[str, Tool | None], ...] = (
    ("_config.yml", "jekyll"),
    ("_config.yaml", "jekyll"),
    ("_config.toml", "jekyll"),
    *(
        (f"{folder}hugo{suffix}", "hugo")
        for folder in ("", "config/_default/")
        for suffix in (".toml", ".yaml", ".json")
    ),
    *(
        (f"{folder}config{suffix}", None)
        for folder in ("", "config/_default/")
        for suffix in (".toml", ".yaml", ".json")
    ),
    ("pelicanconf.py", "pelican"),
)
"""The files of configuration, by their tool; Hugo and Zola both have a `config.toml`."""


def find_old_site(paths: Iterable[Path], on_problem: Callable[[Path, str], None]) -> OldSite | None:
    """Return the site that the files in `paths` come from, or None if there is no configuration.

    `on_problem(path, reason)` is called for a configuration that cannot be read.
    """
    for root in dict.fromkeys(root for path in paths for root in _roots(Path(path).absolute())):
        for name, tool in _FILES:
            file = root / name
            if not os.path.isfile(file):  # noqa: PTH113 (Path.is_file raises for a folder that cannot be read)
                continue
            try:
                config = _read(file)
            except InvalidArticle as error:
                reason = str(error).replace("the front matter", "the configuration")
                on_problem(file, f"the old addresses are not known: {reason}")
                return None
            if tool is None and "baseurl" not in config and "base_url" not in config:
                continue  # Of another program.
            return OldSite(
                tool or ("hugo" if "baseurl" in config else "zola"), config, root, _base(config), _host(config)
            )
    return None


def _roots(path: Path) -> Iterator[Path]:
    folder = path if path.is_dir() else path.parent
    yield folder
    for each in (folder, *folder.parents):
        if each.name in ("content", "_posts", "_drafts"):
            yield each.parent


def _read(file: Path) -> dict[str, Any]:
    text = read_text(file)
    if file.suffix != ".py":
        return load_configuration(text, file.suffix)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # About escape sequences, for example.
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InvalidArticle("it is not Python") from None
    return {
        target.id.lower(): ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and _is_literal(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _is_literal(node: ast.AST) -> bool:
    """Return whether the value of an expression is written out in it: a constant, or a list or tuple of such values."""
    if isinstance(node, (ast.List, ast.Tuple)):
        return all(map(_is_literal, node.elts))
    return isinstance(node, ast.Constant)


def _base(config: Mapping[str, Any]) -> str:
    """Return the path in the URL of the site."""
    for name in ("baseurl", "base_url", "siteurl"):
        value = config.get(name)
        if isinstance(value, str) and value:
            try:
                path = urlsplit(value).path
            except ValueError:
                return ""
            return "/" + path.strip("/") if path.strip("/") else ""
    return ""


def _host(config: Mapping[str, Any]) -> str:
    """Return the host in the URL of the site, which Jekyll has under `url`; empty if there is none."""
    for name in ("url", "baseurl", "base_url", "siteurl"):
        value = config.get(name)
        if isinstance(value, str) and value:
            try:
                host = bare_host(urlsplit(value).netloc)
            except ValueError:
                continue
            if host:
                return host
    return ""
