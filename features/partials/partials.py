"""The partials beside an event log: which exist, which are missing, and which are of no use any more.

    log/partials/kafka-1f3a/user-0003-000000000000..000000065536-9c41…-7be0….parquet
                 source     kind  the file of the log that it is of plan  that file as it was

A partial holds the states of all entities of a kind from the events of one file of the log, split by day. All that its
content depends on is in its name: a stale one has another name than the wanted one, and is made again. A late event
is in a later file, so it makes nothing stale; a person who is forgotten, retention, and a history that is imported
again replace files of the log, which have another mark then.
"""

import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import msgspec

from data.filesystem.storage import Mark, Storage
from data.log.event_log import EventLog, LogFile
from features.plan.plan import EntityPlan, Plan

__all__ = ["FEWEST", "FOLDER", "Listed", "Partials", "Wanted"]

FEWEST = 4_096
"""The least offsets of a file of the log that has partials: smaller ones are joined soon."""

FOLDER = "partials"
"""Where they are, in the storage of the log."""

_VERSION = 1
_DIGEST = 8
_GRACE_S = 3_600.0

_NAME = re.compile(r"([a-z][a-z0-9_]*)-(\d{4,}-\d{12,}(?:\.\.|-)\d{12,})-([0-9a-f]{16})-([0-9a-f]{16})\.parquet")


class Wanted(NamedTuple):
    """A partial that should exist: of a kind of entities, and of a file of the log."""

    plan: EntityPlan
    file: LogFile
    name: str


class Listed(NamedTuple):
    """The partials of a plan: those that exist, those that are missing, and files that have none."""

    kept: list[Wanted]
    missing: list[Wanted]
    small: list[LogFile]


class Partials:
    """The partials of one log. Constructing it does no I/O."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self._storage = log.storage / FOLDER

    def __str__(self) -> str:
        return str(self._storage)

    def are_used(self) -> bool:
        """Return whether there are any: once there are, they are kept up to date."""
        return any(_NAME.fullmatch(name) for _, folder in self._folders() for name in folder.names())

    def listed(self, plan: Plan) -> Listed:
        """Return which partials exist and which are missing, of the log as it is now.

        Raises LogHoleError where a file of the log is missing.
        """
        listed = Listed([], [], [])
        names = {source: set(folder.names()) for source, folder in self._folders()}
        for file, mark in _marked(self.log.files()):
            if mark is None or file.segment.stop - file.start < FEWEST:
                listed.small.append(file)
                continue
            for entity in plan.entities:
                wanted = Wanted(entity, file, _name(entity, file, mark))
                (listed.kept if wanted.name in names.get(file.source, ()) else listed.missing).append(wanted)
        return listed

    def path(self, wanted: Wanted) -> Path:
        """Return where a partial can be read. Raises GoneError where it is gone."""
        return (self._storage / wanted.file.source).local(wanted.name)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Yield an empty folder, from which files are moved here; what is left in it is deleted."""
        with self._storage.scratch("new") as folder:
            yield folder
            shutil.rmtree(folder, ignore_errors=True)

    def put(self, wanted: Wanted, write: Callable[[Path], object]) -> None:
        """Store a partial, which `write` makes at a path that it is given."""
        (self._storage / wanted.file.source).put(wanted.name, write)

    def delete(self, wanted: Wanted) -> None:
        """Delete a partial."""
        (self._storage / wanted.file.source).delete(wanted.name)

    def delete_stale(self, plan: Plan | None = None, *, grace_s: float = _GRACE_S) -> int:
        """Delete those of files of the log that are gone or were replaced; with a plan, those of other plans too.

        Those that were written less than `grace_s` ago are left: a reader may be about to open them. Returns how many
        went.
        """
        files = {(file.source, _stem(file), _of_file(file, mark)) for file, mark in _marked(self.log.listing()) if mark}
        plans = None if plan is None else {(entity.entity, _of_plan(entity)) for entity in plan.entities}
        before_ns, deleted = (time.time() - grace_s) * 1e9, 0
        for source, folder in self._folders():
            for name, mark in folder.marks().items():
                match = _NAME.fullmatch(name)
                # A name that begins with a dot is of an unfinished file.
                patience_ns = before_ns if match else before_ns - _GRACE_S * 1e9
                wanted = (
                    match is not None
                    and (source, match[2], match[4]) in files
                    and (plans is None or (match[1], match[3]) in plans)
                )
                if not wanted and mark.modified_ns <= patience_ns:
                    deleted += folder.delete(name)
        return deleted

    def clear(self) -> int:
        """Delete all; return how many there were."""
        return sum(folder.delete(name) for _, folder in self._folders() for name in list(folder.marks()))

    def bytes(self) -> int:
        """Return the size of all together."""
        return self._storage.bytes()

    def one_maker(self) -> AbstractContextManager[object]:
        """Be the only process that makes partials of this log. Raises BlockingIOError where another has it."""
        return self._storage.lock(".making.lock", wait=False)

    def _folders(self) -> Iterator[tuple[str, Storage]]:
        for source in self._storage.folders():
            if not source.startswith("."):
                yield source, self._storage / source


def _marked(files: Sequence[LogFile]) -> Iterator[tuple[LogFile, Mark | None]]:
    """Yield files with their marks, each folder listed once; None where a file is gone since."""
    marks: dict[str, dict[str, Mark]] = {}
    for file in files:
        if file.source not in marks:
            marks[file.source] = file.storage.marks()
        yield file, marks[file.source].get(file.segment.name)


def _name(plan: EntityPlan, file: LogFile, mark: Mark) -> str:
    return f"{plan.entity}-{_stem(file)}-{_of_plan(plan)}-{_of_file(file, mark)}.parquet"


def _stem(file: LogFile) -> str:
    return file.segment.name.removesuffix(".parquet")


def _of_file(file: LogFile, mark: Mark) -> str:
    return _digest(file.start, mark)


def _of_plan(plan: EntityPlan) -> str:
    """Return a digest of all of a plan and its schema that states depend on, and of how events are read."""
    schema = plan.schema
    return _digest(_VERSION, plan.layout, plan.join_keys, schema.labels, schema.measures)


def _digest(*parts: object) -> str:
    return blake2b(msgspec.json.encode(parts), digest_size=_DIGEST).hexdigest()
