"""The errors a person may meet, under one root.

EncoreError
├── ConfigurationError           a setting, flag or port is wrong
│   └── MissingExtraError        a library is not installed that an extra of this project brings
├── DataError                    a file, log or frame cannot be read as what it claims to be
│   ├── GoneError                a listed file of the log is not there any more
│   └── LogHoleError             offsets that no file of the event log accounts for
├── DefinitionError              a feature definition cannot be compiled
├── StateError                   bytes in the online store are not a state this version reads
│   └── LayoutError              a sound state, written under other definitions
├── UnavailableError             Kafka, Redis, the log or a model is not there
│   ├── OutOfRangeError          Kafka does not hold the offsets that are to be read next
│   ├── MissingTopicError        Kafka answers, and has no such topic
│   ├── UnsupportedProtocolError a broker does not have the newer group protocol
│   ├── ConnectionLostError      a connection to Redis ended before its answer came
│   ├── RedisRefusalError        Redis answers, and refuses
│   ├── NotReplicatedError       replicas of Redis do not have the last writes yet
│   ├── FailedOverError          a primary of Redis was restarted or replaced, and may have forgotten writes
│   ├── ForgottenError           Redis does not hold what was folded before: it was emptied, or is another one
│   ├── CommandError             one of our own commands failed, run as a child process
│   └── BusyError                more is asked than can be answered in time
├── ModelError                   a model cannot be trained, read or used
│   ├── UnknownVersionError      no version of a model has this number, name or alias
│   └── TrainingError            the examples, or what was asked of them, are not enough to train a model
├── UnknownTargetError           a question about a target that this server does not answer about
├── AsOfError                    a question about a time that states cannot answer
└── ApiError                     the API refused what the console asked

Each message says what, where and what to do. Bad events are values (`Rejection`), not errors.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from data.log.segments import Hole

__all__ = [
    "ApiError",
    "AsOfError",
    "BusyError",
    "CommandError",
    "ConfigurationError",
    "ConnectionLostError",
    "DataError",
    "DefinitionError",
    "EncoreError",
    "FailedOverError",
    "ForgottenError",
    "GoneError",
    "LayoutError",
    "LogHoleError",
    "MissingExtraError",
    "MissingTopicError",
    "ModelError",
    "NotReplicatedError",
    "OutOfRangeError",
    "RedisRefusalError",
    "StateError",
    "TrainingError",
    "UnavailableError",
    "UnknownTargetError",
    "UnknownVersionError",
    "UnsupportedProtocolError",
    "install_extra",
]


class EncoreError(Exception):
    """Root of every error that Encore raises for a person to read."""


class ConfigurationError(EncoreError):
    """A setting, flag or port is wrong."""


class MissingExtraError(ConfigurationError):
    """A library is not installed that `extra` brings; `instead` says what else helps."""

    def __init__(self, lack: str, extra: str, *, instead: str = "") -> None:
        super().__init__(f"{lack}; {install_extra(extra)}{', ' if instead else ''}{instead}")
        self.extra = extra


def install_extra(extra: str) -> str:
    """How to install an extra, in words: this project is in no package index."""
    return f"install the extra (`uv sync --extra {extra}` in a clone, or `pip install '.[{extra}]'`)"


class DataError(EncoreError):
    """A file, log or frame cannot be read as what it claims to be."""


class GoneError(DataError):
    """A file that was listed is not there any more: a compaction has deleted it, or a person."""


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


class LayoutError(StateError):
    """A state is sound, and was written under other definitions."""


class UnavailableError(EncoreError):
    """Something outside the process (Kafka, Redis, the log, a model) is not there."""


class OutOfRangeError(UnavailableError):
    """Kafka does not hold the next offset of some partitions, which are read no further until they are begun again."""

    def __init__(self, servers: str, topic: str, partitions: Collection[int]) -> None:
        super().__init__(f"Kafka at {servers}, topic {topic}: no such offsets in partitions {sorted(partitions)}")
        self.partitions = frozenset(partitions)


class MissingTopicError(UnavailableError):
    """Kafka answers, and has no such topic (yet)."""


class UnsupportedProtocolError(UnavailableError):
    """The broker does not take the newer group protocol: it is too old, or its configuration forbids it."""


class ConnectionLostError(UnavailableError):
    """The connection ended before the answer came. What was asked may be asked again."""


class RedisRefusalError(UnavailableError):
    """Redis is there and refuses: out of memory, loading, read-only, a key of another program."""


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


class ForgottenError(UnavailableError):
    """Redis does not hold the states of these `entities` that were folded before: it was emptied, or is another one."""

    def __init__(self, entities: Collection[str]) -> None:
        self.entities = tuple(entities)
        super().__init__(
            f"Redis has forgotten the {', '.join(self.entities)} states: it was emptied, lost its data or is another "
            "one; nothing is folded onto nothing: bring the data back, or run `encore rebuild`, which folds the event "
            "log anew"
        )


class BusyError(UnavailableError):
    """More is asked than can be answered in time."""


class CommandError(UnavailableError):
    """One of our own commands, run as a child process, failed in its own words, with this `exit_code`."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class ModelError(EncoreError):
    """A model cannot be trained, read or used."""


class UnknownVersionError(ModelError):
    """No version of a model has this number, name or alias."""


class TrainingError(ModelError):
    """The examples, or what was asked of them, are not enough to train a model: more data, or another question."""


class UnknownTargetError(EncoreError):
    """A target that this server does not answer about."""


class AsOfError(EncoreError):
    """A question about a time that states cannot answer. `row` is the question's place among those asked."""

    def __init__(self, message: str, row: int) -> None:
        super().__init__(message)
        self.row = row


class ApiError(EncoreError):
    """The API refused. `status` is HTTP's; the text is what the API said, field by field."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
