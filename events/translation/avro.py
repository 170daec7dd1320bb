"""Avro messages that name their schema in a registry, as Confluent's serializers write them.

0 | schema's id (4 bytes, big-endian) | the value in Avro's binary encoding
"""

import io
import json
import urllib.error
import urllib.request
from base64 import b64encode
from functools import lru_cache
from typing import Any
from urllib.parse import unquote, urlsplit

from data.errors import MissingExtraError, UnavailableError, UnfitError

__all__ = ["AvroDecoder"]

_HEAD = 5

_PATIENCE_S = 5.0

_LARGEST_SCHEMA = 4 * 1024 * 1024
"""Bytes of a registry's answer that are read."""


class AvroDecoder:
    """Decodes messages by the schemas of a registry, which is asked once for each schema.

    `registry` is its URL, with `user:password@` before the host where it asks for them (Basic). Raises
    MissingExtraError where fastavro is not installed.
    """

    def __init__(self, registry: str) -> None:
        try:
            import fastavro  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise MissingExtraError("Avro is read by fastavro", "avro") from error
        self._fastavro = fastavro
        parts = urlsplit(registry)
        self._registry = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
        login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}".encode()
        self._headers = {"Authorization": f"Basic {b64encode(login).decode()}"} if parts.username else {}
        self._schema = lru_cache(maxsize=1_000)(self._ask)

    def __call__(self, raw: bytes) -> Any:
        """Return a message's value.

        Raises UnfitError for what is no message of a known schema, and UnavailableError where the registry is away.
        """
        if len(raw) < _HEAD or raw[0] != 0:
            raise UnfitError("not Avro of a registry: it does not begin with 0 and a schema's id")
        number = int.from_bytes(raw[1:_HEAD], "big")
        schema = self._schema(number)
        try:
            return self._fastavro.schemaless_reader(io.BytesIO(raw[_HEAD:]), schema, None)
        except Exception as error:  # fastavro raises whatever the bytes make it do
            raise UnfitError(f"not Avro of schema {number}: {type(error).__name__}: {error}") from error

    def _ask(self, number: int) -> Any:
        request = urllib.request.Request(f"{self._registry}/schemas/ids/{number}", headers=self._headers)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=_PATIENCE_S) as answer:  # noqa: S310 - the owner's setting
                document = json.loads(answer.read(_LARGEST_SCHEMA))
            return self._fastavro.parse_schema(json.loads(document["schema"]))
        except urllib.error.HTTPError as error:
            if error.code == 404:
                raise UnfitError(f"schema {number} is not in the registry") from error
            raise UnavailableError(f"schema registry: it answers {error.code}; look at SCHEMA_REGISTRY_URL") from error
        except (OSError, ValueError, KeyError, TypeError, self._fastavro.schema.SchemaParseException) as error:
            raise UnavailableError(
                f"schema registry: no schema {number} ({error}); look at SCHEMA_REGISTRY_URL and the registry"
            ) from error
