"""The differential oracle: random programs run on one shared database and on a separate database for each site.

A program (`program`) is a list of steps, each an action for one or more of four sites. `shared` runs it through
multisite on one database; `reference`, a separate process that never imports multisite, runs it on four databases
whose tables have the same columns except `site_id`. After every step, `comparison` requires that both sides agree on
the result or the type of the error, and on all rows. `faults` breaks the scoping layer, one part at a time, to show
that the comparison fails then; `hunt` counts the operations until it fails.

The modules that run on both sides (`models`, `statements`, `reads`, `writes`, `world`) do not import multisite.
"""
