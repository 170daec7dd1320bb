"""What Redis' errors say: whoever reads them must know where to look."""

import socket
import threading
from collections.abc import Iterator

import pytest
from polling import poll_until

from data.errors import UnavailableError
from features.state.online.access import RedisAccess
from features.state.online.answers import ask


@pytest.fixture
def denying() -> Iterator[int]:
    """The port of a server that refuses like a Redis in protected mode: it says why and closes at once."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(b"-DENIED Redis is running in protected mode\r\n")

        threading.Thread(target=refuse, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def test_a_refusal_that_closes_the_door_says_where_to_look(denying: int) -> None:
    with RedisAccess(port=denying).connect(timeout_s=5) as client:

        def complaint() -> str:
            with pytest.raises(UnavailableError) as refused:
                ask(lambda: client.get("key"))
            return str(refused.value)

        poll_until(lambda: "REDIS_PASSWORD" in complaint())  # now and then the refusal itself is read
