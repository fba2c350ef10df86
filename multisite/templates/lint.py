"""Check the templates without rendering them, for `multisite check`.

All files are compiled. For each site, the targets of `<%inherit>`, `<%include>` and `<%namespace>` must exist, and no
template may inherit from itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from mako.exceptions import CompileException, MakoException, SyntaxException, TopLevelLookupException
from mako.lexer import Lexer
from mako.parsetree import IncludeTag, InheritTag, NamespaceTag

from multisite.core.site import Site
from multisite.templates.compiled import Compiled, TemplateView
from multisite.templates.lookup import SiteLookup, SiteTemplates
from multisite.templates.precompile import compile_all

__all__ = ["TemplateIssue", "lint"]

STARTER = "/starter/"
"""Templates with such names are copied into the folders of new sites, and refer to templates there."""


class TemplateIssue(NamedTuple):
    """A problem in the file `path`; `line` is None if it concerns the file as a whole.

    `reason` begins with a lowercase letter and has no full stop. `sites` are the affected sites, empty for all.
    """

    path: Path
    line: int | None
    reason: str
    sites: tuple[Site, ...] = ()


class _Call(NamedTuple):
    """A tag that refers to another template: its keyword, its line and the name that it gives."""

    tag: str
    line: int
    name: str


def lint(templates: SiteTemplates, sites: Iterable[Site], used: Iterable[str] = ()) -> Iterator[TemplateIssue]:
    """Check the templates of the layers of `sites`, of all themes and of the shared folders.

    Args:
        templates: The templates of the application.
        sites: The sites to check.
        used: Template names that the application renders, so that templates of packages are checked too.

    Yields:
        The issues; one in a file that several sites share is reported once.
    """
    sites = list(sites)
    broken: set[Path] = set()
    for result in compile_all(templates, sites, used):
        if result.error is not None:
            broken.add(result.path)
            yield _issue_from_error(result.path, result.error)
    yield from _misnamed_folders(templates, sites)
    calls: dict[Compiled, list[_Call]] = {}
    affected: dict[TemplateIssue, list[Site]] = {}
    checked = list(_sites_to_check(templates, sites))
    for site in checked:
        for issue in _issues_of_site(templates, site, calls):
            if issue.path not in broken:
                affected.setdefault(issue, []).extend([] if site is None else [site])
    for issue, of_sites in affected.items():
        yield issue if len(of_sites) == len(checked) else issue._replace(sites=tuple(of_sites))


def _issue_from_error(path: Path, error: Exception) -> TemplateIssue:
    if isinstance(error, (SyntaxException, CompileException)):
        # Mako appends file, line and column to its messages, in two forms.
        reason = str(error).partition(" at line: ")[0].partition(" in file '")[0]
        return TemplateIssue(path, error.lineno or None, _sentence(reason))
    if isinstance(error, (OSError, MakoException)):
        return TemplateIssue(path, None, _sentence(getattr(error, "strerror", None) or str(error)))
    return TemplateIssue(path, None, f"it cannot be compiled ({type(error).__name__}: {_sentence(str(error))})")


def _sentence(text: str) -> str:
    text = " ".join(text.split()).rstrip(".")
    return text[:1].lower() + text[1:]


def _misnamed_folders(templates: SiteTemplates, sites: list[Site]) -> Iterator[TemplateIssue]:
    """Yield an issue for each folder with the name of a template."""
    overlay = templates.overlay
    layers = [*overlay.layers(None), *overlay.themes(), *(overlay.layers(site)[0] for site in sites)]
    for layer in layers:
        for suffix in sorted(overlay.suffixes):
            for path in sorted(layer.root.rglob(f"*{suffix}")):
                is_template = path.is_dir() and overlay.is_listed(path.relative_to(layer.root))
                if is_template and (layer.kind != "shared" or not path.is_relative_to(overlay.themes_dir)):
                    yield TemplateIssue(path, None, "it is a folder with the name of a template")


def _sites_to_check(templates: SiteTemplates, sites: list[Site]) -> Iterator[Site | None]:
    """Yield the sites with templates of their own, and for each theme one of the others; None if there are no sites."""
    plain: set[str | None] = set()
    if not sites:
        yield None
    for site in sites:
        if next(templates.overlay.names(templates.overlay.layers(site)[0]), None) is None:
            if site.theme in plain:
                continue
            plain.add(site.theme)
        yield site


def _issues_of_site(
    templates: SiteTemplates, site: Site | None, calls: dict[Compiled, list[_Call]]
) -> Iterator[TemplateIssue]:
    lookup = templates.lookup(site)
    for name in templates.names(site):
        # Files that do not compile have been reported already.
        view = None
        with suppress(Exception):
            view = lookup.get_template(name)
        if view is not None and not name.startswith(STARTER):
            yield from _missing_targets(lookup, view, calls)
            yield from _inheritance_cycle(lookup, view, calls)


def _missing_targets(
    lookup: SiteLookup, view: TemplateView, calls: dict[Compiled, list[_Call]]
) -> Iterator[TemplateIssue]:
    for call in _calls_in(view, calls):
        missing: TopLevelLookupException | None = None
        with suppress(Exception):
            try:
                _target(lookup, view, call)
            except TopLevelLookupException as error:
                missing = error
        if missing is not None:
            # Without the paths that were searched, which differ between sites.
            reason = _sentence(str(missing).partition(": looked for ")[0])
            yield TemplateIssue(Path(view.filename), call.line, f"the target of <%{call.tag}> does not exist: {reason}")


def _inheritance_cycle(
    lookup: SiteLookup, view: TemplateView, calls: dict[Compiled, list[_Call]]
) -> Iterator[TemplateIssue]:
    """Yield an issue if `view` is part of an inheritance cycle, not if it only leads into one."""
    chain = [view]
    while True:
        inherit = next((call for call in _calls_in(chain[-1], calls) if call.tag == "inherit"), None)
        if inherit is None:
            return
        try:
            chain.append(_target(lookup, chain[-1], inherit))
        except Exception:
            return
        if chain[-1].compiled is view.compiled:
            break
        if any(chain[-1].compiled is known.compiled for known in chain[1:-1]):
            return
    line = next(call.line for call in _calls_in(view, calls) if call.tag == "inherit")
    path = ", ".join(template.uri for template in chain[1:])
    yield TemplateIssue(Path(view.filename), line, f"it inherits from itself, through {path}")


def _target(lookup: SiteLookup, view: TemplateView, call: _Call) -> TemplateView:
    return lookup.get_template(lookup.adjust_uri(call.name, view.module._template_uri))


def _calls_in(view: TemplateView, calls: dict[Compiled, list[_Call]]) -> list[_Call]:
    found = calls.get(view.compiled)
    if found is None:
        try:
            tree = Lexer(view.source, view.filename).parse()
        except MakoException:  # A preprocessor changes the syntax.
            tree = None
        found = calls[view.compiled] = [] if tree is None else list(_tags(tree))
    return found


def _tags(node: Any) -> Iterator[_Call]:
    """Yield the calls in a parsed template whose names are literals, not expressions."""
    for child in getattr(node, "nodes", ()):
        if isinstance(child, (IncludeTag, InheritTag, NamespaceTag)):
            name = child.attributes.get("file")
            if name is not None and "${" not in name:
                yield _Call(child.keyword, child.lineno, name)
        yield from _tags(child)
