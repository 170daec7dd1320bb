"""HTTP for clients that may be slow on purpose: a request that does not come whole in time ends its connection."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["PATIENCE_S", "PatientHttp"]

PATIENCE_S = 15.0
"""Time for a whole request to come, from the connection or the request's first byte on."""


class PatientHttp(HttpToolsProtocol):
    """uvicorn's protocol, with a timer while a request is on its way to us. One that comes whole at once needs none."""

    _timer: asyncio.TimerHandle | None = None
    _coming = True

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
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
