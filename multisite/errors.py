"""The errors of multisite, one small family.

Each class carries its data as attributes and reads as a sentence that says what to do. All of them derive from
`MultisiteError`, so that an application can catch the family at its edge. They are pure: nothing here imports
Pyramid or SQLAlchemy (`multisite.scoping.refusal` has the forms of them that SQLAlchemy does not wrap).
"""

from __future__ import annotations

from collections.abc import Iterable

from multisite import program

__all__ = [
    "CrossSiteError",
    "DirectoryUnavailable",
    "DomainTaken",
    "InvalidHost",
    "MultisiteError",
    "NoCurrentSite",
    "SettingError",
    "SiteSettingError",
    "UndeclaredSetting",
    "UnknownSetting",
    "UnknownSite",
    "UnscopedStatement",
]

MAX_ECHOED_CHARACTERS = 256
"""How much of a foreign text an error repeats: a Host of 200 kB must not become a log record of 200 kB."""


def escape_for_message(text: object) -> str:
    """Return `text` as ASCII with everything else escaped, at most `MAX_ECHOED_CHARACTERS` characters long."""
    raw = str(text)[: MAX_ECHOED_CHARACTERS + 1]
    escaped = raw.encode("unicode_escape").decode("ascii")
    if len(escaped) <= MAX_ECHOED_CHARACTERS and len(raw) <= MAX_ECHOED_CHARACTERS:
        return escaped
    return escaped[: MAX_ECHOED_CHARACTERS - 3] + "..."


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the one of `known` that `name` was most probably meant to be, None if none is like it."""
    from difflib import get_close_matches  # Only a mistake needs it.

    return next(iter(get_close_matches(name, list(known), n=1)), None)


class MultisiteError(Exception):
    """The family of all errors raised by multisite."""


class InvalidHost(MultisiteError, ValueError):
    """A text that is not a host. `host` is the text as given, `reason` says which rule it breaks."""

    def __init__(self, host: object, reason: str) -> None:
        self.host = host
        self.reason = reason
        super().__init__(f"'{escape_for_message(host)}' is not a host: {reason}")


class UnknownSite(MultisiteError, LookupError):
    """No site is known by `name` (a host, an id, or None where a request has no site on purpose)."""

    def __init__(self, name: object, message: str | None = None) -> None:
        self.name = name
        super().__init__(message or f"no site is known as '{escape_for_message(name)}'")


class DirectoryUnavailable(MultisiteError):
    """The directory of sites cannot be read just now, so that nobody can say whether a host has a site.

    `retry_after_seconds` is when the database is asked again at the latest, a whole number.
    """

    def __init__(self, reason: str, retry_after_seconds: int = 5) -> None:
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds
        super().__init__(f"the directory of sites cannot be read: {reason}")


class DomainTaken(MultisiteError, ValueError):
    """`host` already leads to a site; `owner` is that site's canonical host, None where it is not known."""

    def __init__(self, host: str, owner: str | None = None) -> None:
        self.host = host
        self.owner = owner
        to = f"the site {owner}" if owner else "a site"
        super().__init__(f"'{escape_for_message(host)}' is taken: it already leads to {to}")


class NoCurrentSite(MultisiteError, LookupError):
    """Something that belongs to a site was asked for where no site is known."""

    def __init__(self, what: str = "this") -> None:
        self.what = what
        super().__init__(
            f"{what} needs a site and none is known here: pin the session with "
            'Session(engine, info={"site": site}), or work inside using_site(site) or all_sites("reason")'
        )


class CrossSiteError(MultisiteError):
    """Something of one site was about to be used, changed or linked under another."""


class UnscopedStatement(MultisiteError):
    """A statement that multisite cannot limit to one site, and therefore does not run."""


class SettingError(MultisiteError, ValueError):
    """A setting with a bad value or an unknown name. Carries `key`, `value` and `expected`."""

    def __init__(self, key: str, value: object, expected: str) -> None:
        self.key = key
        self.value = value
        self.expected = expected
        super().__init__(f"{key} = {escape_for_message(value)}: expected {expected}")


class UnknownSetting(SettingError):
    """A setting that there is not. Carries `key`, `value`, and as `expected` the settings that may have been meant."""

    def __init__(
        self, name: str, value: object, known: Iterable[str], *, prefix: str = "", listed: str | None = None
    ) -> None:
        """Args: `known` are the names behind `prefix`; `listed` says where they are listed, None for in the message."""
        known = sorted(known)
        near = nearest(name, known)
        self.key = prefix + name
        self.value = value
        self.expected = prefix + near if near else listed or ", ".join(prefix + each for each in known) or "none"
        hint = f"did you mean {self.expected}?" if near else f"those that there are: {self.expected}"
        MultisiteError.__init__(self, f"there is no setting {escape_for_message(self.key)}; {hint}")


class SiteSettingError(MultisiteError, ValueError):
    """A setting of one site with a bad value. Carries `site`, its domain, `key`, `value` and `expected`."""

    def __init__(self, site: str, key: str, value: str, expected: str) -> None:
        self.site = site
        self.key = key
        self.value = value
        self.expected = expected
        super().__init__(
            f"the site {site} has the setting {key} = {escape_for_message(value)}, expected {expected}: set another "
            f"one with '{program.command(f'set {site} {key}=...')}', or '{program.command(f'unset {site} {key}')}'"
        )


class UndeclaredSetting(MultisiteError, KeyError):
    """A setting of a site that the application does not declare; `name` is what was asked for."""

    def __init__(self, name: object, known: Iterable[str]) -> None:
        self.name = name
        super().__init__(
            f"no setting of a site is called '{escape_for_message(name)}': config.add_site_setting declares one, "
            f"and has declared {', '.join(sorted(known)) or 'none'}"
        )

    # A KeyError shows its argument as Python writes it, in quotes.
    __str__ = Exception.__str__
