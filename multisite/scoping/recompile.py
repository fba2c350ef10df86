"""Compile a statement again: with the limit to a site, or without it.

A statement from the compiled cache may be in the wrong form: compiled before scoping was installed, or limited although
it is executed for all sites.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

from multisite.scoping.compiler import plain_class, scoped_class

__all__ = ["recompile_scoped", "recompile_unlimited"]


def _compile_as(compiled: Any, into: Any) -> Any:
    return into(
        compiled.dialect,
        compiled.statement,
        cache_key=compiled.cache_key,
        column_keys=compiled.column_keys,
        for_executemany=compiled.for_executemany,
        linting=compiled.linting,
        schema_translate_map=compiled.schema_translate_map,
    )


def recompile_unlimited(compiled: Any) -> Any:
    """Return the statement of `compiled` without limits.

    It is stored on `compiled`, so that both are in the compiled cache together.
    """
    try:
        return compiled.multisite_plain
    except AttributeError:
        compiled.multisite_plain = plain = _compile_as(compiled, plain_class(compiled.__class__))
        return plain


def recompile_scoped(compiled: Any, connection: Connection, options: Any) -> Any:
    """Return the scoped form of a statement that was compiled before scoping was installed.

    The compiled cache that it came from may hold other such statements, so the cache is cleared.
    """
    if "compiled_cache" not in options:
        connection.engine.clear_compiled_cache()
    elif options["compiled_cache"] is not None:
        options["compiled_cache"].clear()
    return _compile_as(compiled, scoped_class(compiled.__class__))
