"""A load generator light enough not to be the bottleneck: one process, one event loop, requests made in advance.

    python benchmarks/http_load.py PORT PLAN.json      prints the result as JSON

A plan has `requests` (each the bytes of a whole HTTP/1.1 request, as text) and either `connections` (closed loop: each
connection sends its next request when the last is answered) or also `rate` (open loop: requests are due at fixed
times whatever the server does, and a latency counts from when its request was due: no coordinated omission).
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

__all__ = ["Asker", "Load", "answers", "post", "run_apart", "run_load"]


_PLACE = "PLACE"
"""Placeholder for the address until a request is sent."""


@dataclass
class Load:
    """What to send, for how long. The first `warm_s` seconds are not counted."""

    requests: list[str]
    connections: int
    seconds: float
    rate: float | None = None
    warm_s: float = 1.0


def post(path: str, body: Any, host: str = _PLACE) -> str:
    """Return a POST request with JSON; without a `host`, the port is filled in when it is sent."""
    data = json.dumps(body)
    length = len(data.encode())
    return (
        f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        f"{data}"
    )


def addressed(request: str, port: int) -> bytes:
    """Return the request for a port of this machine, with that address as Host, which the server checks."""
    return request.replace(_PLACE, f"127.0.0.1:{port}", 1).encode()


@dataclass
class _Recorded:
    latencies: list[float] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)
    last: bytes = b""


class _Connection(asyncio.Protocol):
    """One connection: sends a request and calls `done` with the answer."""

    def __init__(self, done: Any) -> None:
        self._done = done
        self._buffer = bytearray()
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def send(self, data: bytes) -> None:
        self._transport.write(data)

    def close(self) -> None:
        self._transport.close()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._done(self, b"lost", b"")

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(buffer[:end]).lower()
        start = head.find(b"content-length:") + 15
        stop = head.find(b"\r\n", start)
        length = int(head[start : stop if stop > 0 else end])
        if len(buffer) < end + 4 + length:
            return
        body = bytes(buffer[end + 4 : end + 4 + length])
        buffer.clear()
        self._done(self, head[9:12], body)


async def _closed(port: int, load: Load, requests: list[bytes]) -> tuple[_Recorded, float]:
    loop = asyncio.get_running_loop()
    recorded, turn, over = _Recorded(), 0, False
    began: dict[_Connection, float] = {}
    clock = time.perf_counter
    counting = clock() + load.warm_s
    until = counting + load.seconds
    finished = loop.create_future()
    connections: list[_Connection] = []

    def done(connection: _Connection, status: bytes, body: bytes) -> None:
        nonlocal turn, over
        if over:
            return
        now = clock()
        if status == b"lost":
            raise SystemExit("the server closed a connection")
        if now >= until:
            over = True
            finished.set_result(None)
            return
        if now >= counting:
            recorded.latencies.append(now - began[connection])
            key = status.decode()
            recorded.statuses[key] = recorded.statuses.get(key, 0) + 1
            recorded.last = body
        turn += 1
        began[connection] = now
        connection.send(requests[turn % len(requests)])

    for _ in range(load.connections):
        _, connection = await loop.create_connection(lambda: _Connection(done), "127.0.0.1", port)
        connections.append(connection)
    for connection in connections:
        turn += 1
        began[connection] = clock()
        connection.send(requests[turn % len(requests)])
    await finished
    for connection in connections:
        connection.close()
    return recorded, load.seconds


async def _open(port: int, load: Load, requests: list[bytes]) -> tuple[_Recorded, float]:
    """Send requests at a fixed rate; a request waits if every connection is busy, and its wait time counts."""
    assert load.rate
    loop = asyncio.get_running_loop()
    recorded, over = _Recorded(), False
    clock = time.perf_counter
    due: dict[_Connection, float] = {}
    waiting: deque[float] = deque()
    free: deque[_Connection] = deque()  # in turn: a server closes a connection that was idle for long
    turn = 0

    def send(connection: _Connection, at: float) -> None:
        nonlocal turn
        turn += 1
        due[connection] = at
        connection.send(requests[turn % len(requests)])

    def done(connection: _Connection, status: bytes, body: bytes) -> None:
        if over:
            return
        if status == b"lost":
            raise SystemExit("the server closed a connection")
        if due[connection] >= counting:
            recorded.latencies.append(clock() - due[connection])
            key = status.decode()
            recorded.statuses[key] = recorded.statuses.get(key, 0) + 1
            recorded.last = body
        if waiting:
            send(connection, waiting.popleft())
        else:
            free.append(connection)

    connections = []
    for _ in range(load.connections):
        _, connection = await loop.create_connection(lambda: _Connection(done), "127.0.0.1", port)
        connections.append(connection)
    free.extend(connections)
    began = clock()
    counting = began + load.warm_s
    count = int(load.rate * (load.warm_s + load.seconds))
    for number in range(count):
        at = began + number / load.rate
        left = at - clock()
        if left > 0:
            await asyncio.sleep(left)
        if free:
            send(free.popleft(), at)
        else:
            waiting.append(at)
    deadline = clock() + 10
    while len(free) < load.connections and clock() < deadline:
        await asyncio.sleep(0.01)
    over = True
    for connection in connections:
        connection.close()
    return recorded, load.seconds


def answers(url: str) -> bool:
    """Return whether a server answers there without an error."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def run_load(port: int, load: Load) -> dict[str, Any]:
    """Send the load from this process; return requests per second, latencies in ms, statuses, processor share."""
    requests = [addressed(request, port) for request in load.requests]
    cpu = time.process_time()
    wall = time.perf_counter()
    recorded, seconds = uvloop.run((_open if load.rate else _closed)(port, load, requests))
    share = (time.process_time() - cpu) / (time.perf_counter() - wall)
    ordered = sorted(recorded.latencies)

    def at(quantile: float) -> float:
        return round(1000 * ordered[min(len(ordered) - 1, int(quantile * len(ordered)))], 3) if ordered else 0.0

    return {
        "connections": load.connections,
        "rate": load.rate,
        "per_second": round(len(ordered) / seconds, 1),
        "p50_ms": at(0.5),
        "p90_ms": at(0.9),
        "p99_ms": at(0.99),
        "max_ms": at(1.0),
        "statuses": recorded.statuses,
        "client_cpu": round(share, 2),
        "answer_bytes": len(recorded.last),
    }


def run_apart(port: int, load: Load, name: str) -> dict[str, Any]:
    """Run `run_load` in a separate process. Raises RuntimeError, with the server's `name`, if it fails."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as plan:
        json.dump(vars(load), plan)
        plan.flush()
        process = subprocess.run(
            [sys.executable, __file__, str(port), plan.name], check=False, capture_output=True, text=True
        )
    if process.returncode:
        raise RuntimeError(f"{name}, {load.connections} connections: {process.stderr}")
    result: dict[str, Any] = json.loads(process.stdout)
    return result


class Asker:
    """Sends requests over a few connections; a request waits for a free one."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._free: asyncio.Queue[_Connection] = asyncio.Queue()
        self._answers: dict[_Connection, asyncio.Future[tuple[bytes, bytes]]] = {}

    @classmethod
    async def connect(cls, port: int, connections: int) -> "Asker":
        """Return an asker with `connections` connections."""
        asker, loop = cls(port), asyncio.get_running_loop()
        for _ in range(connections):
            _, connection = await loop.create_connection(lambda: _Connection(asker._done), "127.0.0.1", port)
            asker._free.put_nowait(connection)
        return asker

    def _done(self, connection: _Connection, status: bytes, body: bytes) -> None:
        if connection in self._answers:
            self._answers.pop(connection).set_result((status, body))

    async def ask(self, request: str) -> tuple[bytes, bytes]:
        """Send a request and return status and body of the answer."""
        connection = await self._free.get()
        answer: asyncio.Future[tuple[bytes, bytes]] = asyncio.get_running_loop().create_future()
        self._answers[connection] = answer
        connection.send(addressed(request, self._port))
        try:
            return await answer
        finally:
            self._free.put_nowait(connection)

    def close(self) -> None:
        """Close the connections."""
        while not self._free.empty():
            self._free.get_nowait().close()


if __name__ == "__main__":
    print(json.dumps(run_load(int(sys.argv[1]), Load(**json.loads(Path(sys.argv[2]).read_text())))))
