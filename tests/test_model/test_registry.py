"""The registry keeps whole versions, refuses damaged ones, and moves the champion in one step."""

import hashlib
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

import model.artifact.artifact as artifact_module
from data.errors import ModelError, UnavailableError
from model.artifact.artifact import Artifact, name_version
from model.artifact.metadata import Metadata, Probe
from model.calibration import Calibration
from model.registry.published import Registry


def make_artifact(onnx: bytes = b"a model", second: int = 0) -> Artifact:
    created = datetime(2026, 11, 21, 3, 4, second, tzinfo=UTC)
    return Artifact(
        onnx,
        Metadata(
            version=name_version(created, onnx),
            target="repeat_purchase",
            meaning="yes",
            horizon_us=1,
            feature_service="repeat_purchase",
            created=created,
            features=("a", "b"),
            feature_plan="plan",
            data_hash="data",
            estimator="RandomForestClassifier",
            parameters={"n_estimators": 200},
            seed=0,
            candidates=1,
            examples=1,
            parts={},
            gap_us=1,
            note="",
            calibration=Calibration(slope=1.0, intercept=0.0),
            threshold=0.1 + 0.2,
            threshold_policy="f1",
            metrics={},
            baselines={},
            evaluation=None,
            importances={"a": 1.0},
            libraries={},
            sha256=hashlib.sha256(onnx).hexdigest(),
            explainer_sha256=hashlib.sha256(b"shares").hexdigest(),
            probe=Probe(rows=[[None, 1.0]], scores=[0.5]),
        ),
        b"shares",
    )


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models")


def test_what_was_saved_is_loaded(registry: Registry) -> None:
    artifact = make_artifact()
    version = registry.save(artifact)
    assert version == "20261121-030400-" + hashlib.sha256(b"a model").hexdigest()[:6]
    assert registry.load("repeat_purchase", version) == artifact
    assert sorted(path.name for path in (registry.root / "repeat_purchase" / version).iterdir()) == [
        "explainer.npz",
        "metadata.json",
        "model.onnx",
    ]


def test_opening_touches_nothing(registry: Registry) -> None:
    assert registry.versions("repeat_purchase") == []
    assert not registry.root.exists()


def test_versions_are_listed_by_time(registry: Registry) -> None:
    saved = [registry.save(make_artifact(f"model {second}".encode(), second)) for second in (30, 10, 20)]
    assert registry.versions("repeat_purchase") == [saved[1], saved[2], saved[0]]


def test_a_version_is_never_overwritten(registry: Registry) -> None:
    registry.save(make_artifact())
    with pytest.raises(ModelError, match="exists already"):
        registry.save(make_artifact())
    assert len(list((registry.root / "repeat_purchase").iterdir())) == 1


def test_a_crash_while_writing_leaves_no_version(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(metadata: Metadata) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(artifact_module, "encode_metadata", crash)
    with pytest.raises(KeyboardInterrupt):
        registry.save(make_artifact())
    assert list((registry.root / "repeat_purchase").iterdir()) == []


def test_the_champion_switches(registry: Registry) -> None:
    first, second = (registry.save(make_artifact(onnx)) for onnx in (b"one", b"two"))
    registry.promote("repeat_purchase", first)
    assert registry.load("repeat_purchase").onnx == b"one"
    registry.promote("repeat_purchase", second)
    registry.promote("repeat_purchase", first, alias="challenger")
    assert registry.load("repeat_purchase").onnx == b"two"
    assert registry.resolve("repeat_purchase", "challenger") == first
    assert sorted(path.name for path in (registry.root / "repeat_purchase").iterdir()) == sorted(
        [first, second, "champion", "challenger"]
    )


def test_without_a_champion_the_way_out_is_said(registry: Registry) -> None:
    with pytest.raises(UnavailableError, match=r"no champion .*train a model"):
        registry.load("repeat_purchase")
    with pytest.raises(UnavailableError, match="is not there"):
        registry.load("repeat_purchase", "20261121-030400-ab12cd")


def test_a_changed_model_is_refused_with_both_hashes(registry: Registry) -> None:
    version = registry.save(make_artifact())
    registry.promote("repeat_purchase", version)
    path = registry.root / "repeat_purchase" / version / "model.onnx"
    path.write_bytes(b"b model")
    with pytest.raises(ModelError) as refused:
        registry.load("repeat_purchase")
    for part in (str(path), hashlib.sha256(b"a model").hexdigest(), hashlib.sha256(b"b model").hexdigest()):
        assert part in str(refused.value)


def test_a_damaged_version_is_not_promoted(registry: Registry) -> None:
    good, bad = (registry.save(make_artifact(onnx)) for onnx in (b"good", b"bad"))
    registry.promote("repeat_purchase", good)
    (registry.root / "repeat_purchase" / bad / "model.onnx").write_bytes(b"")
    with pytest.raises(ModelError, match="sha256"):
        registry.promote("repeat_purchase", bad)
    assert registry.resolve("repeat_purchase") == good


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda raw: raw[:-20], "not a model's metadata"),
        (lambda raw: b"\xff" + raw, "not a model's metadata"),
        (lambda raw: raw.replace(b'"threshold"', b'"thresh"'), "threshold"),
        (lambda raw: raw.replace(b'"format": 2', b'"format": 1'), "format 1; this Encore reads format 2"),
    ],
)
def test_damaged_metadata_is_refused(registry: Registry, damage: Callable[[bytes], bytes], message: str) -> None:
    version = registry.save(make_artifact())
    path = registry.root / "repeat_purchase" / version / "metadata.json"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelError, match=message) as refused:
        registry.load("repeat_purchase", version)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize("name", ["../champion", "", "a/b", "Champion", "20261121"])
def test_names_cannot_leave_the_folder(registry: Registry, name: str) -> None:
    with pytest.raises(ModelError, match=re.escape(repr(name))):
        registry.load("repeat_purchase", name)
    with pytest.raises(ModelError, match=re.escape(repr(name))):
        registry.promote("repeat_purchase", name)
    if name:
        with pytest.raises(ModelError, match=re.escape(repr(name))):
            registry.versions(name)


def test_an_artifact_whose_hash_is_wrong_is_not_written(registry: Registry) -> None:
    artifact = make_artifact()
    with pytest.raises(ModelError, match="sha256"):
        registry.save(Artifact(artifact.onnx, msgspec.structs.replace(artifact.metadata, sha256="0")))
    assert not registry.root.exists()


def edit(registry: Registry, version: str, **changed: object) -> None:
    """Edit what is published: a field of the metadata, or the model with the hash that vouches for it."""
    folder = registry.root / "repeat_purchase" / version
    metadata = msgspec.json.decode((folder / "metadata.json").read_bytes())
    if "onnx" in changed:
        (folder / "model.onnx").write_bytes(onnx := bytes(str(changed.pop("onnx")), "ascii"))
        changed["sha256"] = hashlib.sha256(onnx).hexdigest()
    (folder / "metadata.json").write_bytes(msgspec.json.encode(metadata | changed))


@pytest.mark.parametrize(
    "changed", [{"threshold": 0.99}, {"feature_plan": "another"}, {"meaning": "no"}, {"onnx": "another model"}]
)
@pytest.mark.parametrize("alias", ["champion", "challenger"])
def test_what_was_edited_since_it_was_published_is_not_served(
    registry: Registry, alias: str, changed: dict[str, object]
) -> None:
    version = registry.save(make_artifact())
    registry.promote("repeat_purchase", version, alias, share=0.25)
    assert registry.resolve_share("repeat_purchase", alias) == (version, 0.25)
    edit(registry, version, **changed)
    for name in (alias, version):
        for read in (registry.load, registry.metadata):
            with pytest.raises(ModelError, match=r"was\s+changed since: `encore model promote` publishes it anew"):
                read("repeat_purchase", name)
    registry.restore(make_artifact())
    assert registry.load("repeat_purchase", alias) == make_artifact()


@pytest.mark.parametrize("text", ["{version}", "{version} 0.5", "{version} 0 " + "0" * 64])
def test_an_alias_vouches_for_its_version(registry: Registry, text: str) -> None:
    version = registry.save(make_artifact())
    (registry.root / "repeat_purchase" / "champion").write_text(text.format(version=version))
    with pytest.raises(ModelError, match="encore model promote"):
        registry.load("repeat_purchase")
