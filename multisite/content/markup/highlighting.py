"""Highlight the code in a text: spans with the classes of Pygments, whose colours are in the stylesheet of the layout.

Pygments is imported when the first code with a known language is rendered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape, unescape
from itertools import groupby
from operator import itemgetter
from time import thread_time
from typing import Any

from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict

__all__ = ["CLASSES", "LANGUAGES", "MAX_CODE", "render_fence", "render_html_block"]

CLASSES = frozenset(
    """
    c c1 ch cm cp cpf cs dl fm gd ge ges gh gi go gp gr gs gt gu il k kc kd kn kp kr kt m mb mf mh mi mo
    na nb nc nd ne nf ni nl nn no nt nv o ow py s s1 s2 sa sb sc sd se sh si sr ss sx vc vg vi vm
    """.split()  # noqa: SIM905 (as in multisite.content.markup.cleaning)
)
"""The classes of spans: those of Pygments, without white space, punctuation, names in general and errors."""

LANGUAGES = frozenset(
    {
        "Ada", "ApacheConf", "Arduino", "Awk", "Bash", "Bash Session", "Batchfile", "C", "C#", "C++", "Clojure",
        "CMake", "CoffeeScript", "Common Lisp", "Crystal", "CSS", "D", "Dart", "Delphi", "Diff", "Django/Jinja",
        "Docker", "Elixir", "Elm", "EmacsLisp", "ERB", "Erlang", "F#", "Fortran", "GAS", "Go", "GraphQL",
        "Groovy", "Haml", "Handlebars", "Haskell", "HTML", "HTML+Django/Jinja", "HTML+PHP", "HTTP", "INI",
        "Java", "JavaScript", "JSON", "JSX", "Julia", "Kotlin", "LessCss", "LLVM", "Lua", "Makefile",
        "Markdown", "Matlab", "MySQL", "NASM", "Nginx configuration file", "Nimrod", "Objective-C", "OCaml",
        "Perl", "PHP", "PostgreSQL SQL dialect", "PowerShell", "Prolog", "Properties", "Protocol Buffer",
        "Python", "Python 2.x", "Python console session", "Python Traceback", "Racket", "reStructuredText",
        "RHTML", "Ruby", "Ruby irb session", "Rust", "S", "Sass", "Scala", "Scheme", "SCSS", "Slim", "Solidity",
        "SPARQL", "SQL", "sqlite3con", "Swift", "Systemd", "Tcl", "Terraform", "TeX", "TOML", "TypeScript",
        "VB.net", "VimL", "Vue", "XML", "YAML", "Zig",
    }
)  # fmt: skip
"""The names of the lexers of Pygments that are used.

Pygments has over 500, and an expression that takes exponential time cannot be stopped. Of these, none took more than
0.1 seconds for one token in 10,000 characters of each of 36 patterns, such as unclosed brackets.
"""

MAX_CODE = 20_000
"""Characters of a block of code; a longer one stays plain."""

_MAX_TOTAL = 100_000
"""Characters of the highlighted code in one text."""

_SLOW = re.compile(r"[^\n]{1000}|\s{100}")
"""Matches what takes some lexers quadratic time: a long line, and much white space. Such code stays plain."""

_MAX_SECONDS = 2.0
"""Seconds of the thread for the code in one text; what would take longer stays plain."""

_SPENT = "highlighting"
"""The key of a `_Spent` in the environment of a text."""

_LANGUAGE = re.compile(r"[\w+#.-]+")
_CODE_IN_HTML = re.compile(
    r"""(?P<start><pre\b[^<>]{0,200}>\s*<code\b[^<>]{0,200}?\blanguage-(?P<language>[\w+#.-]{1,40})[^<>]{0,200}>)"""
    r"""(?P<code>[^<]+)(?P<end></code>\s*</pre>)""",
    re.IGNORECASE,
)
"""A block of code in HTML with nothing but text in it."""


def render_fence(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, environment: dict[str, Any]
) -> str:
    """Return the HTML of a fenced code block, highlighted if its language is known and the text not too long."""
    token = tokens[index]
    language = _LANGUAGE.match(token.info.lstrip())
    if language is not None and (html := _highlight(token.content, language[0], environment)) is not None:
        options = OptionsDict({**options, "highlight": lambda *_: html})  # type: ignore[typeddict-item]
    return renderer.fence(tokens, index, options, environment)


def render_html_block(
    _renderer: RendererHTML, tokens: Sequence[Token], index: int, _options: OptionsDict, environment: dict[str, Any]
) -> str:
    """Return a block of the author's HTML, with the code in it highlighted that names its language."""

    def highlight(found: re.Match[str]) -> str:
        html = _highlight(unescape(found["code"]), found["language"], environment)
        return found[0] if html is None else f"{found['start']}{html}{found['end']}"

    content = tokens[index].content
    return _CODE_IN_HTML.sub(highlight, content) if "language-" in content else content


@dataclass(slots=True)
class _Spent:
    """What highlighting a text has taken so far."""

    characters: int = 0
    seconds: float = 0.0


def _highlight(code: str, language: str, environment: dict[str, Any]) -> str | None:
    """Return `code` as HTML; None if it stays plain."""
    spent = environment.setdefault(_SPENT, _Spent())
    if len(code) > MAX_CODE or spent.characters + len(code) > _MAX_TOTAL or _SLOW.search(code):
        return None
    language = language.lower()
    if language not in _languages():
        return None
    started = thread_time()
    tokens = _tokens(code, language, started + _MAX_SECONDS - spent.seconds)
    spent.characters += len(code)
    spent.seconds += thread_time() - started
    return None if tokens is None else _html(tokens)


def _tokens(code: str, language: str, end: float) -> list[tuple[str, str]] | None:
    """Return the parts of `code` with their classes, empty for plain text; None if there are none.

    Args:
        code: The code.
        language: One of `_languages()`.
        end: The time of the thread after which there are none.
    """
    from pygments.lexers import get_lexer_by_name  # Late: most texts have no code.

    # Of code within Markdown any lexer would be used.
    lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False, handlecodeblocks=False)
    found = []
    try:
        for _position, kind, text in lexer.get_tokens_unprocessed(code):
            if thread_time() > end:
                return None
            found.append((_css_class(kind), text))
    except Exception:  # A lexer that fails for some text must not keep an entry from being saved.
        return None
    return found


def _html(tokens: Iterable[tuple[str, str]]) -> str:
    """Return the HTML of tokens; adjacent ones of the same class are one span."""
    written = []
    for css, group in groupby(tokens, itemgetter(0)):
        text = escape("".join(text for _, text in group), quote=False)
        written.append(f'<span class="{css}">{text}</span>' if css else text)
    return "".join(written)


@cache
def _css_class(kind: Any) -> str:
    """Return the class of a kind of token, or of the nearest kind above it that has one."""
    from pygments.token import STANDARD_TYPES

    while kind not in STANDARD_TYPES:
        kind = kind.parent
    found = STANDARD_TYPES[kind]
    return found if found in CLASSES else ""


@cache
def _languages() -> frozenset[str]:
    """Return the languages that a block of code may name: what Pygments calls the aliases of the lexers."""
    from pygments.lexers import get_all_lexers

    known = (each for each in get_all_lexers(plugins=False) if each[0] in LANGUAGES)  # A plugin is unknown code.
    return frozenset(alias for _name, aliases, _files, _types in known for alias in aliases)
