"""Read and write the redirects of one site. Each function takes a session that is pinned to the site.

The functions that write flush, and leave the commit to the caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from multisite.content.models import Redirect
from multisite.content.redirect_loops import RuleGraph
from multisite.content.redirect_rules import Rule, candidates, is_target, parse_path, parse_rule
from multisite.errors import MultisiteError

__all__ = ["RedirectChanges", "find_redirect", "list_redirects", "move_address", "remove_redirect", "save_redirects"]


MAX_SHOWN = 5
"""Addresses of a loop that a message names."""


@dataclass(slots=True)
class RedirectChanges:
    """The result of saving rules: the saved ones by what happened, and the others with the reason.

    `kept` are the paths of redirects that a person made, which an import did not change.
    """

    added: list[Rule] = field(default_factory=list)
    updated: list[Rule] = field(default_factory=list)
    unchanged: list[Rule] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    refused: list[tuple[Rule, str]] = field(default_factory=list)


def find_redirect(session: Session, path: str, query: str = "") -> Rule | None:
    """Return the rule that matches an address best, or None. One statement.

    Args:
        session: Pinned to the site.
        path: The requested path, unescaped.
        query: The requested query, escaped.
    """
    wanted = candidates(path, query)
    columns = sa.select(Redirect.path, Redirect.target, Redirect.status)
    found = {row.path: row for row in session.execute(columns.where(Redirect.path.in_(wanted)))}
    best = next((found[each] for each in wanted if each in found), None)
    if best is not None and best.target is not None and not is_target(best.target):
        return None
    return None if best is None else Rule(best.path, best.target, best.status)


def list_redirects(session: Session) -> Iterator[tuple[Rule, bool]]:
    """Yield all rules by path, each with whether an import made it."""
    columns = sa.select(Redirect.path, Redirect.target, Redirect.status, Redirect.imported)
    for path, target, status, imported in session.execute(columns.order_by(Redirect.path)):
        yield Rule(path, target, status), imported


def save_redirects(session: Session, rules: Iterable[Rule], *, imported: bool = False) -> RedirectChanges:
    """Add `rules`, or change the redirects that have their paths.

    Args:
        session: Pinned to the site.
        rules: As returned by `parse_rule`; of two with one path, the later one counts.
        imported: Whether an import makes them: redirects made by a person are then kept.

    Returns:
        What was changed. Rules that redirect without end are refused, and the others saved.

    Raises:
        MultisiteError: Another program has added a redirect of the same path at the same time.
    """
    existing = {rule.path: (rule, was_imported) for rule, was_imported in list_redirects(session)}
    graph = RuleGraph(rule for rule, _ in existing.values())
    changes = RedirectChanges()
    for rule in rules:
        old, was_imported = existing.get(rule.path, (None, imported))
        if imported and not was_imported:
            changes.kept.append(rule.path)
        elif (old, was_imported) == (rule, imported):
            changes.unchanged.append(rule)
        elif (loop := graph.add(rule)) is not None:
            changes.refused.append((rule, f"it redirects without end: {' to '.join(loop[:MAX_SHOWN])}"))
        else:
            _save(session, rule, imported=imported, is_new=old is None)
            (changes.added if old is None else changes.updated).append(rule)
            existing[rule.path] = rule, imported
    try:
        session.flush()
    except IntegrityError as error:
        raise MultisiteError(f"another program is changing redirects: try again afterwards ({error.orig})") from error
    return changes


def _save(session: Session, rule: Rule, *, imported: bool, is_new: bool) -> None:
    values = {"target": rule.target, "status": rule.status, "imported": imported}
    if is_new:
        session.add(Redirect(path=rule.path, **values))
    else:
        session.execute(sa.update(Redirect).where(Redirect.path == rule.path).values(**values))


def remove_redirect(session: Session, path: str) -> bool:
    """Remove the redirect of `path`, which is written as for `parse_rule`.

    Returns:
        Whether there was one.

    Raises:
        InvalidRedirect: `path` is not a path of a site.
    """
    done = session.execute(sa.delete(Redirect).where(Redirect.path == parse_path(path)))
    return bool(done.rowcount)  # type: ignore[attr-defined]


def move_address(session: Session, old: str, new: str) -> None:
    """Redirect the path `old` to `new`, where its page is from now on, as after a change of a slug.

    Redirects to `old` lead to `new` afterwards, so that nobody is redirected twice. A redirect of `new` itself is
    removed, so that a page can be moved back.

    Raises:
        InvalidRedirect: One of them is not a path of a site.
        MultisiteError: They are equal, or a redirect such as `/entries/*` leads from `new` back to `old`.
    """
    rule = parse_rule(old, new)
    remove_redirect(session, new)
    earlier = sa.update(Redirect).where(Redirect.target == parse_rule("/", old).target, Redirect.path != rule.path)
    session.execute(earlier.values(target=rule.target))
    refused = save_redirects(session, [rule]).refused
    if refused:
        raise MultisiteError(f"{old} cannot be redirected to {new}: {refused[0][1]}")
