"""A TCP proxy that misbehaves on command: it cuts, refuses, delays, stalls, and resets half-way.

It is a separate process. `Proxy` starts it and sends commands, one JSON object per line:
{"link": "redis", "do": "slow", "amount": 200}; it answers each with a line once it is done.
"""

import asyncio
import json
import random
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["Proxy"]

_CHUNK = 256 * 1024
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with a time of 0: closing sends a reset."""


class _Link:
    """One listening port, and the servers behind it: the first that answers is used, in random order."""

    def __init__(self, targets: Sequence[int]) -> None:
        self._targets = targets
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._refusing = False
        self._delay_s = 0.0
        self._left: int | None = None

    def do(self, what: str, amount: int) -> None:
        match what:
            case "cut":
                self._cut()
            case "refuse":
                self._refusing = True
                self._cut()
            case "slow":
                self._delay_s = amount / 1000
            case "stall":
                self._flowing.clear()
            case "halve":
                self._left = amount
            case "heal":
                self._refusing, self._delay_s, self._left = False, 0.0, None
                self._flowing.set()
            case _:
                raise ValueError(what)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            _reset(writer)
            return
        for target in random.sample(self._targets, len(self._targets)):
            try:
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)
            except OSError:
                continue
            break
        else:
            _reset(writer)
            return
        for side in (writer, far_writer):
            side.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pair = (writer, far_writer)
        self._pairs.add(pair)
        try:
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        except OSError:
            pass
        finally:
            self._pairs.discard(pair)
            for side in pair:
                _reset(side)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK):
            await self._flowing.wait()
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            if self._left is not None:
                self._left -= len(data)
                if self._left <= 0:
                    # Send half of the last piece: a frame torn in the middle.
                    writer.write(data[: len(data) // 2])
                    self._left = None
                    self._cut()
                    return
            writer.write(data)
            await writer.drain()
        # One side has closed: close the other too, after the data in flight.
        raise ConnectionResetError

    def _cut(self) -> None:
        for pair in list(self._pairs):
            for side in pair:
                _reset(side)


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None and not writer.transport.is_closing():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


async def _serve(links: Mapping[str, tuple[int, Sequence[int]]]) -> None:
    open_links = {name: _Link(targets) for name, (_, targets) in links.items()}
    for name, (port, _) in links.items():
        await asyncio.start_server(open_links[name].accept, "127.0.0.1", port, limit=_CHUNK)
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    print("ready", flush=True)
    while line := await commands.readline():
        command = json.loads(line)
        open_links[command["link"]].do(command["do"], command.get("amount", 0))
        print("done", flush=True)


class Proxy:
    """The proxy's process. `links`: by name, the port to listen on and the ports behind it. It ends with its stdin."""

    def __init__(self, links: Mapping[str, tuple[int, Sequence[int]]]) -> None:
        self._links = dict(links)
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "Proxy":
        self._process = subprocess.Popen(
            [sys.executable, __file__, json.dumps(self._links)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self._await("ready")
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def do(self, link: str, what: str, amount: int = 0) -> None:
        """Misbehave on one link until "heal"; "cut" has no duration."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"link": link, "do": what, "amount": amount}) + "\n")
        self._await("done")

    def _await(self, word: str) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        line: Any = self._process.stdout.readline().strip()
        if line != word:
            raise RuntimeError(f"the proxy said {line!r}, not {word!r}")


if __name__ == "__main__":
    asyncio.run(_serve(json.loads(sys.argv[1])))
