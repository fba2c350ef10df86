"""Build the request class with all added properties once, instead of for each request.

If an application adds request properties (`config.add_request_method`), Pyramid builds a new class for each request and
binds each added method to it. This costs some 200,000 instructions, two fifths of a request that needs no session
(docs/benchmarks.md), and leaves cyclic garbage. With the cached class, a request has the same attributes, on a class of
the same name. The class also parses queries and forms safely (`multisite.web.forms`).

This relies on three internals of Pyramid: the router applies `IRequestExtensions.methods` by binding each with
`__get__` and setting the result as an attribute of the request, `InstancePropertyHelper.apply_properties` replaces the
class of its target, and the router makes each request of a client by its method `request_context`.
"""

from __future__ import annotations

from typing import Any

from pyramid.interfaces import IRequestExtensions
from pyramid.registry import Registry
from pyramid.threadlocal import RequestContext
from pyramid.util import InstancePropertyHelper

from multisite.web.forms import safe_properties

__all__ = ["RequestClass", "make_directly", "prepare"]

MAX_CLASSES = 8
"""Maximum number of cached classes: a request factory that adds properties itself builds a class per request."""

NAME = "__class__"


class RequestClass:
    """A descriptor that Pyramid takes for an added request method named `__class__`.

    Pyramid binds added methods to each request and sets the result as an attribute. Binding this one returns the
    request's class extended by `attributes`, the added methods and properties by name.
    """

    def __init__(self, attributes: dict[str, Any]) -> None:
        self.attributes = attributes
        self._ready: dict[type, type] = {}

    def __get__(self, request: object, cls: type) -> type:
        return self._ready.get(cls) or self._make(cls)

    def _make(self, cls: type) -> type:
        request_like: Any = object.__new__(cls)
        InstancePropertyHelper.apply_properties(request_like, {**safe_properties(cls), **self.attributes})
        ready = type(request_like)
        if len(self._ready) < MAX_CLASSES:
            # The result is a key as well: a request that passes through the application again already has that class.
            self._ready |= {cls: ready, ready: ready}
        return ready


def prepare(registry: Registry) -> None:
    """Replace the request extensions of a completely configured application by one `RequestClass`.

    Extensions that are added later are applied by Pyramid as usual. Call this again for each further application made
    from the same registry.
    """
    extensions: Any = registry.queryUtility(IRequestExtensions)
    if extensions is None:
        return
    earlier = extensions.methods.pop(NAME, None)
    attributes = {**(earlier.attributes if earlier else {}), **extensions.methods, **extensions.descriptors}
    extensions.methods.clear()
    extensions.descriptors.clear()
    extensions.methods[NAME] = RequestClass(attributes)


def make_directly(router: Any) -> None:
    """Let `router` make its requests from the class with all extensions, which saves replacing the class of each.

    Not if the application's request factory is a function, which may return anything, nor once extensions are added
    later.
    """
    factory, extensions, plain = router.request_factory, router.request_extensions, router.request_context
    extended = None if extensions is None else extensions.methods.get(NAME)
    if not isinstance(factory, type) or not isinstance(extended, RequestClass):
        return
    ready, registry = extended.__get__(None, factory), router.registry
    methods, descriptors = extensions.methods, extensions.descriptors

    def request_context(environ: dict[str, Any]) -> RequestContext:
        if len(methods) > 1 or descriptors or methods.get(NAME) is not extended:
            context: RequestContext = plain(environ)
            return context
        request = ready(environ)
        request.registry = registry
        request.invoke_subrequest = router.invoke_subrequest
        return RequestContext(request)

    router.request_context = request_context
