"""Machines publish models into a storage, and each follows it; what cannot be followed leaves what there was."""

from pathlib import Path

import pytest
from bucket_double import ObjectStore
from test_registry import make_artifact

from data.errors import ModelError, UnavailableError
from data.filesystem.folder import Folder
from data.filesystem.storage import Storage
from model.registry.mirror import Mirror
from model.registry.published import CHALLENGER, CHAMPION, Registry

TARGET = "repeat_purchase"


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.filesystem.bucket.Bucket.look_every_s", 0.0)


def machine(store: ObjectStore, name: str) -> Registry:
    home = store.root / name
    return Registry(home / "models", mirror=Mirror(store.bucket(home / "copies") / "models"))


def published(registry: Registry, onnx: bytes, alias: str = CHAMPION, share: float = 0.0) -> str:
    version = registry.save(make_artifact(onnx))
    registry.promote(TARGET, version, alias, share=share)
    return version


def test_what_one_machine_publishes_the_others_serve(store: ObjectStore) -> None:
    trainer, server = machine(store, "trainer"), machine(store, "server")
    with pytest.raises(UnavailableError, match="there is no champion"):
        server.load(TARGET)
    first = published(trainer, b"first")
    assert server.load(TARGET) == trainer.load(TARGET)
    second = published(trainer, b"second", CHALLENGER, 0.25)
    assert server.resolve_share(TARGET) == (second, 0.25)
    assert server.load(TARGET, second).onnx == b"second"
    trainer.promote(TARGET, second)
    trainer.withdraw(TARGET, CHALLENGER)
    assert server.resolve(TARGET) == second
    assert not server.names(TARGET, CHALLENGER)
    trainer.delete(TARGET, first)
    assert not [name for name in store.objects() if first in name and name.startswith("bucket")]
    assert server.load(TARGET).onnx == b"second"


def test_a_server_answers_while_the_storage_is_away(store: ObjectStore) -> None:
    trainer, server = machine(store, "trainer"), machine(store, "server")
    first = published(trainer, b"first")
    assert server.resolve(TARGET) == first

    def away(_operation: str, _path: str) -> None:
        raise OSError("connection refused")

    store.fails = away
    assert server.load(TARGET).onnx == b"first"
    with pytest.raises(UnavailableError, match="connection refused"):
        published(trainer, b"second")
    assert trainer.resolve(TARGET) == first, "what others cannot see is not published here either"
    store.fails = None
    assert published(trainer, b"third") == server.resolve(TARGET)


def test_a_version_that_was_changed_in_the_storage_is_not_served(store: ObjectStore) -> None:
    trainer, server = machine(store, "trainer"), machine(store, "server")
    version = published(trainer, b"first")
    (store.root / "bucket/shop/models" / TARGET / version / "model.onnx").write_bytes(b"another")
    with pytest.raises(ModelError, match="sha256"):
        server.load(TARGET)


@pytest.mark.parametrize("content", ["", "../.. 0 abc", "20261121-030400-ab12cd 0 abc", "\xff"])
def test_an_alias_that_is_none_is_refused_and_writes_nothing_elsewhere(store: ObjectStore, content: str) -> None:
    server = machine(store, "server")
    place = store.root / "bucket/shop/models" / TARGET
    place.mkdir(parents=True)
    (place / CHAMPION).write_bytes(content.encode("latin-1"))
    with pytest.raises((ModelError, UnavailableError)):
        server.load(TARGET)
    assert server.versions(TARGET) == []


def test_a_home_of_before_keeps_its_models_until_something_is_shared(store: ObjectStore) -> None:
    old = Registry(store.root / "home" / "models")
    version = published(old, b"first")
    shared = Registry(old.root, mirror=Mirror(store.bucket(store.root / "copies") / "models"))
    assert shared.resolve(TARGET) == version
    assert not shared.is_shared(TARGET, CHAMPION)
    shared.promote(TARGET, version)
    assert shared.is_shared(TARGET, CHAMPION)


def test_a_shared_folder_is_followed_as_a_bucket_is(tmp_path: Path) -> None:
    storage: Storage = Folder(tmp_path / "shared")
    one, two = (Registry(tmp_path / name, mirror=Mirror(storage)) for name in ("one", "two"))
    version = published(one, b"first")
    assert two.resolve(TARGET) == version
    assert two.load(TARGET) == one.load(TARGET)
