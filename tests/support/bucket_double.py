"""An object store without a network: objects are files of a folder, and it does as badly as a test says."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyarrow import fs

from data.filesystem.bucket import Bucket
from data.filesystem.place import Place

__all__ = ["ObjectStore"]


class ObjectStore(fs.FileSystemHandler):  # type: ignore[misc]
    """Implements what `pyarrow.fs` asks of a store. Folders are there as soon as something is in them.

    `hidden` are paths that lists leave out, as one that lags behind does. `fails`, where it is set, is called with the
    name of each operation and its path, and may raise or wait.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "bucket").mkdir(parents=True, exist_ok=True)
        self.hidden: set[str] = set()
        self.fails: Callable[[str, str], None] | None = None
        self.asked: list[str] = []
        self._files = fs.SubTreeFileSystem(str(root), fs.LocalFileSystem())
        self._lock = threading.Lock()

    def bucket(self, copies: Path, folder: str = "bucket/shop") -> Bucket:
        """The storage at a folder of it, as one machine sees it that keeps its copies there."""
        return Bucket(Place(fs.PyFileSystem(self), folder, f"s3://{folder}"), copies)

    def objects(self) -> list[str]:
        """The names of all objects."""
        return sorted(path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file())

    def _ask(self, operation: str, path: str) -> None:
        with self._lock:
            self.asked.append(operation)
        if self.fails is not None:
            self.fails(operation, path)

    def get_type_name(self) -> str:
        return "test"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: list[str]) -> list[Any]:
        for path in paths:
            self._ask("head", path)
        return [self._files.get_file_info(path) for path in paths]

    def get_file_info_selector(self, selector: Any) -> list[Any]:
        self._ask("list", selector.base_dir)
        found = self._files.get_file_info(selector)
        return [info for info in found if info.path not in self.hidden and (info.is_file or any(self._within(info)))]

    def _within(self, info: Any) -> list[Path]:
        return [path for path in (self.root / info.path).rglob("*") if path.is_file()]

    def open_input_file(self, path: str) -> Any:
        self._ask("get", path)
        return self._files.open_input_file(path)

    open_input_stream = open_input_file

    def open_output_stream(self, path: str, metadata: Any) -> Any:
        self._ask("put", path)
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        return self._files.open_output_stream(path)

    def delete_file(self, path: str) -> None:
        self._ask("delete", path)
        self._files.delete_file(path)

    def _refuse(self, *_: Any) -> None:
        raise NotImplementedError

    create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = move = copy_file = _refuse
    open_append_stream = _refuse
