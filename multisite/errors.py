"""The exceptions of multisite.

Each class has its data as attributes, and a message that says what to do. All derive from `MultisiteError`.
`multisite.scoping.errors` has subclasses that SQLAlchemy does not wrap; this module does not import SQLAlchemy.
"""

from __future__ import annotations

from collections.abc import Iterable

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
"""How much of an untrusted text a message repeats: a Host of 200 kB must not become a log record of 200 kB."""


def escape_for_message(text: object) -> str:
    """Return `text` with everything but printable ASCII escaped, truncated to `MAX_ECHOED_CHARACTERS`."""
    raw = str(text)[: MAX_ECHOED_CHARACTERS + 1]
    escaped = raw.encode("unicode_escape").decode("ascii")
    if len(escaped) <= MAX_ECHOED_CHARACTERS and len(raw) <= MAX_ECHOED_CHARACTERS:
        return escaped
    return escaped[: MAX_ECHOED_CHARACTERS - 3] + "..."


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the one of `known` that `name` is most likely a typo of, or None."""
    from difflib import get_close_matches  # Only needed after a mistake.

    return next(iter(get_close_matches(name, list(known), n=1)), None)


class MultisiteError(Exception):
    """Base class of all exceptions of multisite."""


class InvalidHost(MultisiteError, ValueError):
    """A text is not a valid host. `host` is the text, `reason` the rule that it breaks."""

    def __init__(self, host: object, reason: str) -> None:
        self.host = host
        self.reason = reason
        super().__init__(f"'{escape_for_message(host)}' is not a host: {reason}")


class UnknownSite(MultisiteError, LookupError):
    """No site has the host or id `name`; None if the request deliberately has no site."""

    def __init__(self, name: object, message: str | None = None) -> None:
        self.name = name
        self._message = message

    def __str__(self) -> str:
        # Not in __init__: anybody can send requests for unknown hosts, and hardly any of these texts is read.
        return self._message or f"no site is known as '{escape_for_message(self.name)}'"


class DirectoryUnavailable(MultisiteError):
    """The directory of sites cannot be read at the moment, so it is unknown whether a host has a site.

    The database is tried again after `retry_after_seconds` at the latest.
    """

    def __init__(self, reason: str, retry_after_seconds: int = 5) -> None:
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds
        super().__init__(f"the directory of sites cannot be read: {reason}")


class DomainTaken(MultisiteError, ValueError):
    """The domain `host` belongs to a site already. `owner` is the canonical domain of that site, None if unknown."""

    def __init__(self, host: str, owner: str | None = None) -> None:
        self.host = host
        self.owner = owner
        site = f"the site {owner}" if owner else "a site"
        super().__init__(f"'{escape_for_message(host)}' is taken: it already leads to {site}")


class NoCurrentSite(MultisiteError, LookupError):
    """An operation needs a site, and none is current."""

    def __init__(self, what: str = "this") -> None:
        self.what = what
        super().__init__(
            f"{what} needs a site, and none is current: pin the session with "
            'Session(engine, info={"site": site}), or work inside using_site(site) or all_sites("reason")'
        )


class CrossSiteError(MultisiteError):
    """An object of one site was about to be used, changed or linked while working for another."""


class UnscopedStatement(MultisiteError):
    """A statement was not executed because multisite cannot limit it to one site."""


class SettingError(MultisiteError, ValueError):
    """A setting has an invalid value or an unknown name. Attributes: `key`, `value` and `expected`."""

    def __init__(self, key: str, value: object, expected: str) -> None:
        self.key = key
        self.value = value
        self.expected = expected
        super().__init__(f"{key} = {escape_for_message(value)}: expected {expected}")


class UnknownSetting(SettingError):
    """A setting does not exist. `expected` names the settings that may have been meant."""

    def __init__(
        self, name: str, value: object, known: Iterable[str], *, prefix: str = "", listed: str | None = None
    ) -> None:
        """Initialize the error.

        Args:
            name: The unknown name, without `prefix`.
            value: The value that it was given.
            known: The names of the existing settings, without `prefix`.
            prefix: The prefix of all keys.
            listed: Where the settings are documented; None to list them in the message.
        """
        known = sorted(known)
        near = nearest(name, known)
        self.key = prefix + name
        self.value = value
        self.expected = prefix + near if near else listed or ", ".join(prefix + each for each in known) or "none"
        hint = f"did you mean {self.expected}?" if near else f"the existing ones: {self.expected}"
        MultisiteError.__init__(self, f"there is no setting {escape_for_message(self.key)}; {hint}")


class SiteSettingError(MultisiteError, ValueError):
    """A setting of one site has an invalid value. Attributes: `site` (its domain), `key`, `value` and `expected`."""

    def __init__(self, site: str, key: str, value: str, expected: str, remedy: str | None = None) -> None:
        """Initialize the error; `remedy` says what to do, None leaves it out."""
        self.site = site
        self.key = key
        self.value = value
        self.expected = expected
        message = f"the site {site} has the setting {key} = {escape_for_message(value)}, expected {expected}"
        super().__init__(message if remedy is None else f"{message}: {remedy}")


class UndeclaredSetting(MultisiteError, KeyError):
    """The application declares no setting of sites called `name`."""

    def __init__(self, name: object, known: Iterable[str]) -> None:
        self.name = name
        super().__init__(
            f"the application declares no setting of sites called '{escape_for_message(name)}' "
            f"(config.add_site_setting), only {', '.join(sorted(known)) or 'none'}"
        )

    # KeyError shows the repr of its argument.
    __str__ = Exception.__str__
