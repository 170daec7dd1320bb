"""Export of the event log as lines of JSON, which can be replayed through Kafka."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec

from data.atomic import whole_file
from data.event import encode_event, event_class
from features.batch.engine import DuckDBEngine
from server.event_log import open_log
from server.jobs.build import Progress
from server.settings import Settings

__all__ = ["export_log"]


def export_log(settings: Settings, path: Path, progress: Progress) -> int:
    """Write every event of the log to `path`, oldest first, atomically; return their number."""
    event_of = event_class(settings.declared.schema)
    rows = 0
    with (
        whole_file(path) as scratch,
        DuckDBEngine(open_log(settings), memory=settings.duckdb_memory) as engine,
        _open(scratch, path) as out,
    ):
        ordered = engine.connection.sql(f"SELECT * FROM {engine.scan()}").order_by(["timestamp", "event_id"])  # noqa: S608 - ours
        for batch in engine.connection.to_pyarrow_batches(ordered, chunk_size=20_000):
            for row in batch.select(event_of.__struct_fields__).to_pylist():
                metadata = row.pop("metadata")
                event = event_of(**row, metadata=metadata and msgspec.json.decode(metadata))
                out.write(encode_event(event) + b"\n")
            rows += batch.num_rows
            progress(f"{rows:,} events")
    return rows


@contextmanager
def _open(scratch: Path, path: Path) -> Iterator[IO[bytes]]:
    with scratch.open("wb") as plain:
        if path.suffix != ".gz":
            yield plain
            return
        with gzip.GzipFile(path.stem, "wb", 5, plain, mtime=0) as packed:
            yield packed  # type: ignore[misc] # a GzipFile writes bytes as any file does
