"""Replace the names of emoji, such as `:smile:`, where the tool of the files does: `replace_emoji_names`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import accumulate

from markdown_it import MarkdownIt

from multisite.content.imports.article import Article
from multisite.content.imports.old_site import OldSite
from multisite.content.markup.code_spans import find_code, is_in
from multisite.content.markup.markdown import check_markup

__all__ = ["replace_emoji_names"]

_NAME = re.compile(r"(?<!/):[a-z0-9_+-]{1,60}:", re.ASCII)
_CODE = re.compile(r"<(pre|code|script|style)\b|\{(?:%-?|\{[<%])\s*(highlight|raw)\b", re.IGNORECASE)
"""The beginning of code in HTML, Liquid and shortcodes."""


def replace_emoji_names(article: Article, old_site: OldSite) -> Article:
    """Return the article with characters for the names of emoji outside of code.

    Jekyll does that with the plugin jemoji, also in titles; Hugo with `enableEmoji`; Zola with `render_emoji`.

    Raises:
        NestingTooDeep: The text has too much markup to be rendered.
    """
    if not _has_emoji(old_site) or not (_NAME.search(article.body) or _NAME.search(article.title)):
        return article
    from emoji import emojize  # Late: it reads a table of all names, which few imports need.

    title = article.title
    if old_site.tool == "jekyll":
        title = _NAME.sub(lambda found: emojize(found[0], language="alias"), title)
    check_markup(article.body)
    spans = [find_code(article.body), list(_blocks(article.body)), list(_elements(article.body))]

    def character(found: re.Match[str]) -> str:
        is_code = any(is_in(found.start(), each) for each in spans)
        return found[0] if is_code else emojize(found[0], language="alias")

    return replace(article, title=title, body=_NAME.sub(character, article.body))


def _has_emoji(old_site: OldSite) -> bool:
    config = old_site.config
    if old_site.tool == "jekyll":
        plugins = [config.get(name) for name in ("plugins", "gems")]
        return any(isinstance(names, list) and "jemoji" in names for names in plugins)
    if old_site.tool == "zola":
        options = config.get("markdown")
        return isinstance(options, Mapping) and options.get("render_emoji") is True
    return old_site.tool == "hugo" and config.get("enableemoji") is True


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """Yield the positions of indented code."""
    starts = [0, *accumulate(len(line) + 1 for line in text.split("\n"))]
    for token in MarkdownIt("commonmark").disable("inline").parse(text):
        if token.type == "code_block" and token.map is not None:
            yield starts[token.map[0]], starts[token.map[1]]


def _elements(text: str) -> Iterator[tuple[int, int]]:
    """Yield the positions of code in HTML, Liquid and shortcodes; what is not closed ends with the text."""
    position = 0
    while (start := _CODE.search(text, position)) is not None:
        name = start[1] or start[2]
        end = re.compile(rf"(?:</|\{{%-?\s*end|\{{\{{[<%]\s*/)\s*{name}\b", re.IGNORECASE).search(text, start.end())
        position = end.end() if end else len(text)
        yield start.start(), position
