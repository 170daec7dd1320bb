"""HTTP for clients that are slow or endless on purpose, and with answers sent whole.

A request that does not come whole in time ends its connection, as does an answer that is not taken in time. What of a
request is no body (its head, trailers, the framing of chunks) is bounded, where uvicorn would keep all that comes.
uvicorn writes an answer's head and body apart, each with a call of the system that costs as much as a twentieth of an
answer, and wakes its reader twice.
"""

import asyncio
import json
from http import HTTPStatus
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["MAX_HEAD", "PATIENCE_S", "READ_PATIENCE_S", "PatientHttp"]

PATIENCE_S = 15.0
"""Time for a whole request to come, from the connection or the request's first byte on."""

READ_PATIENCE_S = 30.0
"""Time for an answer to be taken, as far as the system's buffers do not hold it."""

MAX_HEAD = 64 * 1024
"""Bytes of a request's head: its first line and its headers."""

_MAX_LEFTOVER, _LEFTOVER_S = 1024 * 1024, 2.0
"""What is still taken, and thrown away, of a caller who is refused, so that he hears why."""


class PatientHttp(HttpToolsProtocol):
    """uvicorn's protocol, with a timer while a request is on its way to us. One that comes whole at once needs none.

    uvicorn has no hook for its plain 400: `send_400_response` is what it calls, and a test sees that it does.
    """

    _timer: asyncio.TimerHandle | None = None
    _reader_timer: asyncio.TimerHandle | None = None
    _coming = True
    _unframed = 0
    """Bytes since the request began or the last piece of its body."""
    _chunk = 0
    """Bytes that came last, together."""
    _refused = False
    _leftover = 0
    """Bytes that came since it was refused."""

    def connection_made(self, transport: Any) -> None:
        transport.set_write_buffer_limits(high=0)  # to be told of every answer that is not taken at once
        self._joined = _Joined(transport, self.loop)
        super().connection_made(cast("asyncio.Transport", self._joined))
        self._wait()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            self._leftover += len(data)
            if self._leftover > _MAX_LEFTOVER:
                self._joined.abort()
            return
        self._chunk = len(data)
        self._unframed += len(data)
        super().data_received(data)
        if self._coming and not self._refused:
            if self._unframed > MAX_HEAD:
                self._refuse_size()
            elif self._timer is None:
                self._wait()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._rest()  # it has its own time, whatever the connection has waited
        self._coming = True

    def on_headers_complete(self) -> None:
        # A chunk may hold more than this head: count.
        if max(self._unframed, self._chunk) > MAX_HEAD and self._head() > MAX_HEAD:
            self._refuse_size()
            raise ValueError("too large")  # which ends the parser
        self._unframed = 0
        super().on_headers_complete()
        if not self.parser.should_upgrade():
            self.headers = []  # trailers are no headers of the request

    def on_body(self, body: bytes) -> None:
        self._unframed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._rest()
        self._coming = False
        self._unframed = 0

    def handle_websocket_upgrade(self) -> None:
        """The connection is another protocol's from now on, which has timers of its own."""
        self._rest()
        self._coming = False
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request, and end the connection."""
        self._refuse(HTTPStatus.BAD_REQUEST, msg)

    def _head(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _refuse_size(self) -> None:
        status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        self._refuse(status, f"the first line and the headers of a request may have {MAX_HEAD:,} bytes together")

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Say why a request is refused before the app has it whole, and let the caller hear it before the line is cut:
        a connection that is closed while more comes is reset, and the answer with it."""
        if self._refused:
            return
        self._refused = True
        self._rest()
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:  # this request's own, or one before it
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:
                self.transport.close()
                return
        told = {"type": "about:blank", "title": status.phrase, "status": status, "detail": detail}
        body = json.dumps(told).encode()
        head = f"HTTP/1.1 {status} {status.phrase}\r\ncontent-type: application/problem+json\r\n"
        head += f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(head.encode() + body)
        self._joined.send()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._timer = self.loop.call_later(_LEFTOVER_S, self._joined.abort)

    def on_response_complete(self) -> None:
        self._joined.send()
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._rest_reader()
        self._reader_timer = self.loop.call_later(READ_PATIENCE_S, self._joined.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._rest_reader()

    def connection_lost(self, exc: Exception | None) -> None:
        self._coming = False
        self._rest()
        self._rest_reader()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._timer = self.loop.call_later(PATIENCE_S, self.transport.close)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _rest_reader(self) -> None:
        if self._reader_timer is not None:
            self._reader_timer.cancel()
            self._reader_timer = None


class _Joined:
    """A transport that sends together what is written before `send`, or else in one turn of the loop."""

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self.is_closing = transport.is_closing
        self._call_soon = loop.call_soon
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._parts:
            self._call_soon(self.send)
        self._parts.append(data)

    def close(self) -> None:
        self.send()
        self._transport.close()

    def send(self) -> None:
        parts, self._parts = self._parts, []
        if parts:
            self._transport.writelines(parts)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
