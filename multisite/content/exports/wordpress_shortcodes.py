"""Replace WordPress's shortcodes by HTML that means the same: captions, galleries, embeds, audio, video, code.

Unknown ones are from plugins: they stay as written, as in WordPress itself without the plugin, and are reported.

Source: https://codex.wordpress.org/Shortcode_API and https://wordpress.com/support/wordpress-editor/blocks/shortcode-block/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape, unescape

from multisite.content.exports.blocks import Report
from multisite.content.markup.embeds import youtube_html
from multisite.content.markup.shortcodes import parse_arguments

__all__ = ["Attachment", "Gallery", "expand_wordpress_shortcodes"]


@dataclass(frozen=True, slots=True)
class Attachment:
    """An uploaded file of the blog."""

    url: str
    title: str = ""
    alt: str = ""
    caption: str = ""


Gallery = Callable[[Sequence[int] | None], list[Attachment]]
"""Returns the attachments with these ids, or those of the post itself for None."""

_TAG = re.compile(
    r"\[(?P<opening>\[?)(?P<closing>/?)(?P<name>[a-zA-Z][\w-]{0,60})(?P<arguments>(?:[\s/][^\[\]]{0,2000})?)\]\]?"
)
_LONE_URL = re.compile(r"^([ \t]*)(https?://[^\s<>\"\[\]]+)([ \t]*)$", re.MULTILINE)
_YOUTUBE = re.compile(
    r"https?://(?:www\.|m\.)?(?:youtube\.com/(?:watch\?(?:[^\s#]*&)?v=|shorts/|embed/)|youtu\.be/)([\w-]{6,20})"
)
_IMAGE = re.compile(r"(?:<a\b[^<>]*>\s*)?<img\b[^<>]*>(?:\s*</a>)?", re.IGNORECASE)
_ENCLOSING = frozenset({"audio", "caption", "code", "embed", "gist", "sourcecode", "video", "wp_caption", "youtube"})
_LONG = frozenset({"caption", "code", "sourcecode", "wp_caption"})
_REACH = 2000
"""Characters within which the others are closed."""

_CLOSING_TAG = re.compile(r"\[/([a-zA-Z][\w-]{0,60})\]")
_MEDIA = {
    "audio": ("src", "mp3", "m4a", "ogg", "wav", "flac"),
    "video": ("src", "mp4", "m4v", "webm", "ogv", "flv", "mov"),
}
"""The named values that may have the URL of the file."""


def expand_wordpress_shortcodes(content: str, gallery: Gallery, report: Report) -> str:
    """Return `content` with known shortcodes, and URLs that are a line of their own, replaced; the lines stay.

    `gallery` returns attachments; `report` is called for each unknown shortcode, and for images that are missing.
    """
    if "[" in content:
        content = "".join(_expand(content, gallery, report))
    return _LONE_URL.sub(lambda url: f"{url[1]}{_link(url[2])}{url[3]}", content) if "http" in content else content


def _expand(content: str, gallery: Gallery, report: Report) -> Iterator[str]:
    position = line = counted = 0
    unclosed: set[str] = set()
    closed = set(_CLOSING_TAG.findall(content))  # A tag that is closed is a shortcode, not a word in brackets.
    for tag in _TAG.finditer(content):
        if tag.start() < position:
            continue
        yield content[position : tag.start()]
        position = tag.end()
        line += content.count("\n", counted, tag.start())
        counted = tag.start()
        if tag["opening"]:
            if tag[0].endswith("]]"):  # Escaped: [[gallery]].
                yield tag[0][1:-1]
                continue
            yield "["
        end = tag.end() - (tag[0].endswith("]]"))
        name = tag["name"]
        closing = None if tag["closing"] else _closing(content, name, end, unclosed)
        inner = content[end:closing] if closing is not None else ""
        replaced = None if tag["closing"] else _replacement(name, tag["arguments"], inner, gallery, report, line)
        if replaced is None:
            if not tag["closing"] and ("=" in tag["arguments"] or "_" in name or name in closed):
                report(line, "raw text", content[tag.start() + len(tag["opening"]) : end])
            yield content[tag.start() + len(tag["opening"]) : end]
            position = end
            continue
        position = closing + len(f"[/{name}]") if closing is not None else end
        yield replaced + "\n" * max(0, content.count("\n", tag.start(), position) - replaced.count("\n"))
    yield content[position:]


def _closing(content: str, name: str, start: int, unclosed: set[str]) -> int | None:
    """Return where the closing tag begins; an unsuccessful search is not repeated for the same name."""
    if name not in _ENCLOSING or name in unclosed:
        return None
    reach = len(content) if name in _LONG else start + _REACH
    closing = content.find(f"[/{name}]", start, reach)
    if closing < 0 and name in _LONG:
        unclosed.add(name)
    return closing if closing >= 0 else None


def _replacement(name: str, arguments: str, inner: str, gallery: Gallery, report: Report, line: int) -> str | None:
    words, named = parse_arguments(unescape(arguments.rstrip("/ ")))
    first = words[0] if words else ""
    if name in ("caption", "wp_caption"):
        return _figure(inner, named.get("caption", ""))
    if name in ("gallery", "playlist"):
        return _gallery(name, named, gallery, report, line)
    if name in ("code", "sourcecode"):
        language = re.sub(r"[^\w+#-]", "", named.get("language") or named.get("lang") or first.lstrip("="))
        return f'<pre><code class="language-{language}">{inner.strip(chr(10)).replace("<", "&lt;")}</code></pre>'
    if name in _MEDIA:
        url = next((named[key] for key in _MEDIA[name] if named.get(key)), first)
        return f'<figure><{name} src="{escape(url)}"></{name}></figure>' if url else ""
    return _embed(name, inner.strip() or first or named.get("src") or named.get("url") or named.get("id", ""))


def _embed(name: str, value: str) -> str | None:
    value = unescape(value.lstrip("="))
    if name == "embed":
        return f"<p>{_link(value)}</p>" if value.startswith(("http://", "https://")) else ""
    if name not in ("gist", "vimeo", "youtube"):
        return None
    if value.startswith(("http://", "https://")):
        return f"<p>{_link(value)}</p>"
    if not re.fullmatch(r"[\w/-]{1,100}", value):
        return None
    if name == "youtube":
        return f"<p>{youtube_html(value)}</p>"
    return f"<p>{_link(f'https://vimeo.com/{value}' if name == 'vimeo' else f'https://gist.github.com/{value}')}</p>"


def _link(url: str) -> str:
    video = _YOUTUBE.match(unescape(url))
    if video is not None:
        return youtube_html(video[1])
    address = escape(unescape(url))
    return f'<a href="{address}">{address}</a>'


def _figure(inner: str, caption: str) -> str:
    image = _IMAGE.search(inner)
    if image is None:
        return inner
    text = caption or " ".join((inner[: image.start()] + inner[image.end() :]).split())
    return f"<figure>{image[0]}{f'<figcaption>{text}</figcaption>' if text else ''}</figure>"


def _gallery(name: str, named: dict[str, str], gallery: Gallery, report: Report, line: int) -> str:
    ids = [int(word) for word in re.findall(r"\d{1,15}", named.get("ids") or named.get("include") or "")]
    found = gallery(ids or None)
    if not found or len(found) < len(ids):
        report(line, "left out", f"{name}: {max(1, len(ids) - len(found))} of its files are not in the export")
    if name == "playlist":
        links = (f'<li><a href="{escape(item.url)}">{escape(item.title or item.url)}</a></li>' for item in found)
        return f"<ul>{''.join(links)}</ul>" if found else ""
    return "".join(_picture(item) for item in found)


def _picture(item: Attachment) -> str:
    caption = f"<figcaption>{item.caption}</figcaption>" if item.caption else ""
    return f'<figure><img src="{escape(item.url)}" alt="{escape(item.alt or item.title)}">{caption}</figure>'
