"""Subclasses of the errors in `multisite.errors` that SQLAlchemy does not wrap.

SQLAlchemy wraps an exception that is raised while it builds the parameters of a statement in `StatementError`, unless
the exception has `DontWrapMixin`. `multisite.errors` does not import SQLAlchemy, so the scoping layer raises these
subclasses. Applications catch them, and see them in tracebacks, by the public names.
"""

from __future__ import annotations

from sqlalchemy.exc import DontWrapMixin

from multisite import errors

__all__ = ["CrossSiteError", "MultisiteError", "NoCurrentSite", "SettingError", "UnscopedStatement"]


class MultisiteError(errors.MultisiteError, DontWrapMixin):
    """`multisite.errors.MultisiteError`, not wrapped by SQLAlchemy."""

    __doc__ = errors.MultisiteError.__doc__


class NoCurrentSite(errors.NoCurrentSite, DontWrapMixin):
    """`multisite.errors.NoCurrentSite`, not wrapped by SQLAlchemy."""

    __doc__ = errors.NoCurrentSite.__doc__


class CrossSiteError(errors.CrossSiteError, DontWrapMixin):
    """`multisite.errors.CrossSiteError`, not wrapped by SQLAlchemy."""

    __doc__ = errors.CrossSiteError.__doc__


class SettingError(errors.SettingError, DontWrapMixin):
    """`multisite.errors.SettingError`, not wrapped by SQLAlchemy."""

    __doc__ = errors.SettingError.__doc__


class UnscopedStatement(errors.UnscopedStatement, DontWrapMixin):
    """`multisite.errors.UnscopedStatement`, not wrapped by SQLAlchemy."""

    __doc__ = errors.UnscopedStatement.__doc__


for _class in (MultisiteError, NoCurrentSite, CrossSiteError, SettingError, UnscopedStatement):
    _class.__module__ = errors.__name__
