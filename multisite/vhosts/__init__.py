"""Several applications in one process, by domain."""
