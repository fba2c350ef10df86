"""The differential oracle: programs that run once on a shared database and once on a database for each site.

A program (`program`) is a list of steps, each an action for one or more of four sites. `shared` runs it through
multisite on one database; `reference`, a process of its own that never imports multisite, runs it on four databases
whose tables have the same shape without `site_id`. After every step both must tell the same: the result or the type of
the error, and all rows. `comparison` sees to that; `faults` are the ways in which the wall is broken to show that it
would notice, and `hunt` counts how soon.

What runs on both sides (`models`, `statements`, `reads`, `writes`, `world`) does not import multisite.
"""
