"""Server-sent events, as the HTML standard defines them."""

from __future__ import annotations

from dataclasses import dataclass

from ._errors import EdgeproveError

#: Most bytes of one event. The document of a job has some hundred.
EVENT_MAX = 1 << 20


@dataclass(frozen=True)
class ServerEvent:
    """An event of a stream."""

    id: str
    name: str
    data: str


class EventParser:
    """Finds the events in the pieces of a stream. It does no I/O."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._rest_size = 0
        self._after_cr = False
        self._data: list[str] = []
        self._name = ""
        self._id = ""
        self._size = 0

    def feed(self, piece: bytes) -> list[ServerEvent]:
        """The events that this piece completes."""
        if self._after_cr and piece.startswith(b"\n"):
            # The second half of a line's end that began in the piece before.
            self._after_cr = False
            piece = piece[1:]
        if not piece:
            return []
        self._after_cr = piece.endswith(b"\r")
        self._size += len(piece)
        first, *others = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._rest.append(first)
        self._rest_size += len(first)
        events: list[ServerEvent] = []
        if others:
            lines = [b"".join(self._rest), *others]
            self._rest = [lines.pop()]
            self._rest_size = len(self._rest[0])
            found = (self._line(line.decode("utf-8", "replace")) for line in lines)
            events = [event for event in found if event is not None]
        if self._size > EVENT_MAX:
            raise EdgeproveError("answer_too_large", f"an event of the server has more than {EVENT_MAX} bytes")
        return events

    def _line(self, line: str) -> ServerEvent | None:
        if line == "":
            event = ServerEvent(self._id, self._name or "message", "\n".join(self._data)) if self._data else None
            self._data, self._name, self._size = [], "", self._rest_size
            return event
        name, _, content = line.partition(":")
        content = content.removeprefix(" ")
        if name == "data":
            self._data.append(content)
        elif name == "event":
            self._name = content
        elif name == "id" and "\0" not in content:
            self._id = content
        elif name == "" and not self._data:
            # A comment, such as a keep-alive, is part of no event.
            self._size = self._rest_size
        return None
