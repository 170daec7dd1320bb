"""Published models shared by several machines in a storage, from which each home's published folder is updated.

    storage/repeat_purchase/
        champion, challenger       as in the published folder, with the hash of their version
        20261121-030405-ab12cd/    the files of a version that has, or had, an alias

A version's files are compared with the alias' hash before use, so that an incomplete or changed file is not used.
"""

import hashlib
import logging
import shutil
import time
from functools import partial
from pathlib import Path

from data.atomic import replace_folder, scratch_folder, write_whole
from data.errors import EncoreError
from data.filesystem.storage import Mark, Storage
from model.artifact.artifact import FILES, METADATA, VERSION

__all__ = ["Mirror"]

_log = logging.getLogger(__name__)


class Mirror:
    """The published models in a storage. Constructing it accesses nothing."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._due_s: dict[str, float] = {}
        self._pulled: dict[tuple[str, str], Mark] = {}
        self._last_error = ""

    def push(self, target: str, folder: Path, alias: str, content: bytes) -> None:
        """Store a version, whose files are in `folder`, and then its alias' file."""
        place = self._storage / target
        for name in FILES:
            (place / folder.name).put(name, partial(shutil.copyfile, folder / name))
        place.put(alias, partial(write_whole, content=content))

    def has(self, target: str, alias: str) -> bool:
        """Return whether the storage has an alias."""
        return (self._storage / target).mark(alias) is not None

    def withdraw(self, target: str, alias: str) -> None:
        """Remove an alias."""
        (self._storage / target).delete(alias)

    def delete(self, target: str, version: str) -> None:
        """Delete the files of a version."""
        place = self._storage / target / version
        for name in list(place.names()):
            place.delete(name)

    def pull(self, target: str, folder: Path, aliases: tuple[str, ...]) -> None:
        """Update a target's published folder from the storage, at most once per `Storage.look_every_s`.

        If the storage does not answer, or has nothing of the target, the folder is left unchanged.
        """
        if time.monotonic() < self._due_s.get(target, 0.0):
            return
        self._due_s[target] = time.monotonic() + self._storage.look_every_s
        place = self._storage / target
        try:
            marks = place.marks()
            for alias in aliases if marks else ():
                if alias not in marks:
                    (folder / alias).unlink(missing_ok=True)
                elif marks[alias] != self._pulled.get((target, alias)) or not (folder / alias).exists():
                    self._take(place, folder, alias)
                    self._pulled[target, alias] = marks[alias]
        except (EncoreError, OSError) as error:
            if str(error) != self._last_error:
                _log.warning("published models are not followed: %s", error)
            self._last_error = str(error)
        else:
            self._last_error = ""

    @staticmethod
    def _take(place: Storage, folder: Path, alias: str) -> None:
        """Copy an alias, and before it its version unless a copy with the alias' hash is here."""
        content = place.local(alias).read_bytes()
        version, _, sha256 = [*content.decode(errors="replace").split(), "", "", ""][:3]
        if VERSION.fullmatch(version) and _sha256(folder / version / METADATA) != sha256:
            with scratch_folder(folder / version) as scratch:
                for name in FILES:
                    shutil.copyfile((place / version).local(name), scratch / name)
                replace_folder(scratch, folder / version)
        write_whole(folder / alias, content)


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return ""
