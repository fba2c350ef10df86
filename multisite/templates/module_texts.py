"""The texts of compiled templates, which Mako keeps for tracebacks: their source, and the module compiled from it.

They are several kilobytes for each file, and read only when a template fails. So they are kept compressed, by reference
to what all modules of Mako have in common, in two fifths of the memory.
"""

from __future__ import annotations

import zlib
from functools import cache
from importlib.abc import InspectLoader
from types import ModuleType

from mako.template import ModuleInfo, Template

__all__ = ["ModuleTexts", "compress_texts"]


class ModuleTexts(ModuleInfo, InspectLoader):  # type: ignore[misc]  # Mako has no types.
    """Mako's record of a module, with compressed texts. It registers itself in place of the previous one.

    For a module that is in no file, it is also the loader that gives `linecache` the text.
    """

    def __init__(self, template: Template, source: str, code: str, module_filename: str | None) -> None:
        super().__init__(template.module, module_filename, template, template.filename, None, None, template.uri)
        # Together, because the module repeats most of the template.
        self._texts, self._source_length = _compress(source + code), len(source)

    @property
    def source(self) -> str:
        """The text of the template."""
        return _decompress(self._texts)[: self._source_length]

    @property
    def code(self) -> str:
        """The text of the module."""
        return _decompress(self._texts)[self._source_length :]

    def get_source(self, fullname: str) -> str:
        """Return the text of the module."""
        return self.code

    def is_package(self, fullname: str) -> bool:
        """Return False: a template is a module."""
        return False


def compress_texts(template: Template, *, module_filename: str | None = None) -> None:
    """Compress the texts that `template` keeps. `module_filename` is the file of its module, if it has one."""
    source = template.source
    if not isinstance(source, str):  # Without an encoding, Mako keeps bytes.
        return
    texts = ModuleTexts(template, source, template.code, module_filename)
    module: ModuleType = template.module
    if module_filename is None and module.__spec__ is not None:
        module.__loader__ = module.__spec__.loader = texts
    for name in ("_code", "_source"):
        # Mako sets them, and does not read them.
        vars(template).pop(name, None)


@cache
def _common() -> bytes:
    """Return a module of a short template; others refer to its parts (the preset dictionary of RFC 1950)."""
    text = (
        '<%inherit file="layout.mako"/><%block name="title">${title}</%block>\n% for each in all:\n${each}\n% endfor\n'
    )
    return str(Template(text, default_filters=["h"]).code).encode()  # noqa: S702


def _compress(text: str) -> bytes:
    compressor = zlib.compressobj(9, zdict=_common())
    return compressor.compress(text.encode("utf-8", "surrogatepass")) + compressor.flush()


def _decompress(compressed: bytes) -> str:
    return zlib.decompressobj(zdict=_common()).decompress(compressed).decode("utf-8", "surrogatepass")
