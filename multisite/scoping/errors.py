"""The errors of `multisite.errors` in the form that SQLAlchemy lets through.

What is raised while SQLAlchemy builds the parameters of a statement is wrapped in `StatementError`, unless it carries
`DontWrapMixin`. `multisite.errors` is pure and cannot import SQLAlchemy, so the wall raises these subclasses; they
are caught, and shown, by the public names.
"""

from __future__ import annotations

from sqlalchemy.exc import DontWrapMixin

from multisite import errors

__all__ = ["CrossSiteError", "MultisiteError", "NoCurrentSite", "SettingError", "UnscopedStatement"]


class MultisiteError(errors.MultisiteError, DontWrapMixin):
    __doc__ = errors.MultisiteError.__doc__


class NoCurrentSite(errors.NoCurrentSite, DontWrapMixin):
    __doc__ = errors.NoCurrentSite.__doc__


class CrossSiteError(errors.CrossSiteError, DontWrapMixin):
    __doc__ = errors.CrossSiteError.__doc__


class SettingError(errors.SettingError, DontWrapMixin):
    __doc__ = errors.SettingError.__doc__


class UnscopedStatement(errors.UnscopedStatement, DontWrapMixin):
    __doc__ = errors.UnscopedStatement.__doc__


for _class in (MultisiteError, NoCurrentSite, CrossSiteError, SettingError, UnscopedStatement):
    _class.__module__ = errors.__name__
