"""Convert the HTML of an export to Markdown, or to cleaned HTML where Markdown has no equivalent.

markdownify converts; the result is rendered and compared with the HTML. An entry's `body` is therefore always a text
whose rendering is its `body_html`, and nothing is lost without a note in the report.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from html import escape
from urllib.parse import unquote

from bs4 import BeautifulSoup, Tag
from markdownify import MarkdownConverter

from multisite.content.markup.cleaning import ALLOWED_WITH_ANCHORS, OnRemoved, clean
from multisite.content.markup.markdown import EXCERPT_LENGTH, SUMMARY_LENGTH, Rendered, check_markup, render, shorten
from multisite.content.markup.tidy import balance, count_depth

__all__ = ["Rewrite", "convert_html"]

Rewrite = Callable[[str, str, int], str]
"""Called as `rewrite(tag, url, line)` for each URL of a link, an image or a media file; returns the new URL."""

_MORE = re.compile(r"<!--\s*more\b.{0,200}?-->", re.DOTALL)
_RENAMED = {
    "acronym": "abbr",
    "address": "div",
    "article": "div",
    "aside": "div",
    "center": "div",
    "footer": "div",
    "header": "div",
    "main": "div",
    "nav": "div",
    "section": "div",
    "strike": "del",
    "tt": "code",
}
"""Elements that are written as another one which sanitizing keeps."""

_OLD_TAG = re.compile(rf"(</?)({'|'.join(_RENAMED)})(?=[\s/>])", re.IGNORECASE)
_BLANK_LINES = re.compile(r"\n\s*\n")
_PLAIN_URL = re.compile(r"[^\s()&_*]+")
_MAX_DEPTH = 60
"""Nesting depth up to which HTML becomes Markdown: markdownify calls itself three times for each level."""

_MAX_ITEMS = 1000
"""List items up to which HTML becomes Markdown: markdownify takes quadratic time in their number."""

_INLINE_HTML = frozenset("abbr cite dfn ins kbd mark q samp small span sub sup time u var".split())  # noqa: SIM905
"""Elements in a line that Markdown has no notation for."""

_BLOCKS_IN_LINKS = ["blockquote", "div", "figure", "li", "p", "table"]
_BLOCK_HTML = frozenset({"audio", "details", "dl", "figure", "video"})
_COUNTED = frozenset(
    "a audio blockquote code del em figcaption heading hr img li ol pre strong sub sup table td th tr ul video".split()  # noqa: SIM905
)
_SAME = {"b": "strong", "i": "em", "s": "del", **{f"h{level}": "heading" for level in range(1, 7)}}
_URLS = {"a": "href", "audio": "src", "img": "src", "source": "src", "video": "src"}


def convert_html(html: str, rewrite: Rewrite, on_removed: OnRemoved) -> tuple[str, Rendered]:
    """Return the Markdown for `html`, and that text rendered.

    Args:
        html: HTML as an editor wrote it. `<!--more-->` ends the summary.
        rewrite: Returns the new URL for each old one.
        on_removed: Called for what sanitizing removes, with the line from 0.

    Raises:
        NestingTooDeep: The text would take minutes to render.
    """
    check_markup(html)
    marker = _MORE.search(html)
    if marker is None:
        return _render_checked([_prepare(html, 0, rewrite, on_removed)])
    before, after = html[: marker.start()], html[marker.end() :]
    line = html.count("\n", 0, marker.end())
    return _render_checked([_prepare(before, 0, rewrite, on_removed), _prepare(after, line, rewrite, on_removed)])


def _prepare(html: str, line: int, rewrite: Rewrite, on_removed: OnRemoved) -> BeautifulSoup:
    """Return `html` balanced, with allowed elements and new URLs."""
    html = _OLD_TAG.sub(lambda tag: tag[1] + _RENAMED[tag[2].lower()], html)
    soup = _parse(balance(f"<!--@{line}-->{html}", ALLOWED_WITH_ANCHORS, on_removed))
    for tag in soup.find_all(list(_URLS)):
        del tag["srcset"], tag["sizes"]  # Versions on the old server.
        attribute = _URLS[tag.name]
        url = str(tag.get(attribute) or "").strip()
        if url.startswith("data:"):
            _drop_data(tag, attribute, line, on_removed)
        elif url and not url.startswith("#"):
            tag[attribute] = rewrite(tag.name, url, line + (tag.sourceline or 1) - 1)
    for tag in soup.find_all(title=True):
        tag["title"] = " ".join(str(tag["title"]).split())
    for tag in soup.find_all("br"):
        if _is_last(tag):
            tag.decompose()
    return soup


def _drop_data(tag: Tag, attribute: str, line: int, on_removed: OnRemoved) -> None:
    """Remove a `data:` URL; of other elements than images, the content stays."""
    if tag.name != "img":  # `balance` has reported images.
        on_removed(line + (tag.sourceline or 1) - 1, "left out", f"a data: URL of <{tag.name}>")
    if tag.name in ("img", "source"):
        tag.decompose()
    else:
        del tag[attribute]


def _parse(html: str) -> BeautifulSoup:
    # Without a line break, it warns of a text that looks like a URL or the name of a file.
    return BeautifulSoup(f"{html}\n", "html.parser")


def _is_last(tag: Tag) -> bool:
    """Return whether nothing but space follows `tag` in its element."""
    return all(isinstance(node, str) and not node.strip() for node in tag.next_siblings)


def _render_checked(soups: list[BeautifulSoup]) -> tuple[str, Rendered]:
    """Return the Markdown if its rendering is equivalent to the HTML, else the HTML."""
    sources = [str(soup) for soup in soups]
    bodies = [_markdown(soup, source) for soup, source in zip(soups, sources, strict=True)]
    if None not in bodies:
        body = "\n\n<!--more-->\n\n".join(str(part) for part in bodies)
        rendered = render(body, "html")
        wanted = clean("\n".join(sources), raw=True, anchors=True, on_removed=lambda *_: None)
        if _features(rendered.html) == _features(wanted):
            return body, rendered
    body = "\n\n<!--more-->\n\n".join(f"<div>\n{_without_blank_lines(source)}\n</div>" for source in sources)
    rendered = render(body, "html")
    return body, replace(rendered, summary=_summary(soups[0], is_marked=len(soups) > 1))


def _summary(soup: BeautifulSoup, *, is_marked: bool) -> str:
    """Return the text of the first paragraph, or of all if the author marked where the summary ends."""
    texts = (" ".join(paragraph.get_text().split()) for paragraph in soup.find_all("p"))
    found = list(filter(None, texts)) or [" ".join(soup.get_text(" ").split())]
    return shorten(" ".join(found), EXCERPT_LENGTH) if is_marked else shorten(found[0], SUMMARY_LENGTH)


def _markdown(soup: BeautifulSoup, source: str) -> str | None:
    """Return the Markdown, or None if converting would take too long."""
    if count_depth(source) > _MAX_DEPTH or source.count("<li") > _MAX_ITEMS or source.count("<td") > _MAX_ITEMS:
        return None
    text: str = _Converter().convert_soup(soup)
    return text.strip()


def _without_blank_lines(html: str) -> str:
    """Return `html` as one block for Markdown, which an empty line would end."""
    parts = re.split(r"(<pre[\s>].*?</pre>)", html, flags=re.DOTALL)
    return "".join(
        part.replace("\n", "&#10;") if number % 2 else _BLANK_LINES.sub("\n", part) for number, part in enumerate(parts)
    ).strip()


def _features(html: str) -> tuple[str, Counter[str], list[str], list[str]]:
    """Return the properties that equivalent texts share.

    Returns:
        The letters, the number of elements of each kind that are not empty, the URLs and the preformatted texts.
    """
    soup = _parse(html)
    found: Counter[str] = Counter()
    urls, preformatted = [], []
    for tag in soup.find_all(True):
        name = _SAME.get(tag.name, tag.name)
        url = str(tag.get(_URLS.get(tag.name, ""), ""))
        if url:
            urls.append(unquote(url))
        if name == "pre":
            preformatted.append(tag.get_text().strip("\n"))
        if name == "code" and tag.find_parent("pre"):
            continue  # A code block of Markdown always has one.
        if name in _COUNTED and (url or name == "hr" or tag.get_text(strip=True) or tag.find("img")):
            found[name] += 1
    return "".join(soup.get_text().split()), found, urls, preformatted


class _Converter(MarkdownConverter):  # type: ignore[misc]  # mypy is told not to read its incomplete types.
    """markdownify with HTML for what Markdown cannot express, and with URLs of any characters."""

    def __init__(self) -> None:
        super().__init__(autolinks=False, bullets="-", escape_misc=True, heading_style="atx", newline_style="backslash")

    def process_tag(self, node: Tag, parent_tags: set[str] | None = None) -> str:
        if isinstance(node, BeautifulSoup):
            return str(super().process_tag(node, parent_tags))
        inside = parent_tags or set()
        if node.name in _INLINE_HTML and (node.attrs or node.name != "span") and "_noformat" not in inside:
            names = "".join(f' {name}="{escape(str(value))}"' for name, value in node.attrs.items())
            return f"<{node.name}{names}>{super().process_tag(node, parent_tags)}</{node.name}>"
        if _needs_html(node):
            html = _without_blank_lines(str(node))
            has_block = node.find(_BLOCKS_IN_LINKS) is not None
            if "_inline" in inside or (node.name == "a" and not has_block):
                return html
            return f"\n\n{f'<div>{html}</div>' if node.name in ('a', 'audio', 'video') else html}\n\n"
        return str(super().process_tag(node, parent_tags))

    def _convert_nothing(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        return text

    convert_kbd = convert_q = convert_samp = _convert_nothing  # Written as HTML above.

    def convert_a(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        href = str(el.get("href") or "")
        if "_noformat" in parent_tags or not href or not text.strip():
            return text
        before, after = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
        return f"{before}[{text.strip()}]({_target(el, href)}){after}"

    def convert_img(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        alt = self.escape(" ".join(str(el.get("alt") or "").split()), parent_tags)
        return f"![{alt}]({_target(el, str(el.get('src') or ''))})"

    def convert_pre(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        text = el.get_text()
        code = el.find("code")
        names = code.get_attribute_list("class") if isinstance(code, Tag) else []
        language = next((str(name)[9:] for name in names if str(name).startswith("language-")), "")
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
        text = text.removeprefix("\n").removesuffix("\n")
        return f"\n\n{fence}{language}\n{text}\n{fence}\n\n"


def _target(tag: Tag, url: str) -> str:
    """Return the destination of a Markdown link, with the title if there is one."""
    title = str(tag.get("title") or "").replace("\\", "\\\\").replace('"', '\\"')
    url = re.sub(r"\s+", "%20", url).replace("<", "%3C").replace(">", "%3E").replace("\\", "%5C")
    return (url if _PLAIN_URL.fullmatch(url) else f"<{url}>") + (f' "{title}"' if title else "")


def _needs_html(tag: Tag) -> bool:
    """Return whether `tag` has a meaning that Markdown cannot express."""
    if tag.get("id") or (tag.name == "a" and (tag.get("name") or tag.find(_BLOCKS_IN_LINKS))):
        return True
    if tag.name == "figure":
        return tag.find(["figcaption", "audio", "video"]) is not None
    if tag.name in ("ol", "ul"):
        return tag.find(["li", "ol", "ul"], id=True) is not None
    if tag.name == "pre":
        return any(child.name != "code" for child in tag.find_all(True))
    if tag.name == "table":
        return not _is_simple_table(tag)
    return tag.name in _BLOCK_HTML


def _is_simple_table(table: Tag) -> bool:
    rows = list(_rows(table))
    return (
        bool(rows)
        and table.find(id=True) is None
        and all(cell.name == "th" for cell in rows[0])
        and len({len(row) for row in rows}) == 1
        and table.find(["blockquote", "br", "caption", "img", "li", "p", "pre", "table", "tfoot"]) is None
        and not any(cell.get("colspan") or cell.get("rowspan") for row in rows for cell in row)
    )


def _rows(table: Tag) -> Iterator[list[Tag]]:
    for row in table.find_all("tr"):
        yield row.find_all(["td", "th"])
