"""The Redis keys of states: Feast's own, so that its other readers find them (`docs/online-format.md`)."""

import struct

from data.default_shop import SHOP
from data.project import PROJECT
from data.schema import Entity, Schema
from features.state.states import EntityKey

__all__ = ["StateKeys", "redis_key"]

_STRING = struct.pack("<I", 2)
"""Feast's ValueType.STRING."""


class StateKeys:
    """The Redis keys of a project's states: Feast's entity key serialization, version 3, and the project's name."""

    def __init__(self, schema: Schema, project: str) -> None:
        self.project = project.encode()
        self._prefixes = {entity.name: _prefix(entity) for entity in schema.entities}
        self._ids = {entity.name: len(entity.join_keys) for entity in schema.entities}

    @property
    def entities(self) -> tuple[str, ...]:
        """Names of the entities."""
        return tuple(self._prefixes)

    @property
    def nobody(self) -> EntityKey:
        """An entity that no event can name: keys are printable, and ids are at most 256 characters."""
        name = self.entities[0]
        return EntityKey(name, ("\0" * 257,) * self._ids[name])

    def of(self, key: EntityKey) -> bytes:
        """Return the key of an entity."""
        return b"".join((self._prefixes[key.entity], *map(_text, key.ids), self.project))

    def pattern(self, entity: str | None = None) -> bytes:
        """Return a Redis glob pattern of all keys, or those of one kind, and some of projects whose names end alike."""
        return (_escaped(self._prefixes[entity]) if entity else b"") + b"*" + _escaped(self.project)

    def parse(self, key: bytes) -> EntityKey | None:
        """Return the entity of a key; None where it is no state's, or another project's."""
        entity = next((name for name, prefix in self._prefixes.items() if key.startswith(prefix)), None)
        if entity is None:
            return None
        at, ids = len(self._prefixes[entity]), []
        for _ in range(self._ids[entity]):
            size = int.from_bytes(key[at + 4 : at + 8], "little")
            ids.append(key[at + 8 : at + 8 + size].decode(errors="replace"))
            at += 8 + size
        return EntityKey(entity, tuple(ids)) if key[at:] == self.project else None

    def naming(self, entity: str, place: int, value: str) -> bytes:
        """Return a Redis glob pattern of an entity's keys whose join key at a place has a value, and of some others."""
        parts = [b"*"] * self._ids[entity]
        parts[place] = _escaped(_text(value))
        return _escaped(self._prefixes[entity]) + b"".join(parts) + _escaped(self.project)


def redis_key(key: EntityKey, project: str = PROJECT) -> bytes:
    """Return the Redis key of an entity of the default shop."""
    return StateKeys(SHOP, project).of(key)


def _text(value: str) -> bytes:
    data = value.encode()
    size = len(data)
    return (_HEADS[size] if size < len(_HEADS) else _head(size)) + data


def _head(size: int) -> bytes:
    """Return the type and length prefix of a string of `size` bytes."""
    return _STRING + size.to_bytes(4, "little")


_HEADS = [_head(size) for size in range(64)]
"""Prefixes of common lengths, computed once, since keys are made for every event and every answer."""


def _prefix(entity: Entity) -> bytes:
    """Return the part of the serialized key that all entities of a kind share."""
    return struct.pack("<I", len(entity.join_keys)) + b"".join(map(_text, entity.join_keys))


def _escaped(text: bytes) -> bytes:
    """Escape bytes for literal use in a Redis glob pattern."""
    return b"".join(b"\\" + bytes([b]) if b in b"*?[]\\" else bytes([b]) for b in text)
