"""A pipelined Redis connection on the event loop: any number of callers share it, and answers come in order.

redis-py's asyncio client costs a third of a millisecond a call, its other client a thread hop; here a call is one write
and one future (ADR 11). Redis answers in order, so calls and answers need no matching.
"""

import asyncio
import ssl
from collections import deque
from typing import Any, NamedTuple, cast

import hiredis

from data.addresses import Address
from data.errors import ConnectionLostError, UnavailableError

__all__ = ["Credentials", "RedisPipe", "command"]

_CONNECT = "check REDIS_HOST and REDIS_PORT, or start it with `encore infra`"


class Credentials(NamedTuple):
    """Authentication of a connection. `tls` is the context that verifies the server; None means no TLS."""

    username: str | None = None
    password: str | None = None
    tls: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        return f"Credentials(username={self.username!r}, password={'***' if self.password else None}, tls={self.tls})"


def command(*words: bytes | str | int) -> bytes:
    """Encode a command as Redis reads it (RESP: an array of bulk strings)."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


class _Call(NamedTuple):
    answers: list[Any]
    commands: int
    future: "asyncio.Future[list[Any]]"
    deadline: float


class RedisPipe:
    """A connection that is made when first needed, and again after it is lost.

    A call that is not answered within `timeout_s` closes the connection and fails every call that waits on it, so that
    nothing piles up behind a slow Redis.
    """

    def __init__(self, address: Address, credentials: Credentials, timeout_s: float) -> None:
        self.address = address
        self._credentials = credentials
        self._timeout_s = timeout_s
        self._connection: _Connection | None = None
        self._connecting: asyncio.Task[_Connection] | None = None

    async def call(self, commands: bytes, count: int) -> list[Any]:
        """Return the answers to `count` commands, packed by `command`.

        An error reply of Redis is returned as a value among them.

        Raises UnavailableError when Redis cannot be reached or is too slow.
        """
        connection = self._connection
        if connection is None or connection.lost:
            connection = await self._connect()
        try:
            return await connection.call(commands, count, self._timeout_s)
        except ConnectionLostError:
            # The connection may have been dead unnoticed, as every one is after Redis restarts.
            connection = await self._connect()
            return await connection.call(commands, count, self._timeout_s)

    async def _connect(self) -> "_Connection":
        """Connect; concurrent callers share one attempt."""
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._open())
            self._connecting.add_done_callback(self._connected)
        return await asyncio.shield(self._connecting)

    def _connected(self, task: "asyncio.Task[_Connection]") -> None:
        self._connecting = None
        if not task.cancelled() and task.exception() is None:
            self._connection = task.result()

    async def _open(self) -> "_Connection":
        host, port = self.address
        tls = self._credentials.tls
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout_s):
                _, connection = await loop.create_connection(_Connection, host, port, ssl=tls)
                await self._authenticate(connection)
        except TimeoutError as error:
            raise UnavailableError(f"Redis {self.address} did not answer in time; {_CONNECT}") from error
        except OSError as error:  # also of TLS
            raise UnavailableError(f"Redis {self.address}: {error}; {_CONNECT}") from error
        return connection

    async def _authenticate(self, connection: "_Connection") -> None:
        username, password, _ = self._credentials
        if username is None and password is None:
            return
        # A user without a password accepts any.
        words = ("AUTH", password or "") if username is None else ("AUTH", username, password or "")
        [answer] = await connection.call(command(*words), 1, self._timeout_s)
        if isinstance(answer, hiredis.ReplyError):
            connection.close()
            raise UnavailableError(f"Redis {self.address}: {answer}; check REDIS_USERNAME and REDIS_PASSWORD")

    def close(self) -> None:
        """Close the connection; calls that wait on it fail."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._connection is not None:
            self._connection.close()


class _Connection(asyncio.Protocol):
    """The byte stream: commands are sent as they come, and answers are matched to the calls in order."""

    def __init__(self) -> None:
        self.lost = False
        self._transport: asyncio.WriteTransport | None = None
        self._reader = hiredis.Reader(notEnoughData=Ellipsis)
        self._calls: deque[_Call] = deque()
        self._watch: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    async def call(self, commands: bytes, count: int, timeout_s: float) -> list[Any]:
        if self.lost or self._transport is None:
            raise ConnectionLostError("Redis: the connection was lost")
        call = _Call([], count, self._loop.create_future(), self._loop.time() + timeout_s)
        self._calls.append(call)
        self._transport.write(commands)
        if self._watch is None:
            self._watch = self._loop.call_later(timeout_s, self._check)
        return await call.future

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        reader.feed(data)
        try:
            self._deliver(reader)
        except hiredis.ProtocolError as error:
            self._fail(UnavailableError(f"Redis: this is not its protocol ({error})"))
            self.close()

    def _deliver(self, reader: hiredis.Reader) -> None:
        while self._calls:
            call = self._calls[0]
            while len(call.answers) < call.commands:
                answer = reader.gets()
                if answer is Ellipsis:
                    return
                call.answers.append(answer)
            self._calls.popleft()
            if not call.future.done():  # its caller may have been cancelled
                call.future.set_result(call.answers)

    def _check(self) -> None:
        """Time out calls, with one timer for all, since they are due in order."""
        self._watch = None
        if not self._calls:
            return
        left = self._calls[0].deadline - self._loop.time()
        if left > 0:
            self._watch = self._loop.call_later(left, self._check)
            return
        self._fail(UnavailableError("Redis did not answer in time"))
        self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._fail(ConnectionLostError(f"Redis: {exc or 'the connection was closed'}"))

    def _fail(self, error: UnavailableError) -> None:
        self.lost = True
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        while self._calls:
            future = self._calls.popleft().future
            if not future.done():
                future.set_exception(error)

    def close(self) -> None:
        self.lost = True
        if self._transport is not None:
            self._transport.abort()
