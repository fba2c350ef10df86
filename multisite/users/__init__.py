"""Mixins for the application's user tables: users of one site, and operators of all sites.

    class User(SiteUser, Base):
        __tablename__ = "users"
        id: Mapped[int] = mapped_column(primary_key=True)

    user = User.log_in(request.dbsession, "admin", "correct horse battery staple")      # None if either is wrong

The `admin` of one site does not exist on another. Requires argon2-cffi (`pyramid-multisite[users]`).
"""

from __future__ import annotations

try:
    import argon2  # noqa: F401
except ModuleNotFoundError as error:
    if not str(error.name).startswith("argon2"):
        raise
    raise ImportError("multisite.users needs argon2-cffi: pip install 'pyramid-multisite[users]'") from error

from multisite.users.accounts import Account, SiteUser, fold_login
from multisite.users.passwords import verify_password
from multisite.users.throttle import LoginThrottle, TooManyAttempts

__all__ = ["Account", "LoginThrottle", "SiteUser", "TooManyAttempts", "fold_login", "verify_password"]
