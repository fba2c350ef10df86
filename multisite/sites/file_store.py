"""Open a store of files by its URL: a folder, or what fsspec has a driver for, such as S3."""

from __future__ import annotations

from typing import Any

from multisite.errors import MultisiteError

__all__ = ["open_file_store"]


def open_file_store(url: str, setting: str) -> tuple[Any, str]:
    """Return the file system of fsspec for `url`, and the path of the store in it, without a slash at its end.

    Args:
        url: The path of a folder, or a URL such as `s3://bucket/media`.
        setting: The name of the setting that has the URL, for errors.

    Raises:
        MultisiteError: fsspec or the driver of the URL is not installed, or the driver rejects the URL.
    """
    try:
        # Imported here, because it belongs to an extra, and a site can be removed without it.
        from fsspec.core import url_to_fs
    except ModuleNotFoundError as error:
        raise MultisiteError(f"{setting} needs fsspec: pip install 'pyramid-multisite[media]'") from error
    protocol = url.partition("://")[0] if "://" in url else "file"
    try:
        # Drivers such as s3fs keep lists of files for as long as the process lives, and would not see those that other
        # machines write or remove.
        file_system, root = url_to_fs(url, use_listings_cache=False)
    except (ImportError, OSError, ValueError) as error:
        # No more of the URL is shown, because it may contain a password.
        reason = " ".join(str(error).split())
        raise MultisiteError(f"{setting} = {protocol}://... cannot be used: {reason}") from error
    return file_system, root.rstrip("/")
