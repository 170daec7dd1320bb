"""HTTP for clients that may be slow on purpose: a request that does not come whole in time ends its connection."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["PATIENCE_S", "PatientHttp"]

PATIENCE_S = 15.0
"""Time for a whole request to come, from the connection or the request's first byte on."""


class PatientHttp(HttpToolsProtocol):
    """uvicorn's protocol, with a timer while a request is on its way to us."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._wait()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._rest()

    def connection_lost(self, exc: Exception | None) -> None:
        self._rest()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._rest()
        self._timer = self.loop.call_later(PATIENCE_S, self.transport.close)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
