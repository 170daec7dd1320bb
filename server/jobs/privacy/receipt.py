"""What was done to forget a person: for the operator as a receipt, and beside the home while it is not finished."""

from pathlib import Path

import msgspec

from data.atomic import write_whole
from data.errors import DataError
from data.log.removal import Removed

__all__ = ["Learned", "Receipt", "TopicLeft", "Work"]


class Learned(msgspec.Struct, frozen=True):
    """A model whose examples held a person or, where `sampled`, may have: they were drawn from more than there were."""

    target: str
    version: str
    sampled: bool


class TopicLeft(msgspec.Struct, frozen=True):
    """A topic, and what became of what it holds: see `events.kafka.traces`. `gone_by`: RFC 3339, or empty: never."""

    topic: str
    removed: int
    marked: bool
    gone_by: str


class Receipt(msgspec.Struct, frozen=True):
    """What was done. `known`: whether there was anything of the person. `left`: what could not be removed, in words.

    `states` are those removed, `remade` those of others that its events were in, by entity; `models` those whose
    examples held them; `refused_until` is the time until which what arrives of the person is refused.
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
    """What is done so far, and what must be known when the events are gone: it lies in the home until all is done.

    `touched`: entities of others that the events are of, as ids by the names of their keys.
    """

    touched: dict[str, list[list[str]]] = {}
    models: list[Learned] = []
    log_files: int = 0
    events: int = 0
    predictions: int = 0
    states: dict[str, int] = {}
    dead_letters: int = 0

    def note(self, touched: dict[str, set[tuple[str, ...]]], models: list[Learned]) -> None:
        """Add what the events say that are still there."""
        for keys, ids in touched.items():
            known = set(map(tuple, self.touched.get(keys, ())))
            self.touched[keys] = [list(one) for one in sorted(known | ids)]
        self.models += [one for one in models if one not in self.models]

    def note_log(self, removed: Removed) -> None:
        """Add what was taken out of the log."""
        self.log_files += removed.files
        self.events += removed.rows

    def note_states(self, removed: dict[str, int]) -> None:
        """Add states that were removed."""
        for entity, count in removed.items():
            self.states[entity] = self.states.get(entity, 0) + count

    @property
    def known(self) -> bool:
        """Whether there was anything."""
        return bool(self.events or self.predictions or self.dead_letters or self.states)

    @classmethod
    def read(cls, path: Path) -> "Work":
        """Return what was done before; nothing where there is no such file."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except FileNotFoundError:
            return cls()
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise DataError(f"{path} cannot be read ({error}); delete it, and run this again") from error

    def write(self, path: Path) -> None:
        """Keep it until all is done."""
        write_whole(path, msgspec.json.encode(self))
