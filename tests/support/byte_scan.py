"""Everything that Redis, a log or an archive holds, as bytes, to look for what must not be there."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

__all__ = ["places_of"]


def places_of(text: str, client: Any, *folders: Path) -> list[str]:
    """Where a text is: keys of Redis and files, read as they are and as what they hold."""
    word = text.encode()
    found = [f"Redis {key!r}" for key, held in _redis(client) if word in held]
    files = [(path, folder) for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    return found + [str(path.relative_to(folder)) for path, folder in files if word in _held(path)]


def _redis(client: Any) -> Iterator[tuple[bytes, bytes]]:
    readers = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"set": client.smembers,
        b"zset": lambda key: client.zrange(key, 0, -1),
        b"list": lambda key: client.lrange(key, 0, -1),
    }
    for key in client.keys("*"):
        held = readers[client.type(key)](key)
        # A dump may be compressed, and what is read is not: both are looked at.
        flat = held if isinstance(held, bytes) else b" ".join(_flat(held))
        yield key, b" ".join((key, flat, client.dump(key) or b""))


def _flat(held: Any) -> Iterator[bytes]:
    for one in held:
        yield one
        if isinstance(held, dict):
            yield held[one]


def _held(path: Path) -> bytes:
    plain = pq.read_table(path).to_pydict() if ".parquet" in path.name else ""
    return b" ".join((str(path).encode(), path.read_bytes(), str(plain).encode()))
