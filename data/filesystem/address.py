"""What `ENCORE_STORAGE` may say: the path of a folder, or the address of a bucket and a prefix in an object store."""

import re
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

__all__ = ["check_storage", "is_remote", "seen_from"]

_STORES = ("s3", "gs", "az", "abfs", "abfss")
_S3_OPTIONS = {"endpoint_override", "region", "scheme"}


def is_remote(where: str) -> bool:
    """Return whether an address is that of an object store."""
    return urlsplit(where).scheme in _STORES


def seen_from(folder: Path, place: str) -> str:
    """Resolve a place that is named relative to a folder: a path is joined to it, an address is returned unchanged."""
    return place if re.match(r"[a-z][a-z0-9+.-]+:", place) else str(folder / place)


def check_storage(where: str) -> str:
    """Return an address in its stored form, a folder as its absolute path. Raises ValueError where it is invalid."""
    if not where:
        return where
    parts = urlsplit(where)
    if parts.scheme in {"", "file"}:
        if parts.netloc not in {"", "localhost"}:
            raise ValueError("a file: with a host; write file:///folder")
        if parts.scheme and not parts.path.startswith("/"):
            raise ValueError("a file: without a whole path; write file:///folder")
        return str(Path(unquote(parts.path) if parts.scheme else where).absolute())
    if parts.scheme not in _STORES:
        raise ValueError(f"neither a folder nor an object store's address ({', '.join(f'{s}://' for s in _STORES)})")
    if parts.password is not None or (parts.username and parts.scheme in {"s3", "gs"}):
        raise ValueError("an address with credentials in it; give them by the environment (AWS_ACCESS_KEY_ID, …)")
    if not re.fullmatch(r"[A-Za-z0-9._@-]+", parts.netloc):
        raise ValueError("an address without the name of a bucket, such as s3://bucket/prefix")
    if parts.fragment or not re.fullmatch(r"(/[A-Za-z0-9_=-][A-Za-z0-9._=-]*)*/?", parts.path):
        raise ValueError("an address whose path is no plain prefix, such as s3://bucket/prefix")
    if parts.scheme == "s3" and (strange := parse_qs(parts.query).keys() - _S3_OPTIONS):
        raise ValueError(f"an address with {', '.join(sorted(strange))}; it may have {', '.join(sorted(_S3_OPTIONS))}")
    return where.rstrip("/")
