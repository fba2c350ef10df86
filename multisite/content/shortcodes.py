"""Replace Liquid tags (Jekyll) and Hugo shortcodes by equivalent Markdown and HTML.

Known ones are replaced, outside of code blocks; unknown ones stay as written and are reported.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html import escape

from multisite.content.code_spans import find_code, is_in
from multisite.content.embeds import youtube_html
from multisite.content.links import Resolve

__all__ = ["expand_shortcodes", "parse_arguments"]

Report = Callable[[int, str, str], None]
"""Called with a line number (from 0), a kind, and a text."""

_TAG = re.compile(
    r"\{%-?[ \t]*(?P<liquid>[^%\n]{1,500}?)[ \t]*-?%\}"
    r"|\{\{(?P<edge>[<%])[ \t]*(?P<hugo>[^\n]{1,500}?)[ \t]*[>%]\}\}"
    r"|\{\{-?[ \t]*(?P<output>[^{}\n]{1,500}?)[ \t]*-?\}\}"
)
_WORD = re.compile(r"""([\w-]+)\s*=\s*("[^"]*"|'[^']*'|`[^`]*`|[^\s"'`]+)|("[^"]*"|'[^']*'|`[^`]*`|[^\s"'`=]+)""")
_FILTERED = re.compile(r"""["']([^"']*)["']\s*\|\s*(?:relative_url|absolute_url|prepend:.*)$""")
_EMPTY = frozenset({"site.baseurl", "site.url", "site.github.url"})
_SWALLOWED = frozenset({"comment", "highlight", "raw"})


def expand_shortcodes(text: str, resolve: Resolve, report: Report) -> str:
    """Return `text` with known tags replaced.

    `resolve` returns the URL path of the entry of a file or post, or None; `report` is called for each unknown tag.
    """
    return "".join(_expand(text, resolve, report)) if "{%" in text or "{{" in text else text


def _expand(text: str, resolve: Resolve, report: Report) -> Iterator[str]:
    position, line, line_start = 0, 0, 0
    code = find_code(text)
    unclosed: set[str] = set()
    for tag in _TAG.finditer(text):
        if tag.start() < position:
            continue
        name, arguments = _name_and_arguments(tag)
        if name not in ("raw", "endraw") and is_in(tag.start(), code):
            continue
        line += text.count("\n", line_start, tag.start())
        line_start = tag.start()
        yield text[position : tag.start()]
        position = tag.end()
        closing = _closing(text, tag, name, unclosed) if name in _SWALLOWED else None
        if closing is not None:
            before = text[text.rfind("\n", 0, tag.start()) + 1 : tag.start()]
            yield _block(name, arguments, text[tag.end() : closing.start()], before)
            position = closing.end()
            continue
        replaced = _replacement(tag, name, arguments, resolve)
        if replaced is None:
            report(line, "raw text", tag[0])
        yield tag[0] if replaced is None else replaced
    yield text[position:]


def _name_and_arguments(tag: re.Match[str]) -> tuple[str, str]:
    if tag["output"] is not None:
        return "", tag["output"]
    name, _, arguments = (tag["liquid"] or tag["hugo"]).partition(" ")
    return name.lower(), arguments.strip()


def _closing(text: str, tag: re.Match[str], name: str, unclosed: set[str]) -> re.Match[str] | None:
    """Return the tag that closes a block; an unsuccessful search is not repeated for the same name."""
    if name in unclosed:
        return None
    pattern = rf"\{{%-?\s*end{name}\s*-?%\}}" if tag["liquid"] else rf"\{{\{{[<%]\s*/\s*{name}\s*[>%]\}}\}}"
    closing = re.compile(pattern).search(text, tag.end())
    if closing is None:
        unclosed.add(name)
    return closing


def _block(name: str, arguments: str, content: str, before: str) -> str:
    """Return the replacement of a block; `before` is the beginning of its line, usually indentation."""
    if name == "comment":
        return ""
    if name == "raw":
        return content
    language = re.match(r"[\w+#.-]+", arguments.strip("\"' "))
    content = content.strip("\n")
    longest = max((len(run) for run in re.findall("`+", content)), default=0)
    fence = "`" * max(3, longest + 1)
    start, indent = ("", before) if not before.strip() else ("\n", "")
    return f"{start}{fence}{language[0] if language else ''}\n{content}\n{indent}{fence}"


def _replacement(tag: re.Match[str], name: str, arguments: str, resolve: Resolve) -> str | None:
    if tag["output"] is not None:
        return _output(arguments)
    words, named = parse_arguments(arguments)
    first = words[0] if words else named.get("id", "")
    if name in ("post_url", "link", "ref", "relref"):
        return resolve(first or named.get("path", ""))
    if name == "figure" and named.get("src"):
        return _figure(named)
    if name in ("raw", "endraw"):
        return ""
    return _embed(name, words, first)


def _embed(name: str, words: list[str], first: str) -> str | None:
    """Return a link to embedded content, or None if it is unknown."""
    if not re.fullmatch(r"[\w./-]{1,100}", first):
        return None
    if name == "youtube":
        return youtube_html(first)
    if name == "vimeo":
        return f"[Vimeo](https://vimeo.com/{first})"
    if name == "gist":
        path = "/".join(words[:2]) if "/" not in first and len(words) > 1 else first
        return f"[Gist](https://gist.github.com/{path})"
    if name in ("tweet", "twitter", "x") and words[-1].isdigit():
        return f"[Tweet](https://twitter.com/i/status/{words[-1]})"
    return None


def _output(expression: str) -> str | None:
    if expression in _EMPTY:
        return ""
    filtered = _FILTERED.match(expression)
    return filtered[1] if filtered else None


def _figure(named: dict[str, str]) -> str:
    caption = " ".join(named[key] for key in ("title", "caption") if named.get(key))
    picture = f'<img src="{escape(named["src"])}" alt="{escape(named.get("alt", caption))}">'
    if link := named.get("link"):
        picture = f'<a href="{escape(link)}">{picture}</a>'
    return f"<figure>{picture}{f'<figcaption>{escape(caption)}</figcaption>' if caption else ''}</figure>"


def parse_arguments(arguments: str) -> tuple[list[str], dict[str, str]]:
    """Return the words and the named values of a tag: `a b="c d"`."""
    words, named = [], {}
    for found in _WORD.finditer(arguments):
        if found[1]:
            named[found[1].lower()] = _unquoted(found[2])
        else:
            words.append(_unquoted(found[3]))
    return words, named


def _unquoted(text: str) -> str:
    return text[1:-1] if text[0] in "\"'`" else text
