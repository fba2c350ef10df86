"""Cards of Ghost's editor: their HTML, and what of it visitors of the old blog did not see or cannot use here.

Sources of the fields: the packages kg-default-nodes and kg-default-cards of https://github.com/TryGhost/Koenig
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from html import escape
from typing import Any

from multisite.content.markup.dialects import Parser, prepare
from multisite.content.markup.embeds import youtube_html
from multisite.content.markup.markdown import check_markup

__all__ = ["OnLost", "drop_controls", "drop_gated", "markdown_html", "render_card"]

OnLost = Callable[[str], None]
"""Called with a text for what is left out of a post."""

_TAG = re.compile(r"<(/?)(button|div|svg)\b([^<>]*)>", re.IGNORECASE)
_CONTROLS = re.compile(
    r"\bkg-(?:audio-player|audio-thumbnail|file-card-icon|toggle-card-icon|video-(?:overlay|player-container))(?![\w-])"
)
"""Classes of elements with controls; the media file itself is beside them."""

_GATED = re.compile(r"<!--kg-gated-block:begin(.*?)-->(.*?)(?:<!--kg-gated-block:end-->|\Z)", re.DOTALL)
_YOUTUBE = re.compile(r"https?://(?:(?:www\.|m\.)?youtube\.com/watch\?(?:.*&)?v=|youtu\.be/)([\w-]{6,20})")
_LANGUAGE = re.compile(r"[\w+#.-]{1,40}")
_MAX_IMAGES = 100

Fields = Mapping[str, Any]


def drop_controls(html: str) -> str:
    """Return `html` without the elements that have one of these classes; the lines are kept."""
    return "".join(_parts(html)) if "kg-" in html else html


def _parts(html: str) -> Iterator[str]:
    position = depth = 0
    name = ""
    for tag in _TAG.finditer(html):
        if depth == 0:
            if not tag[1] and _CONTROLS.search(tag[3]):
                yield html[position : tag.start()]
                position, depth, name = tag.start(), 1, tag[2].lower()
        elif tag[2].lower() == name:
            depth += -1 if tag[1] else 1
            if depth == 0:
                yield "\n" * html.count("\n", position, tag.end())
                position = tag.end()
    yield html[position:]  # With an element that is never closed.


def drop_gated(html: str, on_lost: OnLost) -> str:
    """Return `html` without the cards that only members were shown; the lines are kept."""

    def replace(found: re.Match[str]) -> str:
        if "nonMember:true" in found[1]:
            return found[2]
        on_lost("a card that only members were shown")
        return "\n" * found[0].count("\n")

    return _GATED.sub(replace, html) if "kg-gated-block" in html else html


def markdown_html(text: str) -> str:
    """Return the HTML of a card in Markdown, not sanitized. Raises `NestingTooDeep`."""
    check_markup(text)
    source = prepare(text, "goldmark")
    parser = Parser.for_text(source, "goldmark")
    environment: dict[str, Any] = {}
    return parser.render(parser.parse(source, environment), environment)


def render_card(kind: str, fields: Fields, on_lost: OnLost) -> str:
    """Return the HTML of a card, not sanitized; empty if visitors were not shown it.

    Args:
        kind: The type of a node of Lexical, or the name of a card of Mobiledoc.
        fields: The data of the card. Captions and some other texts are HTML.
        on_lost: Called if the kind is not known, or only members were shown the card.
    """
    render = _CARDS.get(kind)
    if render is None:
        on_lost(f"a card of the kind '{kind[:40]}'")
        return ""
    who = _audience(fields)
    if who == "members":
        on_lost("a card that only members were shown")
    return render(fields) if who == "all" else ""


def _audience(fields: Fields) -> str:
    """Return who was shown a card on the web: `all`, `members` or `nobody`."""
    visibility = fields.get("visibility")
    if not isinstance(visibility, dict):
        return "all"
    web = visibility.get("web")
    if isinstance(web, dict):
        return "all" if web.get("nonMember", True) is True else "members" if web.get("memberSegment") else "nobody"
    return "nobody" if visibility.get("showOnWeb") is False or visibility.get("emailOnly") is True else "all"


def _text(fields: Fields, name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def _escaped(fields: Fields, name: str) -> str:
    return escape(_text(fields, name))


def _figure(content: str, caption: str) -> str:
    return f"<figure>{content}<figcaption>{caption}</figcaption></figure>" if caption else content


def _link(address: str, label: str) -> str:
    return f'<p><a href="{escape(address)}">{label}</a></p>' if address and label else ""


def _image(fields: Fields) -> str:
    if not _text(fields, "src"):
        return ""
    title = f' title="{_escaped(fields, "title")}"' if _text(fields, "title") else ""
    image = f'<img src="{_escaped(fields, "src")}" alt="{_escaped(fields, "alt")}"{title}>'
    if _text(fields, "href"):
        image = f'<a href="{_escaped(fields, "href")}">{image}</a>'
    return _figure(image, _text(fields, "caption")) if _text(fields, "caption") else f"<p>{image}</p>"


def _gallery(fields: Fields) -> str:
    images = fields.get("images")
    found = [each for each in images if isinstance(each, dict)] if isinstance(images, list) else []
    return "\n".join(map(_image, found[:_MAX_IMAGES])) + _paragraph(_text(fields, "caption"))


def _paragraph(html: str) -> str:
    return f"<p>{html}</p>" if html else ""


def _code(fields: Fields) -> str:
    language = _LANGUAGE.fullmatch(_text(fields, "language"))
    attribute = f' class="language-{escape(language[0])}"' if language else ""
    return _figure(f"<pre><code{attribute}>{_escaped(fields, 'code')}</code></pre>", _text(fields, "caption"))


def _bookmark(fields: Fields) -> str:
    metadata = fields.get("metadata")
    known = {**fields, **metadata} if isinstance(metadata, dict) else fields
    address = _text(fields, "url") or _text(known, "url")
    title = escape(_text(known, "title") or address)
    return _link(address, title) + _paragraph(_escaped(known, "description")) + _paragraph(_text(fields, "caption"))


def _embed(fields: Fields) -> str:
    address = _text(fields, "url")
    video = _YOUTUBE.match(address)
    content = f"<p>{youtube_html(video[1])}</p>" if video else _text(fields, "html") or _link(address, escape(address))
    return content + _paragraph(_text(fields, "caption"))


def _callout(fields: Fields) -> str:
    sign = _text(fields, "calloutEmoji") or _text(fields, "emoji")
    return f"<blockquote><p>{escape(sign)} {_text(fields, 'calloutText') or _text(fields, 'text')}</p></blockquote>"


def _toggle(fields: Fields) -> str:
    return f"<h4>{_text(fields, 'heading')}</h4>\n<div>{_text(fields, 'content')}</div>"


def _player(tag: str) -> Callable[[Fields], str]:
    def render(fields: Fields) -> str:
        if not _text(fields, "src"):
            return ""
        caption = _text(fields, "caption") or _escaped(fields, "title")
        return _figure(f'<{tag} src="{_escaped(fields, "src")}" controls></{tag}>', caption)

    return render


def _file(fields: Fields) -> str:
    title = _text(fields, "fileTitle") or _text(fields, "fileName")
    return _link(_text(fields, "src"), escape(title)) + _paragraph(_escaped(fields, "fileCaption"))


def _header(fields: Fields) -> str:
    header, subheader = _text(fields, "header"), _text(fields, "subheader")
    button = _link(_text(fields, "buttonUrl"), _escaped(fields, "buttonText")) if fields.get("buttonEnabled") else ""
    return (f"<h2>{header}</h2>" if header else "") + (f"<h3>{subheader}</h3>" if subheader else "") + button


def _product(fields: Fields) -> str:
    image = _image({"src": _text(fields, "productImageSrc")})
    button = ""
    if fields.get("productButtonEnabled"):
        button = _link(_text(fields, "productUrl"), _escaped(fields, "productButton"))
    title, text = _text(fields, "productTitle"), _text(fields, "productDescription")
    return f"{image}{f'<h4>{title}</h4>' if title else ''}<div>{text}</div>{button}"


def _call_to_action(fields: Fields) -> str:
    image = _image({"src": _text(fields, "imageUrl")})
    button = ""
    if fields.get("showButton", True):
        button = _link(_text(fields, "buttonUrl"), _escaped(fields, "buttonText"))
    return f"{image}<div>{_text(fields, 'textValue')}</div>{button}"


def _before_after(fields: Fields) -> str:
    images = (fields.get("beforeImage"), fields.get("afterImage"))
    return _gallery({"images": list(images), "caption": fields.get("caption")})


_CARDS: Mapping[str, Callable[[Fields], str]] = {
    "audio": _player("audio"),
    "before-after": _before_after,
    "bookmark": _bookmark,
    "button": lambda fields: _link(_text(fields, "buttonUrl"), _escaped(fields, "buttonText")),
    "call-to-action": _call_to_action,
    "callout": _callout,
    "card-markdown": lambda fields: markdown_html(_text(fields, "markdown")),
    "code": _code,
    "codeblock": _code,
    "email": lambda _fields: "",  # Only in newsletters, as the next one.
    "email-cta": lambda _fields: "",
    "embed": _embed,
    "file": _file,
    "gallery": _gallery,
    "header": _header,
    "horizontalrule": lambda _fields: "<hr>",
    "hr": lambda _fields: "<hr>",
    "html": lambda fields: _text(fields, "html"),
    "image": _image,
    "markdown": lambda fields: markdown_html(_text(fields, "markdown")),
    "paywall": lambda _fields: "",  # Of no effect in a post that everybody may read; others are not imported.
    "product": _product,
    "toggle": _toggle,
    "video": _player("video"),
}
