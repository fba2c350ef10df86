"""What is wrong with the templates, without rendering any: for `multisite check`.

Every file is compiled. Beside that each site is looked at as it is: whether what its templates inherit from, include
and use as a namespace is there for this site, and whether a template inherits from itself in the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from mako.exceptions import CompileException, MakoException, SyntaxException, TopLevelLookupException
from mako.lexer import Lexer
from mako.parsetree import IncludeTag, InheritTag, NamespaceTag

from multisite.site import Site
from multisite.templates.ahead import compile_all
from multisite.templates.lookup import SiteLookup, SiteTemplates
from multisite.templates.store import TemplateView

__all__ = ["TemplateIssue", "lint"]


STARTER = "/starter/"
"""Templates here are copied into the folders of new sites, and call what is there."""


class TemplateIssue(NamedTuple):
    """What is wrong in the file `path`, in `line` (None: with the file).

    `reason` begins with a small letter and has no full stop. `sites` are those that it concerns, if not all of them.
    """

    path: Path
    line: int | None
    reason: str
    sites: tuple[Site, ...] = ()


class _Call(NamedTuple):
    """A template that is named by another: by which tag, in which line, and as what."""

    tag: str
    line: int
    name: str


def lint(templates: SiteTemplates, sites: Iterable[Site], used: Iterable[str] = ()) -> Iterator[TemplateIssue]:
    """Yield what is wrong with the templates of the layers of `sites`, of all themes and of the shared folders.

    `used` are names that an application renders, so that packages are looked at too. What sites share is reported once.
    """
    sites = list(sites)
    broken: set[Path] = set()
    for outcome in compile_all(templates, sites, used):
        if outcome.error is not None:
            broken.add(outcome.path)
            yield _fault_of(outcome.path, outcome.error)
    yield from _folders(templates, sites)
    calls: dict[type[TemplateView], list[_Call]] = {}
    concerned: dict[TemplateIssue, list[Site]] = {}
    different = list(_different(templates, sites))
    for site in different:
        for fault in _site_row_errors(templates, site, calls):
            if fault.path not in broken:
                concerned.setdefault(fault, []).extend([] if site is None else [site])
    for fault, of_sites in concerned.items():
        yield fault if len(of_sites) == len(different) else fault._replace(sites=tuple(of_sites))


def _fault_of(path: Path, error: Exception) -> TemplateIssue:
    if isinstance(error, (SyntaxException, CompileException)):
        # Mako puts file, line and column behind its own messages, in two ways.
        reason = str(error).partition(" at line: ")[0].partition(" in file '")[0]
        return TemplateIssue(path, error.lineno or None, _sentence(reason))
    if isinstance(error, (OSError, MakoException)):
        return TemplateIssue(path, None, _sentence(getattr(error, "strerror", None) or str(error)))
    return TemplateIssue(path, None, f"it cannot be compiled ({type(error).__name__}: {_sentence(str(error))})")


def _sentence(text: str) -> str:
    text = " ".join(text.split()).rstrip(".")
    return text[:1].lower() + text[1:]


def _folders(templates: SiteTemplates, sites: list[Site]) -> Iterator[TemplateIssue]:
    """Yield folders that have the name of a template, which are not among the files of a layer."""
    overlay = templates.overlay
    layers = [*overlay.layers(None), *overlay.themes(), *(overlay.layers(site)[0] for site in sites)]
    for layer in layers:
        for suffix in sorted(overlay.suffixes):
            for path in sorted(layer.root.rglob(f"*{suffix}")):
                is_template = path.is_dir() and overlay.is_listed(path.relative_to(layer.root))
                if is_template and (layer.kind != "shared" or not path.is_relative_to(overlay.themes_dir)):
                    yield TemplateIssue(path, None, "it is a folder, and has the name of a template")


def _different(templates: SiteTemplates, sites: list[Site]) -> Iterator[Site | None]:
    """Yield one of the sites that have no templates of their own, for each theme, and all others; None if none is."""
    plain: set[str | None] = set()
    if not sites:
        yield None
    for site in sites:
        if next(templates.overlay.names(templates.overlay.layers(site)[0]), None) is None:
            if site.theme in plain:
                continue
            plain.add(site.theme)
        yield site


def _site_row_errors(
    templates: SiteTemplates, site: Site | None, calls: dict[type[TemplateView], list[_Call]]
) -> Iterator[TemplateIssue]:
    lookup = templates.lookup(site)
    for name in templates.names(site):
        # What cannot be compiled has been reported where all files were.
        view = None
        with suppress(Exception):
            view = lookup.get_template(name)
        if view is not None and not name.startswith(STARTER):
            yield from _faults_of_calls(lookup, view, calls)
            yield from _fault_of_circle(lookup, view, calls)


def _faults_of_calls(
    lookup: SiteLookup, view: TemplateView, calls: dict[type[TemplateView], list[_Call]]
) -> Iterator[TemplateIssue]:
    for call in _calls_of(view, calls):
        missing: TopLevelLookupException | None = None
        with suppress(Exception):
            try:
                _called(lookup, view, call)
            except TopLevelLookupException as error:
                missing = error
        if missing is not None:
            # Without the places that were looked at, which differ from site to site.
            reason = _sentence(str(missing).partition(": looked for ")[0])
            yield TemplateIssue(
                Path(view.filename), call.line, f"what it names by <%{call.tag}> is not there: {reason}"
            )


def _fault_of_circle(
    lookup: SiteLookup, view: TemplateView, calls: dict[type[TemplateView], list[_Call]]
) -> Iterator[TemplateIssue]:
    """Yield a fault if `view` is part of a circle of inheritance; a template that only ends up in one is not."""
    chain = [view]
    while True:
        inherit = next((call for call in _calls_of(chain[-1], calls) if call.tag == "inherit"), None)
        if inherit is None:
            return
        try:
            chain.append(_called(lookup, chain[-1], inherit))
        except Exception:
            return
        if type(chain[-1]) is type(view):
            break
        if any(type(chain[-1]) is type(known) for known in chain[1:-1]):
            return
    line = next(call.line for call in _calls_of(view, calls) if call.tag == "inherit")
    way = ", ".join(template.uri for template in chain[1:])
    yield TemplateIssue(Path(view.filename), line, f"it inherits from itself without end, by {way}")


def _called(lookup: SiteLookup, view: TemplateView, call: _Call) -> TemplateView:
    return lookup.get_template(lookup.adjust_uri(call.name, view.module._template_uri))


def _calls_of(view: TemplateView, calls: dict[type[TemplateView], list[_Call]]) -> list[_Call]:
    found = calls.get(type(view))
    if found is None:
        try:
            tree = Lexer(view.source, view.filename).parse()
        except MakoException:  # A preprocessor has made something else of it.
            tree = None
        found = calls[type(view)] = [] if tree is None else list(_tags(tree))
    return found


def _tags(node: Any) -> Iterator[_Call]:
    """Yield the calls in a parsed template whose names stand there as they are, not made when it is rendered."""
    for child in getattr(node, "nodes", ()):
        if isinstance(child, (IncludeTag, InheritTag, NamespaceTag)):
            name = child.attributes.get("file")
            if name is not None and "${" not in name:
                yield _Call(child.keyword, child.lineno, name)
        yield from _tags(child)
