"""Keys of cached functions: module, name and arguments, serialized so that different calls have different keys.

dogpile.cache joins `str()` of the arguments with blanks: `f("a b")` and `f("a", "b")` share a key, so do `f(1)` and
`f("1")`, and an object's key depends on its memory address. Here only plain values can be serialized.
"""

from __future__ import annotations

import datetime as dt
import inspect
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from multisite.core.site import Site

__all__ = ["function_key_generator", "function_multi_key_generator", "serialize"]

_REPR_IS_UNIQUE = frozenset({type(None), bool, int, float, complex, str, bytes, Decimal, UUID, dt.date, dt.timedelta})
"""Types whose `repr` differs for different values, and from that of every other type. Excludes subclasses."""

ToStr = Callable[[Any], str]


def serialize(value: object) -> str:
    """Return a text that is unique to `value`.

    Plain values are None, booleans, numbers, strings, bytes, dates and times, UUIDs, members of an Enum, classes, a
    `Site` (by its id), and tuples, lists, sets and mappings of these.

    Raises:
        TypeError: `value` is not a plain value.
    """
    kind = type(value)
    if kind in _REPR_IS_UNIQUE:
        return repr(value)
    if kind in _SERIALIZERS:
        return f"{kind.__name__}({_SERIALIZERS[kind](value)})"
    if isinstance(value, Enum):
        return f"{_type_name(kind)}.{value.name}"
    if isinstance(value, type):
        return f"class {_type_name(value)}"
    raise TypeError(f"a {_type_name(kind)} cannot be part of a cache key")


def _serialize_time(value: dt.datetime | dt.time) -> str:
    return f"{value.isoformat()} {value.fold} {value.tzinfo}"


def _serialize_sequence(value: Iterable[object]) -> str:
    return ",".join(map(serialize, value))


def _serialize_set(value: Iterable[object]) -> str:
    return ",".join(sorted(map(serialize, value)))


def _serialize_mapping(value: Mapping[object, object]) -> str:
    return ",".join(sorted(f"{serialize(key)}:{serialize(each)}" for key, each in value.items()))


_SERIALIZERS: dict[type, Callable[[Any], str]] = {
    dt.datetime: _serialize_time,
    dt.time: _serialize_time,
    tuple: _serialize_sequence,
    list: _serialize_sequence,
    set: _serialize_set,
    frozenset: _serialize_set,
    dict: _serialize_mapping,
    Site: lambda site: str(site.id),
}
"""Serializers of types whose `repr` is not unique. Excludes subclasses, which may compare differently."""


def _type_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _function_name(function: Callable[..., Any], namespace: str | None) -> str:
    """Return the function's name. Raises `ValueError` if other functions share it: lambdas and local functions."""
    name = f"{function.__module__}.{function.__qualname__}"
    if namespace is None and "<" in function.__qualname__:
        raise ValueError(
            f"{name} is created again each time its definition runs, and all copies would share cached values: give it "
            'a namespace, such as cache_on_arguments("prices")'
        )
    return name if namespace is None else f"{name} {namespace!r}"


def function_key_generator(
    namespace: str | None, function: Callable[..., Any], to_str: ToStr | None = None
) -> Callable[..., str]:
    """Return a key generator for `function`, with the signature that dogpile.cache expects.

    An argument has the same key whether it is given by position, by name or by its default.

    Args:
        namespace: Separates the keys of functions with the same name; None if the name is unique.
        function: The cached function.
        to_str: Returns the text of one argument; None serializes plain values.
    """
    name, signature = _function_name(function, namespace), inspect.signature(function)
    to_text = serialize if to_str is None else lambda value: repr(to_str(value))

    def generate_key(*args: Any, **kw: Any) -> str:
        bound = signature.bind(*args, **kw)
        bound.apply_defaults()
        return f"{name}({','.join(_arguments(name, bound, to_text))})"

    return generate_key


def _arguments(name: str, bound: inspect.BoundArguments, to_text: ToStr) -> list[str]:
    texts = []
    for key, value in bound.arguments.items():
        kind = bound.signature.parameters[key].kind
        try:
            if kind is inspect.Parameter.VAR_POSITIONAL:
                text = f"({','.join(map(to_text, value))})"
            elif kind is inspect.Parameter.VAR_KEYWORD:
                given: Mapping[str, Any] = value
                text = f"({','.join(f'{each}={to_text(given[each])}' for each in sorted(given))})"
            else:
                text = to_text(value)
        except TypeError as error:
            raise TypeError(
                f"{name}: cannot make a key of its argument {key}: {error}; pass plain values (an id), or use to_str="
            ) from None
        texts.append(f"{key}={text}")
    return texts


def function_multi_key_generator(
    namespace: str | None, function: Callable[..., Any], to_str: ToStr = str
) -> Callable[..., list[str]]:
    """Return a generator of one key for each argument of `function`, for `cache_multi_on_arguments`."""
    name = _function_name(function, namespace)
    to_text = serialize if to_str is str else lambda value: repr(to_str(value))

    def generate_keys(*args: Any) -> list[str]:
        return [f"{name}[{to_text(each)}]" for each in args]

    return generate_keys
