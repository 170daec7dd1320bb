"""Files and folders are written whole or not at all, and locks keep others out."""

import errno
from pathlib import Path

import pytest

from data.atomic import replace_folder, scratch_folder, whole_file, whole_folder, write_whole
from data.lock import file_lock, open_lock


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "made" / "file"
    write_whole(path, b"old")
    with whole_file(path) as scratch:
        scratch.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


def test_a_file_stays_where_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old")
    with pytest.raises(ZeroDivisionError), whole_file(path) as scratch:  # noqa: PT012 - it fails half way
        scratch.write_bytes(b"half")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"old"


def test_an_error_of_a_library_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(OSError, match="no room") as raised, whole_file(path):
        raise OSError(errno.ENOSPC, "no room")
    assert raised.value.filename == str(path)
    with pytest.raises(OSError, match="other") as raised, whole_file(path):
        (tmp_path / "other" / "deep").write_bytes(b"")
    assert raised.value.filename == str(tmp_path / "other" / "deep")


def test_a_folder_comes_whole_and_replaces_none(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    with whole_folder(folder) as scratch:
        (scratch / "a").write_bytes(b"1")
        assert not folder.exists()
    with pytest.raises(FileExistsError), whole_folder(folder) as scratch:
        (scratch / "b").write_bytes(b"2")
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["folder", "folder/a"]


def test_a_folder_can_be_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    for name in ("a", "b"):
        with scratch_folder(folder) as scratch:
            (scratch / name).write_bytes(b"1")
            replace_folder(scratch, folder)
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["folder", "folder/b"]


def test_a_lock_is_held_alone_or_shared(tmp_path: Path) -> None:
    path = tmp_path / "made" / "lock"
    with file_lock(path), pytest.raises(BlockingIOError):
        open_lock(path, shared=True, wait=False)
    with file_lock(path, shared=True), file_lock(path, shared=True, wait=False), pytest.raises(BlockingIOError):
        open_lock(path, wait=False)
    open_lock(path, wait=False).close()
