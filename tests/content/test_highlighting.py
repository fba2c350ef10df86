"""Code in a text is highlighted with classes that survive sanitizing, in bounded time, and in legible colours."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import product
from typing import Never

import pytest
from paths import ROOT
from pygments.lexers import get_all_lexers
from pygments.lexers.python import PythonLexer
from pygments.token import STANDARD_TYPES

from multisite.content.markup import highlighting
from multisite.content.markup.highlighting import CLASSES, LANGUAGES
from multisite.content.markup.markdown import render, render_stored
from multisite.search.words import plain_text

PYTHON = '```python\ndef f(x):  # <b>\n    return "y" + x\n```\n'
HIGHLIGHTED = (
    '<pre><code class="language-python"><span class="k">def</span> <span class="nf">f</span>(x):'
    '  <span class="c1"># &lt;b&gt;</span>\n'
    '    <span class="k">return</span> <span class="s2">"y"</span> <span class="o">+</span> x\n</code></pre>'
)
PLAIN = re.sub("</?span[^>]*>", "", HIGHLIGHTED) + "\n"


@pytest.mark.parametrize("dialect", ["commonmark", "html", "kramdown", "goldmark", "python-markdown"])
def test_code_of_a_known_language_is_highlighted_in_every_dialect(dialect: str) -> None:
    assert render(PYTHON, dialect).html.strip() == HIGHLIGHTED  # type: ignore[arg-type]
    beside_html = render(f"<div>\n\n{PYTHON}\n</div>\n", dialect).html  # type: ignore[arg-type]
    assert HIGHLIGHTED in beside_html


@pytest.mark.parametrize(
    "source",
    [
        '{% highlight python linenos %}\ndef f(x):  # <b>\n    return "y" + x\n{% endhighlight %}\n',
        '{{< highlight python "linenos=table" >}}\ndef f(x):  # <b>\n    return "y" + x\n{{< /highlight >}}\n',
        PYTHON.replace("python", "Python {hl_lines=[1]}"),
        PYTHON.replace("python", "python{1,2}"),
        PYTHON.replace("```", "~~~"),
        PYTHON.replace("python", "py"),
    ],
)
def test_tags_and_other_spellings_of_a_language_are_highlighted(source: str) -> None:
    html = render_stored(source, "goldmark").html
    assert html.partition(">def")[0].endswith('<span class="k"')
    assert html.partition("<span")[2] == HIGHLIGHTED.partition("<span")[2] + "\n"


@pytest.mark.parametrize("info", ["", "nothing", "text", "mermaid", "<b>", "../python", "adl"])
def test_code_of_an_unknown_language_stays_plain(info: str) -> None:
    html = render(f"```{info}\ndef f(x): return 1 < 2\n```\n").html
    assert html.endswith(">def f(x): return 1 &lt; 2\n</code></pre>\n")


def test_code_without_a_language_is_never_guessed() -> None:
    assert "<span" not in render("    def f(x): return 1\n\n`def f(x)`\n\n```\ndef f(x): return 1\n```\n").html


def test_the_text_of_highlighted_code_is_the_code() -> None:
    code = (ROOT / "multisite" / "content" / "markup" / "tidy.py").read_text(encoding="utf-8")
    html = render(f"```python\n{code}```\n").html
    assert html.count("<span class=") > 500
    assert plain_text(html).strip() == code.strip()


def test_code_within_code_is_not_highlighted_by_a_language_of_its_own() -> None:
    html = render("~~~markdown\n```python\ndef f(x): return 1\n```\n*a*\n~~~\n").html
    assert '<span class="ge">*a*</span>' in html
    assert '<span class="k">' not in html


def test_only_classes_of_pygments_survive() -> None:
    assert set(STANDARD_TYPES.values()) >= CLASSES
    html = render(
        '<span class="k">a</span><span class="site-nav">b</span><span class="k hidden" style="x:y">c</span>'
    ).html
    assert html.strip() == '<p><span class="k">a</span><span>b</span><span class="k">c</span></p>'
    assert 'class="k"' not in render('<em class="k">a</em>').html


def test_the_languages_are_known_to_pygments() -> None:
    assert {name for name, *_ in get_all_lexers(plugins=False)} >= LANGUAGES


def _is_highlighted(code: str, language: str = "python") -> bool:
    return "<span" in render(f"```{language}\n{code}\n```\n").html


def test_long_code_stays_plain() -> None:
    line = "x = 1\n"
    assert _is_highlighted(line * (highlighting.MAX_CODE // len(line) - 1))
    assert not _is_highlighted(line * (highlighting.MAX_CODE // len(line) + 1))
    assert _is_highlighted("x = " + "1" * 900)
    assert not _is_highlighted("x = " + "1" * 1000)
    assert _is_highlighted("x = 1" + "\n" * 90 + "y")
    assert not _is_highlighted("x = 1" + " \n" * 60 + "y")


def test_many_blocks_are_highlighted_up_to_a_total(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(highlighting, "_MAX_TOTAL", 1000)
    block = "```python\n" + "x = 1\n" * 10 + "```\n\n"
    html = render(block * 20).html
    assert ["<span" in each for each in html.split("<pre>")[1:]] == [True] * 16 + [False] * 4
    assert render(block).html == html[: html.index("<pre>", 5)]  # The next text has a total of its own.


def test_code_that_takes_too_long_stays_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(highlighting, "_MAX_SECONDS", -1)
    assert render(PYTHON).html == PLAIN


def test_code_for_which_pygments_fails_stays_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_lexer: PythonLexer, _code: str) -> Never:
        raise IndexError

    monkeypatch.setattr(PythonLexer, "get_tokens_unprocessed", fail)
    assert render(PYTHON).html == PLAIN


def test_pygments_is_imported_when_there_is_code() -> None:
    code = (
        "import sys\nfrom multisite.content.markup.markdown import render\n"
        "render('# a\\n\\n`b`\\n\\n```\\nc\\n```\\n')\nprint('pygments' in sys.modules)\n"
        "render('```python\\nc\\n```\\n')\nprint('pygments' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def _luminance(colour: str) -> float:
    """Return the relative luminance (WCAG 2.2)."""
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _colours(name: str, properties: str, *, dark: bool) -> set[str]:
    """Return the colours of properties in a stylesheet: those within, or without, its rules for dark screens."""
    css = (ROOT / name).read_text(encoding="utf-8")
    dark_rules = "".join(re.findall(r"@media \(prefers-color-scheme: dark\) \{.*?\n\}", css, re.DOTALL))
    if not dark:
        for rules in re.findall(r"@media \(prefers-color-scheme: dark\) \{.*?\n\}", css, re.DOTALL):
            css = css.replace(rules, "")
    return set(re.findall(rf"(?<![\w-]){properties}: (#[0-9a-f]{{6}})\b", dark_rules if dark else css))


BASE = "templates/static/base.css"
GARDEN = "sites/garden.localhost/static/style.css"
KITCHEN = "sites/kitchen.localhost/static/style.css"
STERNWARTE = "sites/sternwarte.localhost/static/style.css"
PAGES = [
    *product([BASE], [BASE, "templates/themes/folio/static/style.css", "templates/themes/shopfront/static/style.css"],
             ["--color-surface"], [False, True]),
    (GARDEN, GARDEN, "--leaf-paper", False),
    (GARDEN, GARDEN, "--leaf-paper", True),
    (KITCHEN, KITCHEN, "--brown", False),
    (STERNWARTE, STERNWARTE, "--dusk", False),
]  # fmt: skip


@pytest.mark.parametrize(("code", "page", "surface", "dark"), PAGES)
def test_each_colour_of_code_can_be_read_on_its_background(code: str, page: str, surface: str, *, dark: bool) -> None:
    colours = _colours(code, "--code-[a-z]+", dark=dark)
    backgrounds = _colours(page, surface, dark=dark)
    assert len(colours) == 5
    assert backgrounds
    assert min(_contrast(*each) for each in product(colours, backgrounds)) >= 4.5


@pytest.mark.parametrize("name", [BASE, GARDEN, KITCHEN, STERNWARTE])
def test_every_colour_of_code_is_used(name: str) -> None:
    css = (ROOT / name).read_text(encoding="utf-8")
    defined = set(re.findall(r"(--code-[a-z]+):", css))
    assert len(defined) == 5
    assert set(re.findall(r"color: var\((--code-[a-z]+)\)", css)) == defined
