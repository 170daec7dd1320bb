"""Records of forgetting a person: the receipt for the operator, and the file of unfinished work in the home."""

from pathlib import Path

import msgspec

from data.atomic import write_whole
from data.errors import DataError
from data.log.removal import Removed

__all__ = ["Learned", "Receipt", "TopicLeft", "Work"]


class Learned(msgspec.Struct, frozen=True):
    """A model whose examples included a person, or, if they were `sampled` from more candidates, may have."""

    target: str
    version: str
    sampled: bool


class TopicLeft(msgspec.Struct, frozen=True):
    """A topic, and what became of its messages (see `events.kafka.traces`). `gone_by`: RFC 3339; empty: never."""

    topic: str
    removed: int
    marked: bool
    gone_by: str


class Receipt(msgspec.Struct, frozen=True):
    """What was done. `known`: whether there was any data of the person. `left`: what could not be deleted, in words.

    `states` are the numbers of deleted states, and `remade` of rebuilt states of others, by entity; `models` are those
    that learned from the person's events; until `refused_until` new data of the person is refused.
    """

    person: dict[str, str]
    at: str
    refused_until: str
    known: bool
    events: int
    log_files: int
    states: dict[str, int]
    remade: dict[str, int]
    predictions: int
    dead_letters: int
    models: list[Learned]
    topics: list[TopicLeft]
    left: list[str]


class Work(msgspec.Struct):
    """Progress so far, and facts that cannot be found once the events are deleted; stored in the home until the end.

    `touched`: other entities that the events belong to, as ids by comma-separated key names.
    """

    touched: dict[str, list[list[str]]] = {}
    models: list[Learned] = []
    log_files: int = 0
    events: int = 0
    predictions: int = 0
    states: dict[str, int] = {}
    dead_letters: int = 0

    def note(self, touched: dict[str, set[tuple[str, ...]]], models: list[Learned]) -> None:
        """Add the facts from the events that still exist."""
        for keys, ids in touched.items():
            recorded = set(map(tuple, self.touched.get(keys, ())))
            self.touched[keys] = [list(entity_ids) for entity_ids in sorted(recorded | ids)]
        self.models += [model for model in models if model not in self.models]

    def note_log(self, removed: Removed) -> None:
        """Add what was deleted from the log."""
        self.log_files += removed.files
        self.events += removed.rows

    def note_states(self, removed: dict[str, int]) -> None:
        """Add deleted states."""
        for entity, count in removed.items():
            self.states[entity] = self.states.get(entity, 0) + count

    @property
    def known(self) -> bool:
        """Whether there was any data of the person."""
        return bool(self.events or self.predictions or self.dead_letters or self.states)

    @classmethod
    def read(cls, path: Path) -> "Work":
        """Return the earlier progress; empty if there is no such file."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except FileNotFoundError:
            return cls()
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise DataError(f"{path} cannot be read ({error}); delete it, and run this again") from error

    def write(self, path: Path) -> None:
        """Store the progress."""
        write_whole(path, msgspec.json.encode(self))
