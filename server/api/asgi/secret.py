"""The key in the headers of a request."""

from starlette.types import Scope

__all__ = ["secret_of"]


def secret_of(scope: Scope) -> bytes:
    """Return the key in a request's headers; empty if there is none. Pages of other sites cannot set these headers."""
    for name, value in scope["headers"]:
        if name == b"x-api-key":
            return bytes(value)
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return bytes(value[7:].strip())
    return b""
