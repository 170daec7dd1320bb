"""Entities whose states cannot be trusted until they are rebuilt, listed in the store itself.

    encore:aside    ["user",["u1"]] 5f1c…   ["product",["p1"]] 90ab…

Each has a token that changes whenever it is listed again. A process that has rebuilt a state removes it from the list
under the token that was there before: what was found damaged meanwhile stays listed.
"""

import secrets
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from data.errors import RedisRefusalError
from data.schema import Schema
from features.state.online.answers import ask, is_wrong_type, read_fields, take_turn, write_fields
from features.state.states import EntityKey

__all__ = ["Aside", "aside_name", "aside_words"]

_TOKEN_BYTES = 8

_TURN_S = 15.0
"""For so long no other process rebuilds states; then the first is dead, or slow, and both do no harm."""

_TAKE_BACK = """
for at = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[at]) == ARGV[at + 1] then redis.call('HDEL', KEYS[1], ARGV[at]) end
end
return 1
"""


def aside_name(project: str) -> str:
    """Return the Redis key of the entities that are set aside."""
    return f"{project}:aside"


def aside_words(key: EntityKey) -> tuple[bytes, bytes]:
    """Return field and value of an entity in the hash: its name, and a new token."""
    return msgspec.json.encode((key.entity, key.ids)), secrets.token_bytes(_TOKEN_BYTES)


class Aside:
    """The entities of one project that are set aside in one Redis. Thread-safe.

    Every method raises UnavailableError where Redis is away or refuses.
    """

    def __init__(self, client: Any, project: str, schema: Schema) -> None:
        self._client = client
        self._ids = {entity.name: len(entity.join_keys) for entity in schema.entities}
        self._name = aside_name(project)
        self._turn = f"{self._name}:turn"

    def add(self, keys: Collection[EntityKey]) -> None:
        """List entities whose states are damaged, or miss what a damaged one could not tell."""
        write_fields(self._client, self._name, dict(map(aside_words, keys)))

    def look(self, most: int | None = None) -> dict[EntityKey, bytes]:
        """Return the entities with their tokens, in no order; at most `most` of them, drawn at random."""
        tokens = {}
        for name, token in self._read(most).items():
            with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                entity, ids = msgspec.json.decode(name, type=tuple[str, tuple[str, ...]])
                if len(ids) == self._ids.get(entity):
                    tokens[EntityKey(entity, ids)] = token
        return tokens

    def take_back(self, tokens: Mapping[EntityKey, bytes]) -> None:
        """Remove these, which are whole again, unless they were listed again since they had these `tokens`."""
        words = [word for key, token in tokens.items() for word in (aside_words(key)[0], token)]
        ask(lambda: self._client.eval(_TAKE_BACK, 1, self._name, *words))

    def take_turn(self) -> bool:
        """Return whether it is the caller's turn to rebuild states, until `end_turn`: one process at a time does so."""
        return take_turn(self._client, self._turn, b"1", _TURN_S)

    def end_turn(self) -> None:
        """End the caller's turn to rebuild states."""
        ask(lambda: self._client.unlink(self._turn))

    def remove(self, keys: Collection[EntityKey]) -> None:
        """Remove these, whatever became of their states."""
        if names := [aside_words(key)[0] for key in keys]:
            ask(lambda: self._client.hdel(self._name, *names))

    def clear(self) -> None:
        """Remove all."""
        ask(lambda: self._client.unlink(self._name))

    def _read(self, most: int | None) -> dict[bytes, bytes]:
        if most is None:
            return read_fields(self._client, self._name)
        try:
            flat = ask(lambda: self._client.hrandfield(self._name, most, withvalues=True)) or []
        except RedisRefusalError as error:
            if not is_wrong_type(error):
                raise
            return {}
        return dict(zip(flat[::2], flat[1::2], strict=True))
