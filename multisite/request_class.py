"""The class of requests with all that was added to them, made once instead of at each request.

Pyramid makes a class anew for each request that properties were added to (`config.add_request_method`), and binds each
added method to it: some 200,000 instructions, two fifths of a request that needs no session (docs/benchmarks.md), and
garbage that only the collector finds. A request is no different for the class that is kept here: it has the same
attributes, of a class of the same name. Its query and its form are read with care (`multisite.forms`).
"""

from __future__ import annotations

from typing import Any

from pyramid.interfaces import IRequestExtensions
from pyramid.registry import Registry
from pyramid.util import InstancePropertyHelper

from multisite.forms import readable

__all__ = ["RequestClass", "prepare"]

MAX_CLASSES = 8
"""Of how many classes the ready ones are kept: a request factory that adds a property itself makes one each time."""

NAME = "__class__"


class RequestClass:
    """What Pyramid takes for the one method that was added, under the name `__class__`.

    Pyramid binds a method to each request and sets what it gets on it: of this, the class of the request with
    `attributes`, which are all the methods and properties that were added, by name.
    """

    def __init__(self, attributes: dict[str, Any]) -> None:
        self.attributes = attributes
        self._ready: dict[type, type] = {}

    def __get__(self, request: object, cls: type) -> type:
        return self._ready.get(cls) or self._make(cls)

    def _make(self, cls: type) -> type:
        request_like: Any = object.__new__(cls)
        InstancePropertyHelper.apply_properties(request_like, {**readable(cls), **self.attributes})
        ready = type(request_like)
        if len(self._ready) < MAX_CLASSES:
            # The ready one too: a request that is sent through the application once more has it already.
            self._ready |= {cls: ready, ready: ready}
        return ready


def prepare(registry: Registry) -> None:
    """Let the requests of an application that is complete get the class that is made once.

    What is added to requests later is added as Pyramid does it. To be called again for the same registry, if another
    application is made of it.
    """
    extensions: Any = registry.queryUtility(IRequestExtensions)
    if extensions is None:
        return
    earlier = extensions.methods.pop(NAME, None)
    attributes = {**(earlier.attributes if earlier else {}), **extensions.methods, **extensions.descriptors}
    extensions.methods.clear()
    extensions.descriptors.clear()
    extensions.methods[NAME] = RequestClass(attributes)
