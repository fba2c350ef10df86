"""Redirects from the addresses of an old blog to those of its entries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import quote, unquote

from multisite.content.exports.index import ExportIndex
from multisite.content.exports.links import tag_path
from multisite.content.page_paths import address_of
from multisite.content.redirect_rules import InvalidRedirect, Rule, parse_rule, path_key

__all__ = ["old_addresses"]


def old_addresses(
    index: ExportIndex, base: str, lists: dict[str, str], on_invalid: Callable[[str], None]
) -> Iterator[Rule]:
    """Yield the redirects of a blog: posts, categories, tags and months, and then `lists`.

    Args:
        index: The index of the whole export.
        base: The path that the blog was below, such as `/blog`.
        lists: Targets by the path below `base`, of feeds for example.
        on_invalid: Called with the reason for each address that cannot be redirected.
    """
    for address, target in _pairs(index, base, lists):
        try:
            rule = parse_rule(address, target)
        except InvalidRedirect as error:
            on_invalid(str(error))
            continue
        if rule.path != path_key(unquote(target)):
            yield rule


def _pairs(index: ExportIndex, base: str, lists: dict[str, str]) -> Iterator[tuple[str, str]]:
    for address, slug in index.addresses():
        yield f"{base}/{address}" if address.startswith("?") else quote(address), address_of(slug)
    for path, slug in index.tags():
        yield f"{base}/{quote(path)}", tag_path(slug)
    for month in index.months():
        year = month[:4]
        yield f"{base}/{year}", f"/archive/{year}"
        yield f"{base}/{month.replace('-', '/')}", f"/archive/{year}"
    for path, target in lists.items():
        yield f"{base}/{path}", target
