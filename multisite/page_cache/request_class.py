"""The class of requests with all that was added to them, made once.

Pyramid makes a class anew for each request that properties were added to (`config.add_request_method`), and binds each
added method to it. That is more work than all the rest of an answer from the page cache, so the class is kept here. A
request is no different for it: it has the same attributes, of a class of the same name.
"""

from __future__ import annotations

from typing import Any

from pyramid.router import Router
from pyramid.util import InstancePropertyHelper

__all__ = ["ReadyExtensions", "prepare"]

MAX_CLASSES = 8
"""Of how many classes the ready ones are kept: a request factory that adds a property itself makes one each time."""


class ReadyExtensions:
    """Stands in for Pyramid's `IRequestExtensions` where the router applies them to a request.

    It has one method and no property: the method is called `__class__`, and what Pyramid sets for that is the class of
    the request with all the methods and properties of `extensions`. It is made anew where some were added meanwhile.
    """

    def __init__(self, extensions: Any) -> None:
        self._extensions = extensions
        self._classes: dict[type, type] = {}
        self._count = -1
        self.methods = {"__class__": self}
        self.descriptors: dict[str, Any] = {}

    def __get__(self, request: Any, cls: type) -> type:
        extensions = self._extensions
        count = len(extensions.methods) + len(extensions.descriptors)
        if count != self._count:
            self._classes, self._count = {}, count
        ready = self._classes.get(cls)
        if ready is None:
            request_like: Any = object.__new__(cls)
            InstancePropertyHelper.apply_properties(request_like, {**extensions.methods, **extensions.descriptors})
            ready = type(request_like)
            if len(self._classes) < MAX_CLASSES:
                self._classes[cls] = ready
        return ready


def prepare(app: Router) -> None:
    """Let `app` give its requests the class that is made once, if it adds anything to them."""
    if getattr(app, "request_extensions", None) is not None:
        app.request_extensions = ReadyExtensions(app.request_extensions)
