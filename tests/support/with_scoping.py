"""A plugin of pytest that installs the scoping layer: `-p with_scoping`, for the test suites of other libraries."""

import multisite.scoping  # noqa: F401
