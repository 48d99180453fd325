"""Bodies of requests: texts, files and forms, which are streamed and can be sent again."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, TypeAlias

from ._errors import EdgeproveError, invalid_option

#: A compressed witness, as ``nargo execute`` and noir_js write it: its bytes, the path of its file, or an open file.
Witness: TypeAlias = "bytes | bytearray | memoryview | os.PathLike[str] | IO[bytes]"
#: A file of a circuit, or the inputs of a sample: its bytes, or the path of it.
File: TypeAlias = "bytes | os.PathLike[str]"

#: Bytes that are read from a file at once.
PIECE = 64 * 1024


class Pieces(Protocol):
    """Bytes that are read in pieces."""

    @property
    def length(self) -> int | None:
        """Their number, if it is known."""

    @property
    def is_repeatable(self) -> bool:
        """Whether they can be read more than once."""

    def pieces(self) -> Iterator[bytes]:
        """They, from the beginning."""


class Source:
    """Bytes of a body: in memory, or in a file."""

    def __init__(self, content: Witness) -> None:
        self._bytes: bytes | None = None
        self._path: Path | None = None
        self._file: IO[bytes] | None = None
        if isinstance(content, bytes | bytearray | memoryview):
            self._bytes = bytes(content)
        elif isinstance(content, os.PathLike):
            self._path = Path(content)
        elif hasattr(content, "read"):
            self._file = content
        else:
            raise invalid_option("a file must be bytes, a path (pathlib.Path) or a file that is open for reading bytes")
        with _readable():
            if self._file is not None and not isinstance(self._file.read(0), bytes):
                raise invalid_option("the file is not open for reading bytes: open it with mode 'rb'")
            self._start = self._file.seek(0, os.SEEK_CUR) if self._file is not None and self._file.seekable() else None
            self._length = self._measure()

    @property
    def length(self) -> int | None:
        """Its number of bytes, if it is known."""
        return self._length

    @property
    def is_repeatable(self) -> bool:
        """Whether it can be read more than once."""
        return self._file is None or self._start is not None

    def _measure(self) -> int | None:
        if self._bytes is not None:
            return len(self._bytes)
        if self._path is not None:
            return self._path.stat().st_size
        if self._file is None or self._start is None:
            return None
        end = self._file.seek(0, os.SEEK_END)
        self._file.seek(self._start)
        return end - self._start

    def pieces(self) -> Iterator[bytes]:
        """Its bytes from the beginning, in small pieces."""
        if self._bytes is not None:
            for at in range(0, len(self._bytes), PIECE):
                yield self._bytes[at : at + PIECE]
            return
        with _readable():
            if self._path is not None:
                with self._path.open("rb") as file:
                    yield from self._read(file)
            elif self._file is not None:
                if self._start is not None:
                    self._file.seek(self._start)
                yield from self._read(self._file)

    def _read(self, file: IO[bytes]) -> Iterator[bytes]:
        left = self._length
        while left is None or left > 0:
            piece = file.read(PIECE if left is None else min(PIECE, left))
            if not piece:
                if left is not None:
                    raise invalid_option("the file became shorter while it was sent")
                return
            left = None if left is None else left - len(piece)
            yield piece


@dataclass(frozen=True)
class Body:
    """The body of a request."""

    content_type: str
    sources: tuple[Pieces, ...]

    @property
    def length(self) -> int | None:
        """Its number of bytes, if it is known."""
        lengths = [source.length for source in self.sources]
        return None if None in lengths else sum(length or 0 for length in lengths)

    @property
    def is_repeatable(self) -> bool:
        """Whether it can be sent again."""
        return all(source.is_repeatable for source in self.sources)

    def pieces(self) -> Iterator[bytes]:
        """Its bytes."""
        for source in self.sources:
            yield from source.pieces()


def json_body(value: object) -> Body:
    """A document."""
    return Body("application/json", (Source(json.dumps(value, separators=(",", ":"), allow_nan=False).encode()),))


def witness_body(witness: Witness) -> Body:
    """A compressed witness."""
    return Body("application/gzip", (Source(witness),))


def form_body(fields: Mapping[str, str], files: Sequence[tuple[str, File]]) -> Body:
    """A form with files, as a browser sends it."""
    boundary = secrets.token_hex(16)
    sources: list[Source] = []
    for name, text in fields.items():
        sources.append(_part(boundary, f'name="{name}"', None))
        sources.append(Source(text.encode()))
    for name, file in files:
        sources.append(_part(boundary, f'name="{name}"; filename="{name}"', "application/octet-stream"))
        sources.append(Source(file))
    sources.append(Source(f"\r\n--{boundary}--\r\n".encode()))
    return Body(f"multipart/form-data; boundary={boundary}", tuple(sources))


def _part(boundary: str, disposition: str, content_type: str | None) -> Source:
    # RFC 2046 permits a line break before the first boundary.
    head = f"\r\n--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n"
    if content_type is not None:
        head += f"Content-Type: {content_type}\r\n"
    return Source(f"{head}\r\n".encode())


def checked_header(name: str, value: str, pattern: str, what: str) -> str:
    """The value of a header. Raises ``invalid_option`` where it does not have the form."""
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        raise invalid_option(f"{name} must be {what}")
    return value


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except EdgeproveError:
        raise
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        raise invalid_option(f"a file cannot be read: {reason}") from error
