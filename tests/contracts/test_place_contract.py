"""A folder is one, on this machine or in object storage."""

import hashlib
import os
from pathlib import Path

import pytest

from data.errors import ConfigurationError, DataError, UnavailableError
from data.filesystem.place import Place, digest_of, open_place
from server.process.server_process import free_port


def test_what_is_written_is_read(place: Place) -> None:
    assert place.sizes("") == place.sizes("a") == {}
    place.write("a/b/one", b"1")
    place.write("a/two", b"22")
    place.write("other", b"")
    assert place.sizes("a") == {"a/b/one": 1, "a/two": 2}
    assert place.read("a/b/one") == b"1"
    place.write("a/b/one", b"111")
    assert (place.read("a/b/one"), place.read("other")) == (b"111", b"")
    place.delete("a/b/one")
    place.delete("a/b/one")
    assert place.sizes("a") == {"a/two": 2}
    with pytest.raises(DataError, match="there is no a/b/one"):
        place.read("a/b/one")


def test_files_are_copied_with_their_digest(place: Place, tmp_path: Path) -> None:
    content = os.urandom(9_000_000)
    (tmp_path / "sent").write_bytes(content)
    written = place.send(tmp_path / "sent", "objects/x")
    assert written == digest_of(tmp_path / "sent") == (hashlib.sha256(content).hexdigest(), len(content))
    assert place.fetch("objects/x", tmp_path / "fetched") == written
    assert (tmp_path / "fetched").read_bytes() == content


def test_half_a_file_is_none(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sent").write_bytes(b"x" * 10_000_000)

    class Broken:
        def update(self, piece: bytes) -> None:
            raise OSError("the disk went away")

    monkeypatch.setattr(hashlib, "sha256", Broken)
    with pytest.raises(UnavailableError, match="cannot be written"):
        place.send(tmp_path / "sent", "objects/x")
    assert place.sizes("objects") == {}


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("ftp://host/x", "ftp://host/x: not a folder"),
        ("s3://", "s3://"),
        ("http://u:pw@host/x", "not a folder"),
    ],
)
def test_other_addresses_are_refused(address: str, told: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        open_place(address)
    assert told.split(" ", maxsplit=1)[0] in str(refused.value)
    assert "pw" not in str(refused.value)


def test_a_folder_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    place = open_place(str(tmp_path / "file"))
    with pytest.raises(UnavailableError) as told:
        place.write("a", b"1")
    assert "\n" not in str(told.value)


def _is_told(place: Place) -> None:
    with pytest.raises(UnavailableError) as told:
        place.write("a", b"1")
    assert "\n" not in str(told.value)
    assert "secret-word" not in str(told.value)
    assert "credentials in the environment" in str(told.value)


@pytest.mark.integration
def test_storage_that_refuses_is_one_line(bucket: str) -> None:
    _is_told(open_place(bucket.format("x").replace("@shop/", "@no-such-bucket/")))


@pytest.mark.system  # AWS' library tries again for ten seconds
def test_storage_that_is_away_is_one_line() -> None:
    port = free_port()
    away = open_place(f"s3://test:secret-word@shop/x?endpoint_override=127.0.0.1:{port}&scheme=http&region=x")
    assert str(away) == "s3://shop/x"
    _is_told(away)


@pytest.mark.parametrize("address", ["gs://shop/x", "az://account@shop/x", "abfss://account@shop/x"])
def test_other_storage_is_known_by_its_address(address: str) -> None:
    assert str(open_place(address)).endswith("://shop/x")
