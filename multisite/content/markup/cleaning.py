"""Sanitize HTML with a list of allowed elements and attributes.

Authors of a site must not be able to run scripts in a visitor's browser.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet

import nh3

from multisite.content.markup.highlighting import CLASSES
from multisite.content.markup.tidy import Rewrite, balance

__all__ = ["ALLOWED_WITH_ANCHORS", "ANCHOR_PREFIX", "OnRemoved", "clean", "text_of"]

OnRemoved = Callable[[int, str, str], None]
"""Called with a line, a kind and a text for everything that is removed from the HTML."""

ANCHOR_PREFIX = "user-content-"
"""Prefix of an entry's ids and names, as on GitHub, so that none of them collides with one of the layout."""

_TOP = f"{ANCHOR_PREFIX}top"

_TAGS = frozenset(
    """
    a abbr audio b blockquote br caption cite code col colgroup dd del details dfn div dl dt em figcaption figure
    h1 h2 h3 h4 h5 h6 hr i img ins kbd li mark ol p pre q s samp small source span strong sub summary sup
    table tbody td tfoot th thead time tr u ul var video
    """.split()  # noqa: SIM905 (sixty quoted words are harder to read)
)
_ATTRIBUTES: dict[str, set[str]] = {
    "*": {"lang", "dir", "title"},
    "a": {"href", "hreflang"},
    "audio": {"src"},
    "code": {"class"},  # The language of a code block; restricted to language-… below.
    "col": {"span"},
    "colgroup": {"span"},
    "del": {"cite", "datetime"},
    "img": {"src", "alt", "width", "height", "srcset", "sizes"},  # The last two are restricted below.
    "ins": {"cite", "datetime"},
    "ol": {"start", "reversed"},
    "source": {"src", "type"},
    "span": {"class"},  # The highlighting of code; restricted to the classes of Pygments below.
    "td": {"colspan", "rowspan", "style"},  # The alignment of a column; restricted to text-align below.
    "th": {"colspan", "rowspan", "scope", "style"},
    "time": {"datetime"},
    "video": {"src", "width", "height"},
}
_SCHEMES = {"http", "https", "mailto", "tel"}
_ALLOWED: Mapping[str, AbstractSet[str]] = {tag: _ATTRIBUTES["*"] | _ATTRIBUTES.get(tag, set()) for tag in _TAGS}
_ANCHORED_ATTRIBUTES = {**_ATTRIBUTES, "*": _ATTRIBUTES["*"] | {"id"}, "a": _ATTRIBUTES["a"] | {"name"}}
ALLOWED_WITH_ANCHORS: Mapping[str, AbstractSet[str]] = {
    tag: _ANCHORED_ATTRIBUTES["*"] | _ANCHORED_ATTRIBUTES.get(tag, set()) for tag in _TAGS
}
"""The allowed attributes by element, with ids and names."""

_SCHEME = re.compile(r"([^/?#:]*):")
_SRCSET = re.compile(
    r"/media/[0-9a-f]{64}/[a-z0-9.-]{1,100} \d{1,5}w(?:, /media/[0-9a-f]{64}/[a-z0-9.-]{1,100} \d{1,5}w){0,9}"
)
"""The versions of a picture of the site's own media."""

_INVISIBLE = re.compile("[\x00-\x20\x7f-\xa0]")


def clean(html: str, *, raw: bool, anchors: bool, on_removed: OnRemoved, rewrite: Rewrite | None = None) -> str:
    """Return `html` with only allowed elements and attributes.

    Args:
        html: The HTML to sanitize.
        raw: Whether it contains HTML of an author, which may be unbalanced.
        anchors: Whether to keep ids and to prefix them, and links to them, with `ANCHOR_PREFIX`.
        on_removed: Called for what `balance` removes from raw HTML.
        rewrite: Returns the attributes of each element of raw HTML.

    Raises:
        NestingTooDeep: Elements are nested too deeply.
    """
    if raw:
        html = balance(html, ALLOWED_WITH_ANCHORS if anchors else _ALLOWED, on_removed, rewrite)
    if not anchors:
        return _cleaner.clean(html)
    cleaned = _anchored_cleaner.clean(html)
    # Without an element of that id, a browser goes to the top of the page.
    return cleaned if f'="{_TOP}"' in cleaned else cleaned.replace(f'href="#{_TOP}"', 'href="#top"')


def text_of(html: str, *, raw: bool) -> str:
    """Return `html` without tags; entities stay as written."""
    # Sanitized, since only the sanitizer knows that the content of <script> is not text.
    return nh3.clean(balance(html, _ALLOWED) if raw else html, tags=set())


def _keep_attribute(tag: str, attribute: str, value: str) -> str | None:
    if attribute == "class":
        return " ".join(name for name in value.split() if _may_have(tag, name)) or None
    if attribute == "style":
        return value if value in ("text-align:left", "text-align:right", "text-align:center") else None
    if attribute == "srcset":  # Several URLs, which nh3 does not treat as such.
        return value if _SRCSET.fullmatch(value) else None
    if attribute == "sizes":
        return value if value == "auto, 100vw" else None
    if attribute == "cite":  # A URL, which nh3 does not treat as one.
        scheme = _SCHEME.match(_INVISIBLE.sub("", value))
        return value if scheme is None or scheme[1].lower() in _SCHEMES else None
    return value


def _may_have(tag: str, name: str) -> bool:
    """Return whether an element, `code` or `span`, may have this class."""
    return name.startswith("language-") if tag == "code" else name in CLASSES


def _keep_anchor(tag: str, attribute: str, value: str) -> str | None:
    if attribute in ("id", "name"):
        return f"{ANCHOR_PREFIX}{value}" if value and not value.isspace() else None
    if attribute == "href" and value.startswith("#") and len(value) > 1:
        return f"#{ANCHOR_PREFIX}{value[1:]}"
    return _keep_attribute(tag, attribute, value)


def _make_cleaner(attributes: dict[str, set[str]], keep: Callable[[str, str, str], str | None]) -> nh3.Cleaner:
    return nh3.Cleaner(
        tags=set(_TAGS),
        attributes=attributes,
        attribute_filter=keep,
        url_schemes=_SCHEMES,
        link_rel=None,
        set_tag_attribute_values={
            "img": {"loading": "lazy"},
            "audio": {"controls": "", "preload": "metadata"},
            "video": {"controls": "", "preload": "metadata"},
        },
    )


_cleaner = _make_cleaner(_ATTRIBUTES, _keep_attribute)
_anchored_cleaner = _make_cleaner(_ANCHORED_ATTRIBUTES, _keep_anchor)
