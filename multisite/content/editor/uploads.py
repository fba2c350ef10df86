"""Read a form that contains files: afterwards its texts are like those of any other form, and the files are apart.

Nothing is parsed by `cgi`, which keeps texts of any size in memory, and files until the collector finds them.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from typing import IO, Any
from urllib.parse import urlencode

from multipart import (  # type: ignore[import-untyped]
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)
from pyramid.httpexceptions import HTTPBadRequest, HTTPRequestEntityTooLarge
from pyramid.request import Request

from multisite.media.uploads import MAX_BYTES

__all__ = ["FILES_TYPE", "MAX_FILES", "UploadedFile", "read_files", "uploaded_files"]

FILES_TYPE = "multipart/form-data"
"""The media type of a form with files."""

MAX_FILES = 20
"""Files in one form."""

MAX_PARTS = 100
"""Files and texts in one form."""

MAX_TEXT_BYTES = 10_000_000
"""Bytes of all texts in a form with files."""

MAX_REQUEST_BYTES = MAX_BYTES + MAX_TEXT_BYTES
"""Bytes of a form with files."""

_IN_MEMORY_BYTES = 1_000_000
_CHUNK_BYTES = 65_536
_FILES = "multisite.content.editor.files"


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file of a form: its name, and its content, which is closed at the end of the request."""

    name: str
    file: IO[bytes]


def uploaded_files(request: Request) -> list[UploadedFile]:
    """Return the files of the form that was sent; empty if it has none."""
    found: list[UploadedFile] = request.environ.get(_FILES, [])
    return found


def read_files(request: Request) -> None:
    """Read a form with files, and give the request a body with its texts alone.

    Raises:
        HTTPBadRequest: It cannot be parsed, or is truncated.
        HTTPRequestEntityTooLarge: It has more bytes, texts or files than any form of the editor.
    """
    if request.content_length > MAX_REQUEST_BYTES:
        raise HTTPRequestEntityTooLarge
    _media_type, options = parse_options_header(request.headers["Content-Type"])
    with ExitStack() as opened:
        try:
            texts, files = _parse(request, options.get("boundary", ""), opened)
            body = urlencode([(name, text.getvalue().decode("utf-8")) for name, text in texts])
        except ParserLimitReached as error:
            raise HTTPRequestEntityTooLarge from error
        except (MultipartError, ValueError) as error:  # ValueError: a text that is not UTF-8.
            raise HTTPBadRequest("The form cannot be read.") from error
        kept = opened.pop_all()
    request.body, request.content_type = body.encode("ascii"), "application/x-www-form-urlencoded"
    request.environ[_FILES] = files
    request.add_finished_callback(lambda _request: kept.close())


def _parse(request: Request, boundary: str, opened: ExitStack) -> tuple[list[tuple[str, BytesIO]], list[UploadedFile]]:
    """Return the texts and the files of the form. The files are closed by `opened`.

    A browser sends a file without a name for a field in which none was chosen.

    Raises:
        ParserLimitReached: There are too many files, or there is too much text.
    """
    texts: list[tuple[str, BytesIO]] = []
    files: list[UploadedFile] = []
    target: Any = None
    text_bytes, is_text = 0, True
    parser = PushMultipartParser(
        boundary, content_length=request.content_length, max_segment_count=MAX_PARTS, max_segment_size=MAX_BYTES + 1
    )
    with parser:
        for event in parser.parse_blocking(request.body_file.read, _CHUNK_BYTES):
            if isinstance(event, MultipartSegment):
                is_text = event.filename is None
                if is_text:
                    target = BytesIO()
                    texts.append((event.name, target))
                else:
                    target = opened.enter_context(tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES))  # noqa: SIM115
                    files.append(UploadedFile(event.filename or "", target))
            elif event:
                target.write(event)
                text_bytes += len(event) if is_text else 0
                if text_bytes > MAX_TEXT_BYTES or len(files) > MAX_FILES:
                    raise ParserLimitReached("too much text, or too many files")
            else:
                target.seek(0)
    return texts, [each for each in files if each.name]
