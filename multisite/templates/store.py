"""The compiled templates, each once for all sites that share its file.

A file is compiled into a class of its own, a `TemplateView` whose class attributes are what Mako made of it. A site's
view of the file is an instance that holds nothing but the site's lookup: 50 bytes, where a copy of the template takes
400, and as fast to render. Files that no lookup uses any more are forgotten.

Mako names a compiled module by its URI, which is the same for the `layout.mako` of every site, and looks up the source
it shows in tracebacks by that name. Here the name holds a digest of everything that decides about the compiled code.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import re
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import mako
from mako.template import ModuleTemplate, Template

from multisite import forks
from multisite.templates import names
from multisite.templates.cache import SiteCache
from multisite.templates.overlay import ResolvedTemplate
from multisite.templates.source import stable_reads

__all__ = ["CompiledTemplates", "TemplateView"]

log = logging.getLogger(__name__)

SETTLED_NS = 3_000_000_000
"""A file changed less than this before it was read may change again and keep its times (FAT counts in 2 s)."""

_compiling = forks.unlock_after_fork(threading.RLock())
"""Mako replaces `warnings.showwarning` while it compiles, so that only one thread of a process may."""


_ABILITIES = {name: value for name, value in vars(Template).items() if name not in {"__dict__", "__weakref__"}}

_Abilities: Any = type("_Abilities", (), {**_ABILITIES, "__slots__": ()})
"""What a template of Mako can do, without a dictionary in each instance, which would double the memory of a view."""


class TemplateView(_Abilities):  # type: ignore[misc]
    """A site's view of a compiled file. `CompiledTemplates` makes a subclass for each file.

    It does all that a `mako.template.Template` does, and is none for `isinstance`.
    """

    __slots__ = ("_cache", "lookup")

    compiled: Compiled
    _cache: SiteCache

    @property
    def cache(self) -> SiteCache:
        """The cache of this site for this file."""
        try:
            return self._cache
        except AttributeError:
            self._cache = SiteCache(self, self.lookup.cache_namespace)
            return self._cache


@dataclass(slots=True, weakref_slot=True)
class Compiled:
    """A compiled file: `view` is the class of its views, `digest` says what it was compiled from.

    `signature` is the one the file had when its content was last compared; if it was `settled` by then, it tells
    whether the content has changed.
    """

    view: type[TemplateView]
    digest: str
    signature: tuple[int, ...] = ()
    settled: bool = False


class CompiledTemplates:
    """All compiled templates of an application.

    `module_directory` (None: memory only) keeps what was compiled for the next start; it holds code that is run, and
    may be emptied at any time. `options` are the keyword arguments of `mako.template.Template`.
    """

    def __init__(self, *, module_directory: Path | None, options: Mapping[str, Any]) -> None:
        self._module_directory = module_directory
        self._options = dict(options)
        compiled_in = {key: _stable_repr(value) for key, value in options.items() if key not in _RUNTIME_OPTIONS}
        self._environment = repr((mako.__version__, sys.version_info[:2], sorted(compiled_in.items())))
        self._compiled: weakref.WeakValueDictionary[tuple[Path, str], Compiled] = weakref.WeakValueDictionary()

    def get(self, found: ResolvedTemplate, name: str) -> type[TemplateView]:
        """Return the class of the views of the file `found`, which goes by the canonical `name`; compile it if needed.

        Raises `OSError` if it is not a file any more, and what Mako raises for a template with a mistake, with a note
        that names the file.
        """
        compiled = self._compiled.get((found.path, name))
        if compiled is not None and compiled.settled and compiled.signature == found.signature:
            return compiled.view
        failure: Exception | None = None
        # The time is taken first: what is written while we read must look recent.
        settled = time.time_ns() - found.changed_ns > SETTLED_NS
        for source in stable_reads(found):
            try:
                return self._compile(found, name, source, settled).view
            except Exception as error:
                failure = error
        assert failure is not None  # noqa: S101  There is always a first source.
        raise failure

    def _compile(self, found: ResolvedTemplate, name: str, source: bytes, settled: bool) -> Compiled:
        key = (found.path, name)
        digest = self._digest(found, name, source)
        with _compiling:
            compiled = self._compiled.get(key)
            if compiled is None or compiled.digest != digest:
                template = self._load(found, name, source, digest)
                compiled = Compiled(_view_class(template, name), digest)
                compiled.view.compiled = compiled
                self._compiled[key] = compiled
            compiled.signature, compiled.settled = found.signature, settled
            return compiled

    def _digest(self, found: ResolvedTemplate, name: str, source: bytes) -> str:
        head = repr((str(found.path), found.kind, name, self._environment)).encode("utf-8", "backslashreplace")
        return hashlib.sha256(head + b"\0" + source).hexdigest()[:32]

    def _load(self, found: ResolvedTemplate, name: str, source: bytes, digest: str) -> Template:
        address = names.qualified_uri(name, found.kind, digest)
        file = None if self._module_directory is None else self._module_directory / f"{digest}.py"
        try:
            if file is not None and file.exists():
                template = self._load_module(found, source, address, file)
                if template is not None:
                    return template
            template = Template(text=source, filename=str(found.path), uri=address, **self._options)  # noqa: S702
        except Exception as error:
            error.add_note(f"multisite: while compiling the template {found.path}")
            raise
        template.module_directory = None if self._module_directory is None else str(self._module_directory)
        if file is not None:
            _write(file, template.code)
        return template

    def _load_module(self, found: ResolvedTemplate, source: bytes, address: str, file: Path) -> Template | None:
        """Return the template that `file` was compiled from, None if the file is damaged."""
        try:
            code = file.read_text("utf-8")
            if not code.rstrip().endswith(_END):
                # What is left of a file that was cut (power loss, a full disk, rsync) may be Python all the same.
                raise ValueError("its end is missing")
            module = _import_file(file, _module_name(address))
            options = {key: self._options[key] for key in _RUNTIME_OPTIONS if key in self._options}
            template = ModuleTemplate(
                module,
                module_filename=str(file),
                module_source=code,
                template_filename=str(found.path),
                template_source=source,
                **options,
            )
        except Exception:
            # A mistake in the template itself shows again when it is compiled.
            log.warning("the compiled template %s is damaged and is made again from %s", file, found.path)
            return None
        template.module_directory = str(file.parent)
        return template


_END = '__M_END_METADATA\n"""'
"""The last lines of every module that Mako writes."""

_RUNTIME_OPTIONS = (
    "output_encoding",
    "encoding_errors",
    "format_exceptions",
    "error_handler",
    "cache_args",
    "cache_impl",
    "cache_enabled",
    "include_error_handler",
)
"""The options of Mako that have not gone into the compiled code."""


def _module_name(address: str) -> str:
    """Return the name that Mako gives the module of a template with this URI."""
    return re.sub(r"\W", "_", address)


def _stable_repr(value: Any) -> str:
    """Return a text for an option that is the same in the next process."""
    name = getattr(value, "__qualname__", None)
    return repr(value) if name is None else f"{value.__module__}.{name}"


def _import_file(file: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _write(file: Path, code: str) -> None:
    """Write `code` so that other processes see all of it or nothing. A folder that cannot be written stops nobody."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=file.parent, suffix=".tmp")
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(code)
        Path(temporary).replace(file)
    except OSError as error:
        log.warning("the compiled template %s was not kept: %s", file, error)


def _view_class(template: Template, name: str) -> type[TemplateView]:
    """Return the class whose instances are views of `template`.

    `name` becomes their `uri`, which templates compare with: without the slash that it begins with, as they write it.
    """
    attributes = {
        # A function that became a class attribute must not turn into a method.
        key: staticmethod(value) if hasattr(type(value), "__get__") else value
        for key, value in vars(template).items()
        if key != "lookup"
    }
    attributes |= {
        "__slots__": (),
        "__module__": __name__,
        "uri": name.removeprefix("/"),
        "reserved_names": template.reserved_names,
    }
    return type("TemplateView", (TemplateView,), attributes)
