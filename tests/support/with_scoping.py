"""A pytest plugin that installs the scoping layer, for the test suites of other libraries: `-p with_scoping`."""

import multisite.scoping  # noqa: F401
