"""Ask an API on this machine as fast as it answers, from a process of its own that costs little.

    python -m server.capacity.asker PORT SECONDS BODIES.json        prints how many answers came

Each connection sends its next question when all have their answers: as many questions wait at once as there are
connections, as at a busy server.
"""

import json
import socket
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from server.process.server_process import LOOPBACK

__all__ = ["ask_for"]

_CONNECTIONS = 16
_END = b"\r\n\r\n"


def ask_for(port: int, seconds: float, bodies: list[str]) -> int:
    """Post bodies to `/predict`, over and over, for so long; return how many answers came.

    Raises RuntimeError for an answer other than 200.
    """
    requests = [_request(port, body.encode()) for body in bodies]
    count, until = 0, time.monotonic() + seconds
    with ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection((LOOPBACK, port), timeout=30)) for _ in range(_CONNECTIONS)
        ]
        while time.monotonic() < until:
            for connection in connections:
                connection.sendall(requests[count % len(requests)])
                count += 1
            for connection in connections:
                _answer(connection)
    return count


def _request(port: int, body: bytes) -> bytes:
    head = f"POST /predict HTTP/1.1\r\nhost: {LOOPBACK}:{port}\r\ncontent-type: application/json\r\n"
    return head.encode() + b"content-length: %d%b%b" % (len(body), _END, body)


def _answer(connection: socket.socket) -> None:
    """Read one whole answer."""
    data = b""
    while (end := data.find(_END)) < 0 or len(data) < end + len(_END) + _length(data[:end]):
        chunk = connection.recv(65_536)
        if not chunk:
            raise RuntimeError("the API closed a connection")
        data += chunk
    if not data.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"the API answered {data[:500].decode(errors='replace')}")


def _length(head: bytes) -> int:
    _, _, value = head.lower().partition(b"content-length:")
    return int(value.split(b"\r\n", 1)[0])


if __name__ == "__main__":
    answers = ask_for(int(sys.argv[1]), float(sys.argv[2]), json.loads(Path(sys.argv[3]).read_text()))
    sys.stdout.write(f"{answers}\n")
