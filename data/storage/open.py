"""The place of files at an address: a folder, or a bucket through `pyarrow.fs`."""

from functools import lru_cache
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
from pyarrow import fs

from data.errors import ConfigurationError
from data.storage.address import is_remote
from data.storage.bucket import Bucket
from data.storage.folder import Folder
from data.storage.place import Place

__all__ = ["open_place"]

_CONNECT_S = 5.0
_ATTEMPTS = 5
"""How often one request is tried, with growing pauses; network errors and answers 5xx are."""


@lru_cache
def open_place(where: str, copies: Path) -> Place:
    """Return the place at an address, as `check_storage` returns it; one for all who ask. Nothing is reached yet.

    `copies` is the folder of the copies of a bucket's files. Raises ConfigurationError where pyarrow has no such store.
    """
    if not is_remote(where):
        return Folder(Path(where))
    parts = urlsplit(where)
    root = f"{parts.netloc}{parts.path}"
    url = f"{parts.scheme}://{root}"
    try:
        if parts.scheme == "s3":
            return Bucket(_s3(parts.query), root, url, copies)
        files, path = fs.FileSystem.from_uri(f"abfs{where[2:]}" if parts.scheme == "az" else where)
    except (pa.ArrowException, OSError, AttributeError) as error:
        raise ConfigurationError(f"ENCORE_STORAGE: pyarrow does not reach {url}: {error}") from error
    return Bucket(files, path, url, copies)


def _s3(query: str) -> fs.FileSystem:
    return fs.S3FileSystem(
        **{name: values[-1] for name, values in parse_qs(query).items()},
        connect_timeout=_CONNECT_S,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
        allow_delayed_open=True,  # a small file is one request, not three
    )
