"""TLS in tests: a certificate that vouches for itself, and a port at which TLS ends."""

import asyncio
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from server.process.server_process import free_port
from server.process.store import Store

__all__ = ["make_certificate", "tls_before"]


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that vouches for itself, and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subject = ["-days", "2", "-subj", "/CN=redis", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*request, *subject, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate, key


@contextmanager
def tls_before(store: Store, certificate: tuple[Path, Path]) -> Iterator[int]:
    """A port at which TLS ends and the store begins: the embedded store is built without TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    port, loop, started = free_port(), asyncio.new_event_loop(), threading.Event()

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(store.host, store.port)
        try:
            await asyncio.gather(pour(reader, back), pour(there, writer), return_exceptions=True)
        finally:
            for end in (back, writer):
                end.transport.abort()  # a farewell would wait for a client that may hold its connection still

    async def run() -> None:
        stop.append(asyncio.Event())
        server = await asyncio.start_server(serve, "127.0.0.1", port, ssl=context)
        started.set()
        await stop[0].wait()
        server.close()

    async def end() -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.1)  # transports close some rounds later

    stop: list[asyncio.Event] = []
    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    assert started.wait(60)
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(stop[0].set)
        thread.join()
        loop.run_until_complete(end())
        loop.close()
