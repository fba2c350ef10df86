"""The wall between sites: every SQL statement is limited to one site where it is compiled.

Importing this package puts the wall up for every engine of the process. What belongs to a site says so by
`SiteScoped`, or for plain tables by `site_id_column()`; all the rest follows from that.
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
