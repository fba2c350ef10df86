"""Find loops among redirect rules before they are saved."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from multisite.content.redirect_rules import Rule, candidates, location, path_key

__all__ = ["RuleGraph"]

MAX_HOPS = 20
"""Redirects in a row that are followed: browsers give up after as many."""


class _Addresses(NamedTuple):
    """One address, or with `is_open` all addresses at and below `path` with any rest; `path` is unescaped."""

    path: str
    is_open: bool
    query: str = ""

    def __str__(self) -> str:
        return self.path.rstrip("/") + "/*" if self.is_open else self.path + (f"?{self.query}" if self.query else "")


class RuleGraph:
    """The rules of one site, which are followed from target to target.

    Whether a page exists is not considered: a rule that leads back is refused even if a page would stop the loop today.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = {rule.path: rule for rule in rules}
        self._paths = sorted(self._rules)

    def add(self, rule: Rule) -> list[str] | None:
        """Add `rule`, or replace the one with its path, unless it redirects an address without end.

        Returns:
            None, or if the rule was not added, the addresses through which it leads.
        """
        old = self._rules.get(rule.path)
        self._rules[rule.path] = rule
        if old is None:
            insort(self._paths, rule.path)
        loop = self._find_loop(rule)
        if loop is None:
            return None
        if old is None:
            del self._rules[rule.path]
            del self._paths[bisect_left(self._paths, rule.path)]
        else:
            self._rules[rule.path] = old
        return [str(each) for each in loop]

    def _find_loop(self, rule: Rule) -> list[_Addresses] | None:
        """Return the redirects of an address that `rule` matches and that is redirected without end, or None."""
        # Open addresses are followed with a rest that no rule names. Where rules match some rests only, their addresses
        # are followed as well; such a step uses up a part of the rest, and so is not part of any loop.
        waiting, seen = [_addresses(rule.path)], set[_Addresses]()
        while waiting:
            way: list[_Addresses] = []
            here: _Addresses | None = waiting.pop()
            while here is not None and here not in seen:
                if here in way or len(way) > MAX_HOPS:
                    return [*way, here]
                way.append(here)
                waiting += self._more_specific(here)
                here = self._next(here)
            seen.update(way)
        return None

    def _next(self, here: _Addresses) -> _Addresses | None:
        """Return where the best rule leads; None if no rule matches, or if it leads to another site."""
        matching = candidates(here.path, here.query)
        rule = next(
            (
                self._rules[each]
                for each in matching
                if each in self._rules and (each.endswith("/*") or not here.is_open)
            ),
            None,
        )
        target = None if rule is None else location(rule, here.path, here.query)
        if rule is None or rule.target is None or target is None or not target.startswith("/"):
            return None
        parts = urlsplit(target)
        stays_open = here.is_open and rule.target.endswith("/*")
        return _Addresses(path_key(unquote(parts.path)), stays_open, parts.query)

    def _more_specific(self, here: _Addresses) -> Iterator[_Addresses]:
        """Yield the addresses of the rules that match only some of `here`."""
        base = here.path.rstrip("/")
        beginnings = [f"{here.path}?"] if not here.query else []
        if here.is_open:
            beginnings.append(f"{base}/")
            if base in self._rules:
                yield _addresses(base)
        for beginning in beginnings:
            for number in range(bisect_left(self._paths, beginning), len(self._paths)):
                if not self._paths[number].startswith(beginning):
                    break
                yield _addresses(self._paths[number])


def _addresses(path: str) -> _Addresses:
    """Return the addresses that the rule with this path matches."""
    if path.endswith("/*"):
        return _Addresses(path[:-2] or "/", is_open=True)
    plain, _, query = path.partition("?")
    return _Addresses(plain, False, query)
