"""Compiled templates, each compiled once for all sites that share its file.

A site's view of a compiled file holds only the site's lookup and the file: 56 bytes, where Mako's template takes 400.
Mako's options are attributes of the view's class, which most files share. A class for each file would take more than a
kilobyte, and Python's cache of attributes has room for 65,000 classes. Files that no lookup uses are discarded.

Mako names a compiled module after its URI, which would be the same for the `layout.mako` of every site, and finds the
source for tracebacks by that name. So the URI includes a digest of everything that affects the compiled code.
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
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import mako
from mako.template import ModuleTemplate, Template

from multisite.core import fork_safety
from multisite.templates import names
from multisite.templates.block_cache import SiteCache
from multisite.templates.escaping import use_fast_escape
from multisite.templates.module_texts import ModuleTexts, compress_texts
from multisite.templates.overlay import ResolvedTemplate
from multisite.templates.stable_reads import stable_reads

__all__ = ["CompiledTemplates", "TemplateView"]

log = logging.getLogger(__name__)

SETTLED_NS = 3_000_000_000
"""A file that changed less than this before it was read may change again with the same times (FAT: 2 s)."""

_compiling = fork_safety.unlock_after_fork(threading.RLock())
"""Only one thread may compile at a time, because Mako replaces `warnings.showwarning` meanwhile."""


_TEMPLATE_ATTRIBUTES = {
    name: value for name, value in vars(Template).items() if name not in {"__dict__", "__weakref__"}
}

_TemplateMethods: Any = type("_TemplateMethods", (), {**_TEMPLATE_ATTRIBUTES, "__slots__": ()})
"""The methods of Mako's template, without the `__dict__` that would double the memory of each view."""


class TemplateView(_TemplateMethods):  # type: ignore[misc]
    """A site's view of a compiled file. `CompiledTemplates` makes a subclass for each set of Mako's options.

    It has all methods and attributes of `mako.template.Template`, but is not an instance of it.
    """

    __slots__ = ("_cache", "compiled", "lookup")

    compiled: Compiled
    _cache: SiteCache

    def __init__(self, compiled: Compiled, lookup: Any) -> None:
        self.compiled = compiled
        self.lookup = lookup

    module = property(attrgetter("compiled.module"))
    callable_ = property(attrgetter("compiled.module.render_body"))
    uri = property(attrgetter("compiled.uri"))
    filename = property(attrgetter("compiled.module._template_filename"))
    module_id = property(attrgetter("compiled.module.__name__"))

    @property
    def cache(self) -> SiteCache:
        """This site's block cache for this file."""
        try:
            return self._cache
        except AttributeError:
            self._cache = SiteCache(self, self.lookup.cache_namespace)
            return self._cache


@dataclass(slots=True, weakref_slot=True, eq=False)
class Compiled:
    """A compiled file: its module, and the digest of what it was compiled from.

    `uri` is the name without its leading slash, the form that templates compare it with. `texts` keeps what Mako needs
    for tracebacks. `signature` is that of the file when its content was last compared. If the file was `settled` then,
    an equal signature means unchanged content.
    """

    module: Any
    uri: str
    view: type[TemplateView]
    digest: str
    texts: ModuleTexts | None
    signature: tuple[int, ...] = ()
    settled: bool = False


class CompiledTemplates:
    """All compiled templates of an application.

    Args:
        module_directory: Keeps compiled templates for the next start; None: memory only. Its files are executed. It may
            be emptied at any time.
        options: Keyword arguments of `mako.template.Template`.
    """

    def __init__(self, *, module_directory: Path | None, options: Mapping[str, Any]) -> None:
        self._module_directory = module_directory
        self._options = dict(options)
        compiled_in = {key: _stable_repr(value) for key, value in options.items() if key not in _RUNTIME_OPTIONS}
        self._environment = repr((mako.__version__, sys.version_info[:2], sorted(compiled_in.items())))
        self._views: list[type[TemplateView]] = []
        self._compiled: weakref.WeakValueDictionary[tuple[str, str], Compiled] = weakref.WeakValueDictionary()

    def get(self, found: ResolvedTemplate, name: str) -> Compiled:
        """Return the file `found` under the canonical `name`, compiled if needed.

        Raises:
            OSError: The file is missing or cannot be read.
            TemplateLookupException: The file is too large, or its path now leads out of its layer.
            Exception: Whatever Mako raises for a template that does not compile, with a note that names the file.
        """
        compiled = self._compiled.get((str(found.path), name))
        if compiled is not None and compiled.settled and compiled.signature == found.signature:
            return compiled
        failure: Exception | None = None
        # The time is taken before reading, so that a write during the read counts as recent.
        settled = time.time_ns() - found.changed_ns > SETTLED_NS
        for source in stable_reads(found):
            try:
                return self._compile(found, name, source, settled)
            except Exception as error:
                failure = error
        assert failure is not None  # noqa: S101  stable_reads yields at least once.
        raise failure

    def _compile(self, found: ResolvedTemplate, name: str, source: bytes, settled: bool) -> Compiled:
        # Not the path itself, which would keep its parts.
        key = (str(found.path), name)
        digest = self._digest(found, name, source)
        with _compiling:
            compiled = self._compiled.get(key)
            if compiled is None or compiled.digest != digest:
                template = self._load(found, name, source, digest)
                use_fast_escape(template.module, template.code)
                # Many files have this name.
                uri = sys.intern(name.removeprefix("/"))
                compiled = Compiled(template.module, uri, self._view_class(template), digest, template._mmarker)
                self._compiled[key] = compiled
            compiled.signature, compiled.settled = found.signature, settled
            return compiled

    def _digest(self, found: ResolvedTemplate, name: str, source: bytes) -> str:
        head = repr((str(found.path), found.kind, name, self._environment)).encode("utf-8", "backslashreplace")
        return hashlib.sha256(head + b"\0" + source).hexdigest()[:32]

    def _load(self, found: ResolvedTemplate, name: str, source: bytes, digest: str) -> Template:
        uri = names.qualified_uri(name, found.kind, digest)
        file = None if self._module_directory is None else self._module_directory / f"{digest}.py"
        try:
            if file is not None and file.exists():
                template = self._load_module(found, source, uri, file)
                if template is not None:
                    return template
            template = Template(text=source, filename=str(found.path), uri=uri, **self._options)  # noqa: S702
        except Exception as error:
            error.add_note(f"multisite: while compiling the template {found.path}")
            raise
        template.module_directory = None if self._module_directory is None else str(self._module_directory)
        if file is not None:
            _write(file, template.code)
        compress_texts(template)
        return template

    def _load_module(self, found: ResolvedTemplate, source: bytes, uri: str, file: Path) -> Template | None:
        """Load the compiled template from `file`; return None if the file is damaged."""
        try:
            code = file.read_text("utf-8")
            if not code.rstrip().endswith(_END):
                # A truncated file (power loss, a full disk, rsync) may still be valid Python.
                raise ValueError("it is truncated")
            module = _import_file(file, _module_name(uri))
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
            # An error in the template itself is raised again by the compiler.
            log.warning("the compiled template %s is damaged; it is recompiled from %s", file, found.path)
            return None
        template.module_directory = str(file.parent)
        compress_texts(template, module_filename=str(file))
        return template

    def _view_class(self, template: Template) -> type[TemplateView]:
        """Return the class of views with the options of `template`: most files have those of the first one."""
        options = {key: getattr(template, key) for key in _OPTION_ATTRIBUTES if hasattr(template, key)}
        if not template.cache_args:
            options["cache_args"] = _NO_CACHE_ARGS
        for known in self._views:
            # A template from a file of `module_directory` lacks some of them.
            if all(getattr(known, key, _MISSING) == value for key, value in options.items()):
                return known
        # A function that becomes a class attribute must not become a method.
        attributes = {key: staticmethod(value) if callable(value) else value for key, value in options.items()}
        view = type("TemplateView", (TemplateView,), {"__slots__": (), "__module__": __name__, **attributes})
        self._views.append(view)
        return view


_END = '__M_END_METADATA\n"""'
"""The end of every module that Mako writes."""

_OPTION_ATTRIBUTES = (
    "input_encoding",
    "output_encoding",
    "encoding_errors",
    "enable_loop",
    "strict_undefined",
    "module_writer",
    "default_filters",
    "buffer_filters",
    "imports",
    "future_imports",
    "preprocessor",
    "format_exceptions",
    "error_handler",
    "include_error_handler",
    "module_directory",
    "cache_args",
    "cache_impl",
    "cache_enabled",
    "reserved_names",
)
"""The attributes of Mako's templates that are the same for most files of an application."""

_NO_CACHE_ARGS: Mapping[str, Any] = MappingProxyType({})
"""Read-only, because views of several sites share it; Mako copies it."""

_MISSING = object()

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
"""The options of Mako that do not affect the compiled code."""


def _module_name(uri: str) -> str:
    """Return Mako's module name for a template with this URI."""
    return re.sub(r"\W", "_", uri)


def _stable_repr(value: Any) -> str:
    """Return a representation of an option that is the same in every process."""
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
    """Write `code` atomically. If the folder is not writable, only log a warning."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=file.parent, suffix=".tmp")
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(code)
        Path(temporary).replace(file)
    except OSError as error:
        log.warning("the compiled template %s was not saved: %s", file, error)
