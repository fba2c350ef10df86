"""Replace Liquid tags (Jekyll) and the shortcodes of Hugo and Zola by equivalent Markdown and HTML.

Known ones are replaced, outside of code blocks; unknown ones stay as written and are reported.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from html import escape
from pathlib import PurePosixPath

from multisite.content.markup.code_spans import find_code, is_in
from multisite.content.markup.embeds import youtube_html
from multisite.content.markup.links import Resolve
from multisite.content.markup.shortcode_blocks import block_edges

__all__ = ["expand_links", "expand_shortcodes", "parse_arguments"]

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
_CALL = re.compile(r"([a-z_]\w*)\((.*)\)", re.DOTALL)
"""A shortcode of Zola: `youtube(id="…")`."""

_SWALLOWED = frozenset({"codeblock", "comment", "highlight", "mermaid", "raw"})
_QUOTES = "\"'`"
_LINKS = frozenset({"link", "post_url", "ref", "relref"})
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

_SOURCES = ("src", "image_path", "url", "path", "image", "file")
"""The names that shortcodes and includes of themes have for the address of a picture or video."""

_PICTURE = re.compile(r"[^\s?#]+\.(?:avif|gif|jpe?g|png|svg|webp)(?:[?#]\S*)?", re.IGNORECASE)
_VIDEO = re.compile(r"[^\s?#]+\.(?:m4v|mov|mp4|ogv|webm)(?:[?#]\S*)?", re.IGNORECASE)


def expand_shortcodes(text: str, resolve: Resolve, report: Report) -> str:
    """Return `text` with known tags replaced.

    `resolve` returns the URL path of the entry of a file or post, or None; `report` is called for each unknown tag.
    """
    return "".join(_expand(text, resolve, report)) if "{%" in text or "{{" in text else text


def expand_links(text: str, resolve: Resolve) -> str:
    """Return `text` with the tags that are the address of another file replaced, if `resolve` knows it."""
    return "".join(_expand_links(text, resolve)) if "{%" in text or "{{" in text else text


def _expand_links(text: str, resolve: Resolve) -> Iterator[str]:
    position, code = 0, find_code(text)
    unclosed: set[str] = set()
    for tag in _TAG.finditer(text):
        name, arguments = _name_and_arguments(tag)
        if tag.start() < position or (name not in _LINKS and name not in _SWALLOWED) or is_in(tag.start(), code):
            continue
        closing = _closing(text, tag, name, unclosed) if name in _SWALLOWED else None
        if closing is not None:
            yield text[position : closing.end()]
            position = closing.end()
        elif name in _LINKS and (address := _replacement(tag, name, arguments, resolve)) is not None:
            yield text[position : tag.start()] + address
            position = tag.end()
    yield text[position:]


def _expand(text: str, resolve: Resolve, report: Report) -> Iterator[str]:
    position, line, line_start = 0, 0, 0
    code = find_code(text)
    unclosed: set[str] = set()
    ends: dict[int, str] = {}
    """What replaces the closing tags of the blocks so far, by their positions."""
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
        replaced = ends.pop(tag.start(), None)
        if replaced is None:
            find_closing = partial(_closing, text, tag, name, unclosed)
            replaced, closed = _opening(tag, name, arguments, find_closing)
            ends |= closed
        if replaced is None:
            replaced = _replacement(tag, name, arguments, resolve)
        if replaced is None:
            report(line, "raw text", tag[0])
        yield tag[0] if replaced is None else replaced
    yield text[position:]


def _name_and_arguments(tag: re.Match[str]) -> tuple[str, str]:
    text = tag["liquid"] or tag["hugo"] or tag["output"]
    if tag["hugo"] is None and (call := _CALL.fullmatch(text)) is not None:
        return call[1], call[2]
    if tag["output"] is not None:
        return "", text
    name, *arguments = text.split(maxsplit=1)
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
    ending = "end" if _is_block_of_zola(tag) else f"end{name}"
    pattern = rf"\{{%-?\s*{ending}\s*-?%\}}" if tag["liquid"] else rf"\{{\{{[<%]\s*/\s*{name}\s*[>%]\}}\}}"
    closing = re.compile(pattern).search(text, tag.end())
    if closing is None:
        unclosed.add(name)
    return closing


def _is_block_of_zola(tag: re.Match[str]) -> bool:
    return tag["liquid"] is not None and _CALL.fullmatch(tag["liquid"]) is not None


def _opening(
    tag: re.Match[str], name: str, arguments: str, find_closing: Callable[[], re.Match[str] | None]
) -> tuple[str | None, dict[int, str]]:
    """Return what replaces the opening tag of a block, None if it is not one, and its closing tag, by position."""
    words, named = parse_arguments(arguments)
    edges = block_edges(name, words, named)
    if edges is None and _is_block_of_zola(tag) and (picture := _media(words, named)) is not None:
        closing = find_closing()  # Between them is the caption.
        return picture, {} if closing is None else {closing.start(): ""}
    closing = None if edges is None else find_closing()
    if edges is None or closing is None:
        return None, {}
    return f"{edges[0]}\n\n", {closing.start(): f"\n\n{edges[1]}"}


def _block(name: str, arguments: str, content: str, before: str) -> str:
    """Return the replacement of a block; `before` is the beginning of its line, usually indentation."""
    if name == "comment":
        return ""
    if name == "raw":
        return content
    if name == "mermaid":
        arguments = "lang:mermaid"
    language = _LANGUAGE.match(arguments) if name == "highlight" or "lang:" in arguments else None
    content = content.strip("\n")
    longest = max((len(run) for run in re.findall("`+", content)), default=0)
    fence = "`" * max(3, longest + 1)
    start, indent = ("", before) if not before.strip() else ("\n", "")
    return f"{start}{fence}{language[1] if language else ''}\n{content}\n{indent}{fence}"


def _replacement(tag: re.Match[str], name: str, arguments: str, resolve: Resolve) -> str | None:
    if not name:
        return _output(arguments)
    words, named = parse_arguments(arguments)
    first = words[0] if words else named.get("id", "")
    if name in _LINKS:
        return resolve(first or named.get("path", ""))
    if name in ("raw", "endraw"):
        return ""
    if name == "figure" and named.get("src"):
        return _figure(named)
    if name == "img" and words:
        return _octopress_image(words)
    return _include(first, named) if name == "include" else _media(words, named) or _embed(name, words, first)


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
    source = next((named[each] for each in _SOURCES if named.get(each)), None)
    if name in ("figure", "image", "img", "picture") and source is not None:
        return _figure(named | {"src": source})
    video = next((named[each] for each in ("id", "video_id", "youtubeid") if named.get(each)), "")
    provider = "youtube" if "youtube" in name else "vimeo" if "vimeo" in name else named.get("provider", "")
    return _embed(provider, [], video) if video and provider in ("vimeo", "youtube") else None


def _media(words: list[str], named: dict[str, str]) -> str | None:
    """Return the picture or the video whose file a shortcode of a theme names, None if it names none."""
    source = next((named[each] for each in _SOURCES if named.get(each)), words[0] if words else "")
    if _PICTURE.fullmatch(source):
        return _figure({"caption": " ".join(words[1:2])} | named | {"src": source})
    if _VIDEO.fullmatch(source):
        return f'<video src="{escape(source)}" controls></video>'
    return None


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
    caption = " ".join(named[key] for key in ("title", "caption", "figcaption") if named.get(key))
    picture = f'<img src="{escape(named["src"])}" alt="{escape(named.get("alt", caption))}">'
    if link := named.get("link"):
        picture = f'<a href="{escape(link)}">{picture}</a>'
    return f"<figure>{picture}{f'<figcaption>{escape(caption)}</figcaption>' if caption else ''}</figure>"


def parse_arguments(arguments: str) -> tuple[list[str], dict[str, str]]:
    """Return the words and the named values of a tag: `a b="c d"`."""
    words, named = [], {}
    for found in _WORD.finditer(arguments):
        if found[1]:
            # Zola separates arguments by commas.
            named[found[1].lower()] = _unquoted(found[2] if found[2][0] in _QUOTES else found[2].rstrip(","))
        elif found[3] != ",":
            words.append(_unquoted(found[3]))
    return words, named


def _unquoted(text: str) -> str:
    return text[1:-1] if text[0] in _QUOTES else text
