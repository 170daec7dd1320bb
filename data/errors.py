"""The errors a person may meet, under one root.

EncoreError
├── ConfigurationError   a setting, flag or port is wrong
├── DataError            a file, log or frame cannot be read as what it claims to be
│   └── LogHoleError     offsets that no file of the event log accounts for
├── DefinitionError      a feature definition cannot be compiled
├── StateError           bytes in the online store are not a state this version reads
├── UnavailableError     Kafka, Redis, the log or a model is not there
│   ├── NotReplicatedError   replicas of Redis do not have the last writes yet
│   └── FailedOverError      a primary of Redis was restarted or replaced, and may have forgotten writes
└── ModelError           a model cannot be trained, read or used
    └── TrainingError    the examples, or what was asked of them, are not enough to train a model

Each message says what, where and what to do. Bad events are values (`Rejection`), not errors.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from data.log.segments import Hole

__all__ = [
    "ConfigurationError",
    "DataError",
    "DefinitionError",
    "EncoreError",
    "FailedOverError",
    "LogHoleError",
    "ModelError",
    "NotReplicatedError",
    "StateError",
    "TrainingError",
    "UnavailableError",
]


class EncoreError(Exception):
    """Root of every error that Encore raises for a person to read."""


class ConfigurationError(EncoreError):
    """A setting, flag or port is wrong."""


class DataError(EncoreError):
    """A file, log or frame cannot be read as what it claims to be."""


class LogHoleError(DataError):
    """The event log lacks offsets that were consumed: a file of it is gone, or is another log's. `holes` names them."""

    def __init__(self, log: Path, holes: "Sequence[Hole]") -> None:
        self.log = log
        self.holes = tuple(holes)
        offsets = sum(len(hole.offsets) for hole in holes)
        more = f" and {len(holes) - _SHOWN_HOLES} more" if len(holes) > _SHOWN_HOLES else ""
        super().__init__(
            f"event log: {log} lacks {offsets:,} offsets: {'; '.join(map(str, holes[:_SHOWN_HOLES]))}{more}; restore "
            "the files from a copy, or run `encore stream`, which fills in what Kafka still holds, or accept the loss "
            "with `encore log accept-loss`"
        )


_SHOWN_HOLES = 3


class DefinitionError(EncoreError):
    """A feature definition cannot be compiled into a plan."""


class StateError(EncoreError):
    """Bytes in the online store are not a state that this version reads."""


class UnavailableError(EncoreError):
    """Something outside the process (Kafka, Redis, the log, a model) is not there."""


class NotReplicatedError(UnavailableError):
    """Too few replicas have a primary's last writes: `replicas` of `node`'s, of the `wanted` ones."""

    def __init__(self, message: str, *, node: str, wanted: int, replicas: int = 0) -> None:
        super().__init__(message)
        self.node = node
        self.wanted = wanted
        self.replicas = replicas


class FailedOverError(UnavailableError):
    """Primaries of Redis (`nodes`, by address) were restarted or replaced: their last writes may be forgotten."""

    def __init__(self, message: str, *, nodes: tuple[str, ...]) -> None:
        super().__init__(message)
        self.nodes = nodes


class ModelError(EncoreError):
    """A model cannot be trained, read or used."""


class TrainingError(ModelError):
    """The examples, or what was asked of them, are not enough to train a model: more data, or another question."""
