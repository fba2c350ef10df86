"""Distributing a PostgreSQL database over several servers by `site_id`, with the extension Citus.

`catalog` reads what the database has; `obstacles` and `plan` find, without a database, the obstacles and the
statements that distribute it; `undo` plans the way back. `run` executes a plan. `shards` shows and moves the result.
An application that is not distributed imports none of it.
"""
