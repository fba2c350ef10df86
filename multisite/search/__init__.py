"""Search in the rows of a site: full text of a scoped model, by the language of the site.

    entry_search = SearchIndex(Entry, title="title", texts=("summary",), html=("body_html",), date="published")

creates a table for the words of the model in its MetaData, and keeps it up to date: a flush that changes a row changes
its words too. The table is an ordinary scoped one, so that its statements are limited to the site like any other, and
so is the order of the hits. `docs/search.md` describes it.
"""

from __future__ import annotations

from multisite.search.index import SearchIndex
from multisite.search.query import Hit, Hits

__all__ = ["Hit", "Hits", "SearchIndex"]
