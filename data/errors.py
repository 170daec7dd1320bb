"""All errors that Encore raises for a person to read, under one root.

EncoreError
├── ConfigurationError           a setting, flag or port is wrong
│   └── MissingExtraError        a library is not installed that an extra of this project brings
├── DataError                    a file, log or frame cannot be read as what it claims to be
│   ├── FaultyRowsError          rows of files that cannot become events
│   ├── GoneError                a listed file of the log does not exist any more
│   ├── LogHoleError             offsets that no file of the event log accounts for
│   └── UnfitError               a message does not have the shape that its mapping expects
├── DefinitionError              a feature definition cannot be compiled
│   └── SchemaError              a schema contradicts itself
├── StateError                   bytes in the online store are not a state that this version reads
│   └── LayoutError              a sound state, written under other definitions
├── OvertakenError               states no longer remember an event that is read again: it was committed long ago
├── UnsettledError               a state would forget an event that may be read again
├── UnavailableError             Kafka, Redis, the log or a model cannot be reached
│   ├── OutOfRangeError          Kafka does not hold the next offset to read
│   ├── MissingTopicError        Kafka answers, and has no such topic
│   ├── UnsupportedProtocolError a broker does not have the newer group protocol
│   ├── ConnectionLostError      a connection to Redis ended before its answer arrived
│   ├── RedisRefusalError        Redis answered with an error
│   ├── NotReplicatedError       replicas of Redis have not confirmed the last writes yet
│   ├── FailedOverError          a primary of Redis was restarted or replaced, so writes may be lost
│   ├── ForgottenError           Redis does not hold what was folded before: it was emptied, or is another one
│   ├── RemadeError              the states in Redis were rebuilt: what was folded before may be missing
│   ├── UndecidedError           the state that tells whether an event was sent again cannot be read
│   ├── CommandError             one of our own commands failed, run as a child process
│   └── BusyError                too many requests to answer in time
├── ModelError                   a model cannot be trained, read or used
│   ├── UnknownVersionError      no version of a model has this number, name or alias
│   └── TrainingError            too few or unsuitable examples to train a model
├── UnknownTargetError           a question about a target that this server has no model of
├── AsOfError                    a question about a time that states cannot answer
├── TokenError                   a caller's token is not one that this server accepts
└── ApiError                     the API refused a request of the console

Each message says what, where and what to do. Rejected events are values (`Rejection`), not errors.
"""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from data.importers.report import Fault
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
    "FaultyRowsError",
    "ForgottenError",
    "GoneError",
    "LayoutError",
    "LogHoleError",
    "MissingExtraError",
    "MissingTopicError",
    "ModelError",
    "NotReplicatedError",
    "OutOfRangeError",
    "OvertakenError",
    "RedisRefusalError",
    "RemadeError",
    "SchemaError",
    "StateError",
    "TokenError",
    "TrainingError",
    "UnavailableError",
    "UndecidedError",
    "UnfitError",
    "UnknownTargetError",
    "UnknownVersionError",
    "UnsettledError",
    "UnsupportedProtocolError",
    "install_extra",
]


_LONGEST = 8_000
"""Characters of a message: what an error quotes may be of any length."""


class EncoreError(Exception):
    """Root of all errors that Encore raises for a person to read."""

    def __str__(self) -> str:
        text = super().__str__()
        return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


class ConfigurationError(EncoreError):
    """A setting, flag or port is wrong."""


class MissingExtraError(ConfigurationError):
    """A library of the extra `extra` is not installed; `instead` names an alternative."""

    def __init__(self, lack: str, extra: str, *, instead: str = "") -> None:
        super().__init__(f"{lack}; {install_extra(extra)}{', ' if instead else ''}{instead}")
        self.extra = extra


def install_extra(extra: str) -> str:
    """Return the advice to install an extra. This project is in no package index, so it names a clone's commands."""
    command = "make spark" if extra == "spark" else "make install"
    return f"install the extra (`{command}` in a clone, or `pip install '.[{extra}]'`)"


class DataError(EncoreError):
    """A file, log or frame cannot be read as what it claims to be."""


class FaultyRowsError(DataError):
    """Rows of files cannot become events; `faults` says which and why."""

    def __init__(self, faults: "Sequence[Fault]") -> None:
        self.faults = tuple(faults)
        rows = sum(fault.count for fault in faults)
        counted = "1 faulty row" if rows == 1 else f"{rows:,} faulty rows"
        super().__init__(
            f"{faults[0]}; nothing was imported, for {counted}: correct the file, or leave them out with --skip-faults"
        )


class GoneError(DataError):
    """A file that was listed no longer exists: compaction, or a person, has deleted it."""


class UnfitError(DataError):
    """A message does not have the shape that its mapping expects: where, and what."""


class LogHoleError(DataError):
    """The event log lacks consumed offsets, listed in `holes`: a file was deleted, or belongs to another log."""

    def __init__(self, log: object, holes: "Sequence[Hole]") -> None:
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


class SchemaError(DefinitionError):
    """A schema contradicts itself."""


class StateError(EncoreError):
    """Bytes in the online store are not a state that this version reads."""


class LayoutError(StateError):
    """A sound state that was written under other definitions."""


class OvertakenError(EncoreError):
    """An event is read again, and states no longer remember whether they have it: it was committed long ago."""


class UnsettledError(EncoreError):
    """The event at `place` in a batch makes a state forget one that may be read again: commit those before it first.

    Nothing of the batch is folded, or a part that counts once however often it is repeated.
    """

    def __init__(self, place: int) -> None:
        super().__init__(f"event {place} of a batch makes a state forget one that is not committed")
        self.place = place


class UnavailableError(EncoreError):
    """Something outside of the process (Kafka, Redis, the log, a model) cannot be reached."""


class OutOfRangeError(UnavailableError):
    """Kafka does not hold the next offset of `partitions`, which are not read until their position is reset."""

    def __init__(self, servers: str, topic: str, partitions: Collection[int]) -> None:
        super().__init__(f"Kafka at {servers}, topic {topic}: no such offsets in partitions {sorted(partitions)}")
        self.partitions = frozenset(partitions)


class MissingTopicError(UnavailableError):
    """Kafka answers, and has no such topic (yet)."""


class UnsupportedProtocolError(UnavailableError):
    """The broker refuses the newer group protocol: it is too old, or its configuration forbids it."""


class ConnectionLostError(UnavailableError):
    """The connection ended before the answer arrived. The command may be repeated."""


class RedisRefusalError(UnavailableError):
    """Redis answered with an error: out of memory, loading, read-only, a key of another type."""


class NotReplicatedError(UnavailableError):
    """Only `replicas` of `node`'s replicas have its last writes; `wanted` must."""

    def __init__(self, message: str, *, node: str, wanted: int, replicas: int = 0) -> None:
        super().__init__(message)
        self.node = node
        self.wanted = wanted
        self.replicas = replicas


class FailedOverError(UnavailableError):
    """Primaries of Redis (`nodes`, by address) were restarted or replaced: their last writes may be lost."""

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


class RemadeError(UnavailableError):
    """The states in Redis were rebuilt from the log: events folded into the old ones and not logged are missing."""


class UndecidedError(UnavailableError):
    """States that would tell which events were sent before cannot be read, and are set aside: nothing is folded."""


class BusyError(UnavailableError):
    """Too many requests to answer in time."""


class CommandError(UnavailableError):
    """One of our own commands, run as a child process, failed with this message and `exit_code`.

    `kind` is the name of the error that ended it, where it reported one.
    """

    def __init__(self, message: str, exit_code: int, kind: str = "") -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.kind = kind


class ModelError(EncoreError):
    """A model cannot be trained, read or used."""


class UnknownVersionError(ModelError):
    """No version of a model has this number, name or alias."""


class TrainingError(ModelError):
    """The examples do not suffice to train a model: bring more data, or ask another question."""


class UnknownTargetError(EncoreError):
    """A question about a target that this server has no model of."""


class AsOfError(EncoreError):
    """A question about a time that states cannot answer. `row` is the question's index in its request."""

    def __init__(self, message: str, row: int) -> None:
        super().__init__(message)
        self.row = row


class TokenError(EncoreError):
    """A caller's token is forged, ended, or not for this server."""


class ApiError(EncoreError):
    """The API refused a request. `status` is the HTTP status; the message lists the refused fields."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
