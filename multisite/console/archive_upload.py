"""Read a form with an archive: its texts into memory, and the archive to a file, of a limited number of bytes.

Nothing is written before the form has shown the token of its log-in, which is therefore its first field.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlencode

from pyramid.httpexceptions import (
    HTTPBadRequest,
    HTTPInsufficientStorage,
    HTTPLengthRequired,
    HTTPRequestEntityTooLarge,
)
from pyramid.request import Request

try:
    from multipart import (  # type: ignore[import-untyped]
        MultipartError,
        MultipartSegment,
        ParserLimitReached,
        PushMultipartParser,
        parse_options_header,
    )
except ModuleNotFoundError as error:
    if error.name != "multipart":
        raise
    raise ImportError("multisite.console needs multipart: pip install 'pyramid-multisite[console]'") from error

__all__ = ["ARCHIVE_FIELD", "UPLOAD_TYPE", "read_upload"]

UPLOAD_TYPE = "multipart/form-data"
"""The media type of a form with a file."""

ARCHIVE_FIELD = "archive"
"""The name of the field with the file, of which there is one."""

MAX_PARTS = 20
MAX_TEXT_BYTES = 100_000
"""Limits of everything in the form but the archive."""

_CHUNK_BYTES = 65_536


def read_upload(
    request: Request, new_path: Callable[[], Path], max_bytes: int, check: Callable[[dict[str, str]], None]
) -> Path | None:
    """Read the form; afterwards its texts are like those of any other form.

    Args:
        request: The request, whose body was not read.
        new_path: Returns the path of the file to write, which is removed if the form is refused.
        max_bytes: How long the archive may be.
        check: Called with the texts before the archive, before anything of that is written; raises if their token is
            not that of the log-in.

    Returns:
        The file, or None if none was chosen.

    Raises:
        HTTPLengthRequired: The request does not say how long it is.
        HTTPRequestEntityTooLarge: The archive is too long, or there is more text than in this form.
        HTTPInsufficientStorage: There is no space left for it.
        HTTPBadRequest: The form cannot be parsed, or is truncated.
    """
    if request.content_length is None:
        raise HTTPLengthRequired
    if request.content_length > max_bytes + MAX_TEXT_BYTES:
        raise HTTPRequestEntityTooLarge(f"An archive has at most {max_bytes // 1_000_000} megabytes.")
    _media_type, options = parse_options_header(request.headers["Content-Type"])
    parser = PushMultipartParser(
        options.get("boundary", ""), content_length=request.content_length, max_segment_count=MAX_PARTS,
        max_segment_size=max_bytes,
    )  # fmt: skip
    form = _Form(new_path, check)
    try:
        with ExitStack() as opened:
            form.read(_events(parser, request.body_file), opened)
    except BaseException as error:
        if form.path is not None:
            form.path.unlink(missing_ok=True)
        if isinstance(error, ParserLimitReached):
            raise HTTPRequestEntityTooLarge from error
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise HTTPInsufficientStorage from error
        if isinstance(error, (MultipartError, ValueError)):  # ValueError: a text that is not UTF-8.
            raise HTTPBadRequest("The form cannot be read.") from error
        raise
    request.body, request.content_type = urlencode(form.texts()).encode("ascii"), "application/x-www-form-urlencoded"
    return form.path


def _events(parser: Any, body: Any) -> Iterator[Any]:
    with parser:
        yield from parser.parse_blocking(body.read, _CHUNK_BYTES)


class _Form:
    """A form that is being read. `path` is the file of the archive, once that has begun."""

    def __init__(self, new_path: Callable[[], Path], check: Callable[[dict[str, str]], None]) -> None:
        self.path: Path | None = None
        self._new_path = new_path
        self._check = check
        self._texts: dict[str, BytesIO] = {}

    def texts(self) -> dict[str, str]:
        """Return the texts by name."""
        return {name: text.getvalue().decode("utf-8") for name, text in self._texts.items()}

    def read(self, events: Iterator[Any], opened: ExitStack) -> None:
        """Read all parts; the file is closed by `opened`."""
        target: IO[bytes] | None = None
        text_bytes, is_text = 0, True
        for event in events:
            if isinstance(event, MultipartSegment):
                is_text = event.filename is None
                target = self._begin_text(event.name) if is_text else self._begin_file(event, opened)
            elif event:
                text_bytes += len(event) if is_text else 0
                if text_bytes > MAX_TEXT_BYTES:
                    raise ParserLimitReached("too much text")
                if target is None:
                    raise MultipartError("bytes of a file that was not chosen")
                target.write(event)
        self._check(self.texts())

    def _begin_text(self, name: str) -> IO[bytes]:
        if name in self._texts:
            raise MultipartError("a field is repeated")
        return self._texts.setdefault(name, BytesIO())

    def _begin_file(self, part: Any, opened: ExitStack) -> IO[bytes] | None:
        """Return the file to write to; None for a field in which no file was chosen, which has no name."""
        if not part.filename:
            return None
        if part.name != ARCHIVE_FIELD or self.path is not None:
            raise MultipartError("a file in another field")
        self._check(self.texts())
        self.path = self._new_path()
        # Nobody else on the machine may read it.
        return opened.enter_context(open(self.path, "xb", opener=_open_private))


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
