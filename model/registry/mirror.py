"""Published models that machines share: a storage has them, and the published folder of each home follows it.

    storage/repeat_purchase/
        champion, challenger       as in the published folder, with the hash of the version that they stand for
        20261121-030405-ab12cd/    the files of a version that has, or had, an alias

What a folder holds of a version is compared with the alias' hash before it is used: a file that came half, or was
changed on its way, is none.
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
    """The published models of a storage. Making it touches nothing."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._again_s: dict[str, float] = {}
        self._seen: dict[tuple[str, str], Mark] = {}
        self._trouble = ""

    def push(self, target: str, folder: Path, alias: str, content: bytes) -> None:
        """Put a version, whose files are in a folder, and then the file of the alias that stands for it."""
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
        """Let a target's published folder say what the storage says; every two seconds at most.

        Where the storage does not answer, or has nothing of the target, the folder stays as it is.
        """
        if time.monotonic() < self._again_s.get(target, 0.0):
            return
        self._again_s[target] = time.monotonic() + self._storage.look_every_s
        place = self._storage / target
        try:
            marks = place.marks()
            for alias in aliases if marks else ():
                if alias not in marks:
                    (folder / alias).unlink(missing_ok=True)
                elif marks[alias] != self._seen.get((target, alias)) or not (folder / alias).exists():
                    self._take(place, folder, alias)
                    self._seen[target, alias] = marks[alias]
        except (EncoreError, OSError) as error:
            if str(error) != self._trouble:
                _log.warning("published models are not followed: %s", error)
            self._trouble = str(error)
        else:
            self._trouble = ""

    @staticmethod
    def _take(place: Storage, folder: Path, alias: str) -> None:
        """Copy an alias, and before it the version that it stands for where that is not here as the alias says."""
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
