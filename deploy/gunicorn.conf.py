"""Configuration of gunicorn for production.ini, see docs/deployment.md. Options of the command line override it."""

from typing import Any

bind = "127.0.0.1:6543"
# The threads of a process share its caches and one interpreter lock: one process for each core, then threads.
workers = 2
threads = 4
# Seconds that a worker has to finish its requests when it is stopped or replaced.
graceful_timeout = 30
# Only the proxy on this machine is trusted for scheme and address of a visitor.
forwarded_allow_ips = "127.0.0.1"
control_socket_disable = True


def child_exit(server: Any, worker: Any) -> None:
    """Remove the requests in progress of a worker that ended from all workers' metrics."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)
