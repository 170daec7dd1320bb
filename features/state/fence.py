"""The fence beside a state: which offsets of which topic are folded into it, so that none is folded twice."""

from contextlib import suppress

import msgspec

from data.errors import StateError

__all__ = ["Fence"]


class Fence:
    """Per partition of one topic, the last offset folded in.

    `topic` is the topic's id, 16 bytes (empty: no topic, history only). `generation` increases when a state is replaced
    by a rebuilt one, so that a fence identifies one content of the state and can be compared in its place.
    """

    __slots__ = ("generation", "offsets", "topic")

    def __init__(self, topic: bytes = b"", offsets: dict[int, int] | None = None, generation: int = 0) -> None:
        self.topic = topic
        self.offsets = {} if offsets is None else offsets
        self.generation = generation

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fence) and self.encode() == other.encode()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Fence({self.topic.hex() or 'none'}, {self.offsets}, generation {self.generation})"

    def ahead_of(self, other: "Fence") -> bool:
        """Return whether this holds an offset of the same topic that `other` does not."""
        return any(offset > other.offsets.get(partition, -1) for partition, offset in self.offsets.items())

    def encode(self) -> bytes:
        """Encode as MessagePack: [topic, generation, partition, offset, partition, offset ...], by partition."""
        flat = [number for item in sorted(self.offsets.items()) for number in item]
        return _encoder.encode([self.topic, self.generation, *flat])

    @classmethod
    def decode(cls, data: bytes) -> "Fence":
        """Decode a fence. Raises StateError for other bytes."""
        try:
            topic, generation, *flat = msgspec.msgpack.decode(data)
            if type(topic) is not bytes or type(generation) is not int or not _ONLY_NUMBERS.issuperset(map(type, flat)):
                raise TypeError("not a topic's id and numbers")
            return cls(topic, dict(zip(flat[::2], flat[1::2], strict=True)), generation)
        except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
            raise StateError(f"fence: corrupted ({error}); run `encore rebuild`") from error

    @classmethod
    def decode_or_new(cls, data: bytes) -> "Fence":
        """Decode a fence; return an empty one where there is none, or none that can be read."""
        with suppress(StateError):
            return cls.decode(data) if data else cls()
        return cls()


_ONLY_NUMBERS = frozenset({int})
_encoder = msgspec.msgpack.Encoder()
