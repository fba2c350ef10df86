"""A server of S3's protocol with a bucket, in this process: moto, with s3fs as the client."""

from __future__ import annotations

import logging
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

__all__ = ["s3_bucket"]


@contextmanager
def s3_bucket() -> Iterator[str]:
    """Yield the URL of an empty bucket. Each file system that is opened is one of its own, as on several machines."""
    reason = "no server of S3: moto, flask-cors or s3fs is missing"
    server_module = pytest.importorskip("moto.server", reason=reason)
    pytest.importorskip("s3fs", reason=reason)
    import fsspec.config

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    with urllib.request.urlopen(urllib.request.Request(f"{endpoint}/shops", method="PUT")):
        pass
    conf: dict[str, dict[str, object]] = {}
    # As docs/media.md says; fsspec reads the environment only once.
    environ = {"FSSPEC_S3_ENDPOINT_URL": endpoint, "FSSPEC_S3_KEY": "key", "FSSPEC_S3_SECRET": "secret"}
    fsspec.config.set_conf_env(conf, environ)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(fsspec.config.conf, "s3", {**conf["s3"], "skip_instance_cache": True})
        yield "s3://shops"
    server.stop()
