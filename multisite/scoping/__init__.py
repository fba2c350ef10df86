"""The scoping layer: every SQL statement is limited to one site when it is compiled.

Importing this package installs scoping for every engine of the process. A model belongs to a site if it has the mixin
`SiteScoped`, a plain table if it has a `site_id_column()`; nothing else needs to be declared.
"""

import sqlalchemy

from multisite.errors import MultisiteError

try:
    from multisite.scoping import install
    from multisite.scoping.column import SiteId, site_id_column
    from multisite.scoping.foreign_key import scoped_reference
    from multisite.scoping.mixin import SiteScoped
    from multisite.scoping.tables import tables
    from multisite.scoping.text import scoped_text
except (AttributeError, ImportError) as error:
    lost_by = getattr(getattr(error, "obj", None), "__module__", None) or getattr(error, "name", None)
    if not str(lost_by).startswith("sqlalchemy"):
        raise
    raise MultisiteError(
        f"SQLAlchemy {sqlalchemy.__version__} lacks what multisite needs to limit statements to a site: {error}"
    ) from error

__all__ = ["SiteId", "SiteScoped", "scoped_reference", "scoped_text", "site_id_column", "tables"]

install.install()
