"""The release of SQLAlchemy that the tests run on, and the mark of tests that need an API of a later one."""

from __future__ import annotations

import re

import pytest
import sqlalchemy as sa

SQLALCHEMY = tuple(int(part) for part in re.findall(r"\d+", sa.__version__)[:3])


def since_2_1(what: str) -> pytest.MarkDecorator:
    """Return the mark of a test of `what`, an API that SQLAlchemy has since 2.1."""
    return pytest.mark.skipif(SQLALCHEMY < (2, 1), reason=f"needs SQLAlchemy 2.1: {what}")
