"""The note that a commit has beside its offset: which topic is read, and for which event log.

A group remembers offsets of a topic that was deleted and recreated. And two homes with the same project on one Kafka
are one group, whichever Redis each has: they would take each other's events.
"""

from collections.abc import Iterable
from typing import NamedTuple, Self

from data.errors import ConfigurationError
from events.kafka.connection import Assigned
from features.state.online.owner import Owner

__all__ = ["Note"]

_MOST_HOME = 500
"""Characters of the home's path: a broker takes 4 kB by default."""


class Note(NamedTuple):
    """`topic` in hexadecimal; `log` is the id of the event log, and `home` where it is; empty where unknown."""

    topic: str
    log: str = ""
    home: str = ""

    @classmethod
    def of(cls, topic: bytes, owner: Owner | None) -> Self:
        """Return the note of a reader of a topic for a log."""
        return cls(topic.hex(), owner.id, owner.home[:_MOST_HOME]) if owner else cls(topic.hex())

    @classmethod
    def read(cls, text: str) -> Self:
        """Return the note in a commit's text; empty where another program made it."""
        return cls(*text.split(" ", 2))

    @property
    def text(self) -> str:
        """The note as it is in a commit."""
        return " ".join(self).rstrip().encode(errors="replace").decode()

    def require_own(self, partitions: Iterable[Assigned]) -> None:
        """Raise ConfigurationError, naming the home, where the group has read any of this topic for another log."""
        for partition in partitions:
            other = Note.read(partition.note)
            if other.topic == self.topic and self.log and other.log not in {"", self.log}:
                raise ConfigurationError(
                    f"Kafka: the project's consumer group has read this topic for the home {other.home}, and not for "
                    "this one: under one project on one Kafka they would take each other's events; set ENCORE_PROJECT "
                    "to another name. Nothing was read. (Where that home is gone for good, delete the group with "
                    "Kafka's own tools.)"
                )
