"""The servers of the Citus that `MULTISITE_TEST_CITUS_URL` names: databases on all of them."""

from __future__ import annotations

import os

import psycopg
import sqlalchemy as sa

__all__ = ["URL", "Nodes"]

URL = os.environ.get("MULTISITE_TEST_CITUS_URL", "")
"""The URL of a superuser on a coordinator, or empty."""


class Nodes:
    """The servers of a Citus, each a URL."""

    def __init__(self, coordinator: str) -> None:
        self.coordinator = sa.make_url(coordinator).set(drivername="postgresql")
        with self.connect(self.coordinator) as connection:
            rows = connection.execute("SELECT nodename, nodeport FROM pg_dist_node WHERE groupid > 0 ORDER BY 1, 2")
            self.workers = [self.coordinator.set(host=host, port=port) for host, port in rows]

    @staticmethod
    def connect(url: sa.URL) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(url.render_as_string(hide_password=False), autocommit=True)

    def create(self, name: str) -> str:
        for node in (self.coordinator, *self.workers):
            with self.connect(node) as connection:
                connection.execute(f"CREATE DATABASE {name}".encode())
            with self.connect(node.set(database=name)) as connection:
                connection.execute("CREATE EXTENSION citus")
        with self.connect(self.coordinator.set(database=name)) as connection:
            address = [self.coordinator.host, self.coordinator.port]
            connection.execute("SELECT citus_set_coordinator_host(%s, %s)", address)
            for node in self.workers:
                connection.execute("SELECT citus_add_node(%s, %s)", [node.host, node.port])
        return self.coordinator.set(drivername="postgresql+psycopg", database=name).render_as_string(
            hide_password=False
        )

    def drop(self, name: str) -> None:
        for node in (self.coordinator, *self.workers):
            with self.connect(node) as connection:
                connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
