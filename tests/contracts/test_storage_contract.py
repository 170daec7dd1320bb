"""What every place of files promises, a folder and a bucket."""

import os
import threading
import time
from pathlib import Path

import pytest
from bucket_double import ObjectStore

from data.errors import GoneError
from data.filesystem.bucket import Bucket
from data.filesystem.folder import Folder
from data.filesystem.storage import Storage


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return (
        Folder(tmp_path / "place") if request.param == "folder" else ObjectStore(tmp_path).bucket(tmp_path / "copies")
    )


def put(place: Storage, name: str, content: bytes = b"content") -> None:
    place.put(name, lambda path: path.write_bytes(content))


def test_a_new_place_is_empty(place: Storage) -> None:
    assert (list(place.names()), place.folders(), place.mark("a")) == ([], [], None)
    assert not place.delete("a")


def test_what_is_put_is_there(place: Storage) -> None:
    put(place, "a", b"first")
    assert list(place.names()) == ["a"]
    assert place.local("a").read_bytes() == b"first"
    mark = place.mark("a")
    assert mark is not None
    assert mark.size == 5
    assert abs(mark.modified_ns / 1e9 - time.time()) < 60


def test_a_file_is_replaced_whole_and_has_another_mark(place: Storage) -> None:
    put(place, "a", b"first")
    before = place.mark("a")
    assert place.local("a").read_bytes() == b"first"
    put(place, "a", b"other")
    assert place.mark("a") != before
    assert place.local("a").read_bytes() == b"other"


def test_what_is_in_a_folder_of_it_is_none_of_its_files(place: Storage) -> None:
    put(place, "a")
    put(place / "within", "b")
    assert list(place.names()) == ["a"]
    assert place.folders() == ["within"]


def test_an_empty_file_is_a_file(place: Storage) -> None:
    put(place, "a", b"")
    assert place.local("a").read_bytes() == b""
    assert list(place.names()) == ["a"]


def test_a_write_that_fails_leaves_what_was(place: Storage) -> None:
    put(place, "a", b"first")

    def fails(_: Path) -> None:
        raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        place.put("a", fails)
    assert place.local("a").read_bytes() == b"first"


def test_a_deleted_file_is_gone(place: Storage) -> None:
    put(place, "a")
    assert place.delete("a")
    assert list(place.names()) == []
    assert place.mark("a") is None
    with pytest.raises((GoneError, FileNotFoundError)):
        place.local("a").read_bytes()


def test_places_lie_within_places(place: Storage) -> None:
    within = place / "0001-source"
    assert within.make()
    put(within, "a")
    put(place / "0000-first", "b")
    assert place.folders() == ["0000-first", "0001-source"]
    assert list(within.names()) == ["a"]
    assert place.bytes() == 2 * len(b"content")
    assert str(within) == f"{place}/0001-source"


def test_a_place_is_replaced_by_a_scratch_folder(place: Storage) -> None:
    put(place / "history", "old")
    with place.scratch("history") as scratch:
        (scratch / "new").write_bytes(b"new")
        place.replace("history", scratch, unfinished="unfinished")
    assert list((place / "history").names()) == ["new"]
    assert (place / "history").local("new").read_bytes() == b"new"


def test_a_lock_is_shared_or_held_alone(place: Storage) -> None:
    shared = place.lock("lock", shared=True), place.lock("lock", shared=True, wait=False)
    with shared[0], shared[1], pytest.raises(BlockingIOError), place.lock("lock", wait=False):
        pass
    with place.lock("lock", wait=False), pytest.raises(BlockingIOError), place.lock("lock", shared=True, wait=False):
        pass
    with place.lock("lock", shared=True, wait=False):
        pass


@pytest.mark.long
@pytest.mark.integration
def test_who_waits_for_a_lock_gets_it_alone(place: Storage) -> None:
    """Each adds one to a number in three steps, which two at once would do wrong."""
    number, most = [0], [0]

    def add() -> None:
        with place.lock("lock"):
            most[0] += 1
            now, alone = number[0], most[0]
            time.sleep(0.005)
            number[0] = now + 1
            assert most[0] == alone == 1
            most[0] -= 1

    threads = [threading.Thread(target=add) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert number == [3]


def test_copies_follow_what_other_machines_do(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path)
    here, there = store.bucket(tmp_path / "here"), store.bucket(tmp_path / "there")
    put(here, "a", b"first")
    assert there.local("a").read_bytes() == b"first"
    put(here, "a", b"other")
    there.names()
    assert there.local("a").read_bytes() == b"other"
    gets = store.asked.count("get")
    for _ in range(3):
        there.local("a")
    assert store.asked.count("get") == gets, "a copy that is as it should be is not fetched"
    again = store.bucket(tmp_path / "there")
    again.names()
    assert again.local("a").read_bytes() == b"other"
    assert store.asked.count("get") == gets, "nor is it by another process"


def test_copies_of_what_is_gone_go_when_nobody_asks_for_them(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path)
    here, there = store.bucket(tmp_path / "here"), store.bucket(tmp_path / "there")
    for name in ("gone", "replaced", "stays"):
        put(here, name)
        there.local(name)
    here.delete("gone")
    put(here, "replaced", b"anew")
    there.names()
    assert sorted(path.name for path in there.copies.iterdir()) == ["gone", "replaced", "stays"]
    for path in there.copies.iterdir():
        found = path.stat()
        os.utime(path, ns=(found.st_atime_ns - 2 * 3600 * 10**9, found.st_mtime_ns))
    there.names()
    assert sorted(path.name for path in there.copies.iterdir()) == ["stays"]


def test_a_dead_holders_lock_ends(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path)
    place: Bucket = store.bucket(tmp_path / "copies")
    left = place / ".locks" / "lock"
    put(left, "alone-0123")
    path = tmp_path / "bucket/shop/.locks/lock/alone-0123"
    with pytest.raises(BlockingIOError), place.lock("lock", wait=False):
        pass
    os.utime(path, (time.time() - 700, time.time() - 700))
    with place.lock("lock", wait=False):
        pass
    assert left.names() == []
