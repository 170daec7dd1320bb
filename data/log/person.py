"""A person, as a key of the events and its value: whom to forget, or whose data to report."""

from typing import NamedTuple, Self

from data.errors import ConfigurationError
from data.schema import Schema

__all__ = ["Person"]

_MOST = 128


class Person(NamedTuple):
    """`key` is a key of the events, such as `user_id`, and `value` what the person's events have there."""

    key: str
    value: str

    @classmethod
    def parse(cls, text: str, schema: Schema) -> Self:
        """Return the person of a text such as `user_id=u17`.

        Raises ConfigurationError where it names no key of the schema, or nothing that an event can have there.
        """
        key, equals, value = text.partition("=")
        if not equals or key not in schema.keys:
            raise ConfigurationError(
                f"{text!r:.200}: name a person as KEY=VALUE, where the key is one of {', '.join(schema.keys)}, such as "
                f"{schema.ordered_by}=u17"
            )
        if not (1 <= len(value) <= _MOST and value.isprintable()):
            raise ConfigurationError(f"{key}: no event has this value; it is 1 to {_MOST} printable characters")
        return cls(key, value)

    def __str__(self) -> str:
        return f"{self.key}={self.value}"
