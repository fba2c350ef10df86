"""The installed release of SQLAlchemy, and a mark for tests that need an API of a later release."""

from __future__ import annotations

import re

import pytest
import sqlalchemy as sa

SQLALCHEMY = tuple(int(part) for part in re.findall(r"\d+", sa.__version__)[:3])


def since_2_1(api: str) -> pytest.MarkDecorator:
    """Return a mark that skips a test of `api` before SQLAlchemy 2.1."""
    return pytest.mark.skipif(SQLALCHEMY < (2, 1), reason=f"needs SQLAlchemy 2.1: {api}")
