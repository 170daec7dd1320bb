"""HTTP for clients that may be slow on purpose, and with answers sent whole.

A request that does not come whole in time ends its connection. uvicorn writes an answer's head and body apart, each
with a call of the system that costs as much as a twentieth of an answer, and wakes its reader twice.
"""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["PATIENCE_S", "PatientHttp"]

PATIENCE_S = 15.0
"""Time for a whole request to come, from the connection or the request's first byte on."""


class PatientHttp(HttpToolsProtocol):
    """uvicorn's protocol, with a timer while a request is on its way to us. One that comes whole at once needs none."""

    _timer: asyncio.TimerHandle | None = None
    _coming = True

    def connection_made(self, transport: Any) -> None:
        self._joined = _Joined(transport, self.loop)
        super().connection_made(cast("asyncio.Transport", self._joined))
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._coming and self._timer is None:
            self._wait()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._rest()  # it has its own time, whatever the connection has waited
        self._coming = True

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._rest()
        self._coming = False

    def on_response_complete(self) -> None:
        self._joined.send()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
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
