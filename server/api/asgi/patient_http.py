"""uvicorn's HTTP protocol with a time limit for receiving requests, and answers sent in one write.

A request that is not complete in time ends its connection. uvicorn writes head and body of an answer separately, each
with a system call that costs a twentieth of an answer, and wakes the client twice.
"""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["PATIENCE_S", "PatientHttp"]

PATIENCE_S = 15.0
"""Time limit for receiving a request, s, from the connection or from its first byte on."""


class PatientHttp(HttpToolsProtocol):
    """uvicorn's protocol, with a timer while a request is being received. One that arrives whole needs none."""

    _timer: asyncio.TimerHandle | None = None
    _coming = True

    def connection_made(self, transport: Any) -> None:
        """Start the timer of a new connection."""
        self._joined = _Joined(transport, self.loop)
        super().connection_made(cast("asyncio.Transport", self._joined))
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Parse received bytes; start the timer if a request is incomplete."""
        super().data_received(data)
        if self._coming and self._timer is None:
            self._wait()

    def on_message_begin(self) -> None:
        """Restart the timer: a request has its own time, whatever the connection has waited."""
        super().on_message_begin()
        self._rest()  # a request has its own time limit, whatever the connection has waited
        self._coming = True

    def on_message_complete(self) -> None:
        """Stop the timer."""
        super().on_message_complete()
        self._rest()
        self._coming = False

    def on_response_complete(self) -> None:
        """Send the answer."""
        self._joined.send()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._coming = False
        self._rest()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._timer = self.loop.call_later(PATIENCE_S, self.transport.close)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Joined:
    """A transport that joins writes until `send`, or else until the event loop's turn ends."""

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
