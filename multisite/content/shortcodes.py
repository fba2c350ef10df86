"""Replace Liquid tags (Jekyll) and Hugo shortcodes by equivalent Markdown and HTML.

Known ones are replaced, outside of code blocks; unknown ones stay as written and are reported.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html import escape
from pathlib import PurePosixPath

from multisite.content.code_spans import find_code, is_in
from multisite.content.embeds import youtube_html
from multisite.content.links import Resolve

__all__ = ["expand_shortcodes", "parse_arguments"]

Report = Callable[[int, str, str], None]
"""Called with a line number (from 0), a kind, and a text."""

_TAG = re.compile(
    r"\{%-?\s*(?P<liquid>[^%]{1,500}?)\s*-?%\}"
    r"|\{\{(?P<edge>[<%])\s*(?P<hugo>(?:[^{]|\{(?!\{)){1,1000}?)\s*[>%]\}\}"
    r"|\{\{-?[ \t]*(?P<output>[^{}\n]{1,500}?)[ \t]*-?\}\}"
)
_WORD = re.compile(r"""([\w-]+)\s*=\s*("[^"]*"|'[^']*'|`[^`]*`|[^\s"'`]+)|("[^"]*"|'[^']*'|`[^`]*`|[^\s"'`=]+)""")
_FILTERED = re.compile(r"""["']([^"']*)["']\s*\|\s*(relative_url|absolute_url|prepend:.*)$""")
_EMPTY = re.compile(r"site\.(?:baseurl|url|github\.url)(?:\s*\|\s*(?:pre|ap)pend:\s*site\.(?:base)?url)?")
_SWALLOWED = frozenset({"codeblock", "comment", "highlight", "raw"})
_LANGUAGE = re.compile(r"(?:.*\blang:|[\"' ]*)([\w+#.-]+)")
_YOUTUBE_URL = re.compile(
    r"https?://(?:www\.|m\.)?(?:youtu\.be/|youtube\.com/(?:watch\?v=|embed/|shorts/))([\w-]{6,20})"
)
_SERVICES = {
    "gist": "[Gist](https://gist.github.com/{})",
    "instagram": "[Instagram](https://www.instagram.com/p/{}/)",
    **dict.fromkeys(("tweet", "twitter", "x"), "[Tweet](https://twitter.com/i/status/{})"),
    "vimeo": "[Vimeo](https://vimeo.com/{})",
}
"""Links to embedded content, by the name of its shortcode."""

_INCLUDED_PICTURES = ("src", "image_path", "url", "path", "image", "file")
"""The names that includes of themes have for the address of a picture."""


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
        if name.startswith("/*"):  # Written with comments, so that Hugo shows it, in code as well.
            yield text[position : tag.start()] + _shown(tag, is_code=is_in(tag.start(), code))
            position = tag.end()
            continue
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
    name, *arguments = (tag["liquid"] or tag["hugo"]).split(maxsplit=1)
    return name.lower(), arguments[0] if arguments else ""


def _shown(tag: re.Match[str], *, is_code: bool) -> str:
    """Return the shortcode in a tag such as `{{</* figure */>}}`, as text."""
    inner = tag["hugo"].removeprefix("/*").removesuffix("*/")
    text = f"{{{{{tag['edge']}{inner}{'>' if tag['edge'] == '<' else '%'}}}}}"
    return text if is_code else escape(text, quote=False)


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
    language = _LANGUAGE.match(arguments) if name == "highlight" or "lang:" in arguments else None
    content = content.strip("\n")
    longest = max((len(run) for run in re.findall("`+", content)), default=0)
    fence = "`" * max(3, longest + 1)
    start, indent = ("", before) if not before.strip() else ("\n", "")
    return f"{start}{fence}{language[1] if language else ''}\n{content}\n{indent}{fence}"


def _replacement(tag: re.Match[str], name: str, arguments: str, resolve: Resolve) -> str | None:
    if tag["output"] is not None:
        return _output(arguments)
    words, named = parse_arguments(arguments)
    first = words[0] if words else named.get("id", "")
    if name in ("post_url", "link", "ref", "relref"):
        return resolve(first or named.get("path", ""))
    if name in ("raw", "endraw"):
        return ""
    if name == "figure" and named.get("src"):
        return _figure(named)
    if name == "img":
        return _octopress_image(words)
    return _include(first, named) if name == "include" else _embed(name, words, first)


def _embed(name: str, words: list[str], first: str) -> str | None:
    """Return a link to embedded content, or None if it is unknown."""
    if name == "youtube" and (url := _YOUTUBE_URL.match(first)):
        return youtube_html(url[1])
    if name == "gist" and "/" not in first and len(words) > 1 and "." not in words[1]:
        first = "/".join(words[:2])
    if name in ("tweet", "twitter", "x") and words:
        first = words[-1]
    if not re.fullmatch(r"[\w./-]{1,100}", first) or (name in ("tweet", "twitter", "x") and not first.isdecimal()):
        return None
    if name == "youtube":
        return youtube_html(first)
    return _SERVICES[name].format(first) if name in _SERVICES else None


def _include(file: str, named: dict[str, str]) -> str | None:
    """Return what an include of common themes shows: a picture with `src` or the like, or a video; None if unknown."""
    name = PurePosixPath(file).stem.lower()
    source = next((named[each] for each in _INCLUDED_PICTURES if named.get(each)), None)
    if name in ("figure", "image", "img", "picture") and source is not None:
        return _figure(named | {"src": source})
    video = next((named[each] for each in ("id", "video_id", "youtubeid") if named.get(each)), "")
    provider = "youtube" if "youtube" in name else "vimeo" if "vimeo" in name else named.get("provider", "")
    return _embed(provider, [], video) if video and provider in ("vimeo", "youtube") else None


def _octopress_image(words: list[str]) -> str | None:
    """Return the picture of Octopress's `img [class] src [width] [height] [title [alt]]`, None if it has no address."""
    index = next((index for index, word in enumerate(words) if "/" in word or "." in word), None)
    if index is None:
        return None
    texts = [word for word in words[index + 1 :] if not word.isdecimal()]
    return f'<img src="{escape(words[index])}" alt="{escape(texts[-1] if texts else "")}">'


def _output(expression: str) -> str | None:
    if _EMPTY.fullmatch(expression):
        return ""
    filtered = _FILTERED.match(expression)
    if filtered is None:
        return None
    is_root = filtered[2].endswith("_url") and "://" not in filtered[1]
    return f"/{filtered[1].lstrip('/')}" if is_root else filtered[1]


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
