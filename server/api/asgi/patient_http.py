"""uvicorn's HTTP protocol with limits of time and size, and with answers sent in one write.

A request that is not complete in time ends its connection, as does an answer that is not read in time. A request's
head, trailers and chunk framing are bounded, which uvicorn would buffer without a limit. uvicorn writes head and body
of an answer separately: the second system call costs a twentieth of an answer, and wakes the client twice.
"""

import asyncio
import json
from http import HTTPStatus
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["MAX_HEAD", "PATIENCE_S", "READ_PATIENCE_S", "PatientHttp"]

PATIENCE_S = 15.0
"""Time limit for receiving a request, s, counted from the connection or from its first byte."""

READ_PATIENCE_S = 30.0
"""Time limit, s, for a client to read the part of its answers that exceeds the system's buffers."""

MAX_HEAD = 64 * 1024
"""Limit of a request's head, bytes: its first line and its headers."""

_MAX_LEFTOVER, _LEFTOVER_S = 1024 * 1024, 2.0
"""Bytes and seconds for which the input of a refused client is discarded, so that it receives the answer."""


class PatientHttp(HttpToolsProtocol):
    """uvicorn's protocol, with a timer while a request is being received. A request that arrives whole needs none."""

    _timer: asyncio.TimerHandle | None = None
    _reader_timer: asyncio.TimerHandle | None = None
    _is_receiving = True
    _unframed = 0
    """Bytes since the start of the request or the last piece of its body."""
    _chunk = 0
    """Bytes of the last read."""
    _refused = False
    _leftover = 0
    """Bytes since the client was refused."""

    def connection_made(self, transport: Any) -> None:
        """Start the timer of a new connection."""
        transport.set_write_buffer_limits(high=0)  # so that `pause_writing` is called for any unsent data
        self._joined = _Joined(transport, self.loop)
        super().connection_made(cast("asyncio.Transport", self._joined))
        self._start_timer()

    def data_received(self, data: bytes) -> None:
        """Parse received bytes; start the timer if a request is incomplete."""
        if self._refused:
            self._leftover += len(data)
            if self._leftover > _MAX_LEFTOVER:
                self._joined.abort()
            return
        self._chunk = len(data)
        self._unframed += len(data)
        super().data_received(data)
        if self._is_receiving and not self._refused:
            if self._unframed > MAX_HEAD:
                self._refuse_size()
            elif self._timer is None:
                self._start_timer()

    def on_message_begin(self) -> None:
        """Stop the connection's timer, since a request has its own time limit."""
        super().on_message_begin()
        self._stop_timer()
        self._is_receiving = True

    def on_headers_complete(self) -> None:
        """Start the request, or refuse one whose head is too large."""
        # One read may contain more than this head, so the head itself is measured.
        if max(self._unframed, self._chunk) > MAX_HEAD and self._head_size() > MAX_HEAD:
            self._refuse_size()
            raise ValueError("too large")  # ends the parser
        self._unframed = 0
        super().on_headers_complete()
        if not self.parser.should_upgrade():
            self.headers = []  # so that trailers do not become headers of the request

    def on_body(self, body: bytes) -> None:
        """Pass on a piece of the body."""
        self._unframed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop the timer."""
        super().on_message_complete()
        self._stop_timer()
        self._is_receiving = False
        self._unframed = 0

    def handle_websocket_upgrade(self) -> None:
        """Stop the timer, since another protocol takes over the connection."""
        self._stop_timer()
        self._is_receiving = False
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        """Refuse invalid HTTP, and end the connection; uvicorn calls this."""
        self._refuse(HTTPStatus.BAD_REQUEST, msg)

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _refuse_size(self) -> None:
        status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        self._refuse(status, f"the first line and the headers of a request may have {MAX_HEAD:,} bytes together")

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Send an error answer in the app's place, and end the connection.

        Further input is discarded for a while, since closing at once would reset the connection and drop the answer.
        """
        if self._refused:
            return
        self._refused = True
        self._stop_timer()
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:  # of this request or an earlier one
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:
                self.transport.close()
                return
        content = {"type": "about:blank", "title": status.phrase, "status": status, "detail": detail}
        body = json.dumps(content).encode()
        head = f"HTTP/1.1 {status} {status.phrase}\r\ncontent-type: application/problem+json\r\n"
        head += f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(head.encode() + body)
        self._joined.send()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._timer = self.loop.call_later(_LEFTOVER_S, self._joined.abort)

    def on_response_complete(self) -> None:
        """Send the answer."""
        self._joined.send()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Start the timer of an answer that is not read immediately."""
        super().pause_writing()
        self._stop_reader_timer()
        self._reader_timer = self.loop.call_later(READ_PATIENCE_S, self._joined.abort)

    def resume_writing(self) -> None:
        """Stop the timer of the answer."""
        super().resume_writing()
        self._stop_reader_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._is_receiving = False
        self._stop_timer()
        self._stop_reader_timer()
        super().connection_lost(exc)

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(PATIENCE_S, self.transport.close)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop_reader_timer(self) -> None:
        if self._reader_timer is not None:
            self._reader_timer.cancel()
            self._reader_timer = None


class _Joined:
    """A transport that joins writes until `send`, at the latest until the event loop's next turn."""

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
