"""Keys of cached functions: module, name and arguments, spelt so that no two calls share a text.

dogpile.cache joins `str()` of the arguments by blanks, by which `f("a b")` is `f("a", "b")`, `f(1)` is `f("1")`, and an
object is wherever in memory it happens to lie. Here only plain values have a spelling.
"""

from __future__ import annotations

import datetime as dt
import inspect
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from multisite.site import Site

__all__ = ["function_key_generator", "function_multi_key_generator", "spell"]

_REPR_TELLS_APART = frozenset({type(None), bool, int, float, complex, str, bytes, Decimal, UUID, dt.date, dt.timedelta})
"""Types whose `repr` is another one for each value, and none of another type's. Subclasses are not meant."""

ToStr = Callable[[Any], str]


def spell(value: object) -> str:
    """Return a text for `value` that no other value has. Raises `TypeError` for what is not a plain value.

    Plain are None, truth values, numbers, texts, bytes, dates and times, UUIDs, members of an Enum, classes, a `Site`
    (by its id), and tuples, lists, sets and mappings of these.
    """
    kind = type(value)
    if kind in _REPR_TELLS_APART:
        return repr(value)
    if kind in _SPELT:
        return f"{kind.__name__}({_SPELT[kind](value)})"
    if isinstance(value, Enum):
        return f"{_named(kind)}.{value.name}"
    if isinstance(value, type):
        return f"class {_named(value)}"
    raise TypeError(f"a {_named(kind)} cannot be part of a cache key")


def _spell_moment(value: dt.datetime | dt.time) -> str:
    return f"{value.isoformat()} {value.fold} {value.tzinfo}"


def _spell_in_order(value: Iterable[object]) -> str:
    return ",".join(map(spell, value))


def _spell_sorted(value: Iterable[object]) -> str:
    return ",".join(sorted(map(spell, value)))


def _spell_pairs(value: Mapping[object, object]) -> str:
    return ",".join(sorted(f"{spell(key)}:{spell(each)}" for key, each in value.items()))


_SPELT: dict[type, Callable[[Any], str]] = {
    dt.datetime: _spell_moment,
    dt.time: _spell_moment,
    tuple: _spell_in_order,
    list: _spell_in_order,
    set: _spell_sorted,
    frozenset: _spell_sorted,
    dict: _spell_pairs,
    Site: lambda site: str(site.id),
}
"""How values are spelt whose `repr` is not enough; those of subclasses may mean something else."""


def _named(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _name_of(function: Callable[..., Any], namespace: str | None) -> str:
    """Return the function's name. Raises `ValueError` for one that others share: a lambda, or a function in another."""
    name = f"{function.__module__}.{function.__qualname__}"
    if namespace is None and "<" in function.__qualname__:
        raise ValueError(
            f"{name} is made anew each time its lines run, and all of them would share what is kept: give it a "
            'namespace of its own, such as cache_on_arguments("prices")'
        )
    return name if namespace is None else f"{name} {namespace!r}"


def function_key_generator(
    namespace: str | None, function: Callable[..., Any], to_str: ToStr | None = None
) -> Callable[..., str]:
    """Return what makes the keys of `function`, in the form in which dogpile.cache asks for it.

    An argument is the same given by position, by name or left to its default. With `to_str` it makes the text of each
    argument, in which the application may take an object by its key.
    """
    name, signature = _name_of(function, namespace), inspect.signature(function)
    spelt = spell if to_str is None else lambda value: repr(to_str(value))

    def generate_key(*args: Any, **kw: Any) -> str:
        bound = signature.bind(*args, **kw)
        bound.apply_defaults()
        return f"{name}({','.join(_arguments(name, bound, spelt))})"

    return generate_key


def _arguments(name: str, bound: inspect.BoundArguments, spelt: ToStr) -> list[str]:
    texts = []
    for key, value in bound.arguments.items():
        kind = bound.signature.parameters[key].kind
        try:
            if kind is inspect.Parameter.VAR_POSITIONAL:
                text = f"({','.join(map(spelt, value))})"
            elif kind is inspect.Parameter.VAR_KEYWORD:
                given: Mapping[str, Any] = value
                text = f"({','.join(f'{each}={spelt(given[each])}' for each in sorted(given))})"
            else:
                text = spelt(value)
        except TypeError as error:
            raise TypeError(
                f"{name}: its argument {key} has no key: {error}; give it plain values (an id), or use to_str="
            ) from None
        texts.append(f"{key}={text}")
    return texts


def function_multi_key_generator(
    namespace: str | None, function: Callable[..., Any], to_str: ToStr = str
) -> Callable[..., list[str]]:
    """Return what makes one key for each argument of `function`, for `cache_multi_on_arguments`."""
    name = _name_of(function, namespace)
    spelt = spell if to_str is str else lambda value: repr(to_str(value))

    def generate_keys(*args: Any) -> list[str]:
        return [f"{name}[{spelt(each)}]" for each in args]

    return generate_keys
