"""A backup is a cut of a home that works; what is restored is what there was, or nothing."""

import json
import re
import sqlite3
import threading
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from event_streams import Act, act, as_log, place
from mlflow_database import empty_database
from redis import Redis
from serving import make_home, plan, tiny_model
from system import SystemHere

from data.clock import ManualClock
from data.errors import ConfigurationError, DataError, LogHoleError, UnavailableError
from data.filesystem.place import Place, open_place
from data.log.event_log import EventLog
from data.log.identity import Identity, make_identity
from data.units import HOUR_US, MICROS
from features.state.online.states import OnlineStates
from server.audit_log.changes import open_audit_log, recorded
from server.jobs.backup.backup import BackedUp, back_up
from server.jobs.backup.manifest import manifests, object_name, read_manifest
from server.jobs.backup.restore import Restored, list_backups, restore
from server.jobs.build import materialize
from server.jobs.modelling import list_versions, open_lifecycle
from server.process.store import Store
from server.settings import Settings, read_settings

TARGET = "repeat_purchase"
ROOT = Path(__file__).parents[2]


def events(first: int, number: int) -> list[Any]:
    acts = [act(Act("view", f"u{n % 3}", "p", n * HOUR_US), f"e{n}") for n in range(first, first + number)]
    return place(acts, 1, first_offset=first)


def make(folder: Path, **settings: Any) -> Settings:
    """A home with a log, the plan, and something of all else."""
    home = make_home(folder)
    as_log(EventLog(home / "log"), events(0, 30))
    make_identity(home / "log", Identity("1" * 32, "encore"))
    (home / "predictions").mkdir()
    (home / "predictions" / "0000-000000000000..000000000009.parquet").write_bytes(b"kept")
    (home / "quality").mkdir()
    (home / "quality" / "live.json").write_text("[]")
    (home / "run").mkdir()
    (home / "run" / "admin.key").write_text("a secret")
    (home / "store").mkdir()
    (home / "store" / "dump.rdb").write_bytes(b"states")
    return read_settings(home=home, **settings)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make(tmp_path / "home", redis_password="hunter22", run_logs="30MB")


@pytest.fixture
def there(place: Place) -> Place:
    """Where backups go."""
    return place


def quiet(_: str) -> None:
    pass


def backed_up(settings: Settings, there: Place, **more: Any) -> BackedUp:
    return back_up(settings, there, quiet, **more)


def restored(folder: Path, there: Place, **more: Any) -> tuple[Settings, Restored]:
    settings = read_settings(home=folder)
    return settings, restore(settings, there, quiet, **more)


def rows(settings: Settings) -> pa.Table:
    return pa.concat_tables(EventLog(settings.log).tables())


@pytest.mark.long
def test_what_is_restored_is_what_there_was(settings: Settings, there: Place, tmp_path: Path) -> None:
    done = backed_up(settings, there)
    assert done.files >= done.sent_files == len(there.sizes("objects"))
    again, found = restored(tmp_path / "again", there)
    assert (found.name, found.events, found.project) == (done.name, 30, "encore")
    assert rows(again).equals(rows(settings))
    for name in ("plan.json", "log/identity.json", "quality/live.json"):
        assert (again.home / name).read_bytes() == (settings.home / name).read_bytes()
    assert not (again.home / "store").exists(), "states are made from the log"
    assert not (again.home / "run" / "admin.key").exists()
    assert not list((settings.run).glob("backup-cut*"))
    assert found.to_do == [
        "set ENCORE_RUN_LOGS=30MB, as it was",
        "set REDIS_PASSWORD, which no backup keeps",
        "run `encore up`, which makes states in Redis from the log, and starts everything",
    ]
    kept = b"".join(there.read(name) for name in (*there.sizes("objects"), *there.sizes("backups")))
    for secret in (b"hunter22", b"a secret"):
        assert secret not in kept


def test_only_what_is_new_is_sent(settings: Settings, there: Place, tmp_path: Path) -> None:
    clock = ManualClock(1_800_000_000 * MICROS)
    first = backed_up(settings, there, clock=clock)
    clock.advance(clock() + 1)
    second = backed_up(settings, there, clock=clock)
    assert (second.sent_files, second.files) == (0, first.files)
    as_log(EventLog(settings.log), events(30, 5))
    clock.advance(clock() + 1)
    third = backed_up(settings, there, clock=clock)
    assert 0 < third.sent_files < third.files
    assert [*list_backups(there)] == [first.name, second.name, third.name]
    for name, number in ((first.name, 30), (None, 35)):
        _, found = restored(tmp_path / f"of-{number}", there, name=name)
        assert found.events == number


def test_so_many_backups_are_kept_and_their_files_alone(settings: Settings, there: Place, tmp_path: Path) -> None:
    clock = ManualClock(1_800_000_000 * MICROS)
    names = []
    for number in range(4):
        (settings.quality / "live.json").write_text(f"[{number}]")
        clock.advance(clock() + 1)
        names.append(backed_up(settings, there, clock=clock, keep=2).name)
    assert manifests(there) == names[-2:]
    used = {object_name(kept.sha256) for one in list_backups(there).values() for kept in one.files.values()}
    assert set(there.sizes("objects")) == used
    _, found = restored(tmp_path / "again", there)
    assert found.name == names[-1]


def test_a_backup_cut_short_is_none_and_the_one_before_stays(
    settings: Settings, there: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, sent = Place.send, count()

    def cut_short(place: Place, path: Path, name: str) -> Any:
        if next(sent) == 2:
            raise KeyboardInterrupt
        return send(place, path, name)

    with monkeypatch.context() as patch:
        patch.setattr(Place, "send", cut_short)
        with pytest.raises(KeyboardInterrupt):
            backed_up(settings, there)
    with pytest.raises(DataError, match=r"holds no backup; 2 files are there, of a backup that was cut short"):
        restored(tmp_path / "again", there)
    whole = backed_up(settings, there)
    assert whole.sent_files < whole.files, "what was sent is there"
    (settings.quality / "live.json").write_text("[1]")
    sent = count(2)
    with monkeypatch.context() as patch:
        patch.setattr(Place, "send", cut_short)
        with pytest.raises(KeyboardInterrupt):
            backed_up(settings, there)
    again, found = restored(tmp_path / "again", there)
    assert found.name == whole.name
    assert (again.quality / "live.json").read_text() == "[]"


def _harm(there: Place, name: str, how: str) -> None:
    [one] = [kept for path, kept in read_manifest(there, name).files.items() if path == "plan.json"]
    key = object_name(one.sha256)
    match how:
        case "gone":
            there.delete(key)
        case "short":
            there.write(key, there.read(key)[:-1])
        case "flipped":
            there.write(key, b"x" + there.read(key)[1:])
        case "manifest":
            there.write(f"backups/{name}.json", b'{"format": 1')
        case "later":
            manifest = json.loads(there.read(f"backups/{name}.json")) | {"format": 2}
            there.write(f"backups/{name}.json", json.dumps(manifest).encode())


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("gone", r"lacks 1 of its .* files.*plan\.json"),
        ("short", r"lacks 1 of its .* files.*plan\.json"),
        ("flipped", r"plan\.json is damaged: its SHA-256"),
        ("manifest", "no manifest that can be read"),
        ("later", "of the format 2"),
    ],
)
def test_a_damaged_backup_changes_nothing(
    settings: Settings, there: Place, tmp_path: Path, how: str, told: str
) -> None:
    done = backed_up(settings, there)
    _harm(there, done.name, how)
    with pytest.raises(DataError, match=told):
        restored(tmp_path / "again", there)
    assert not [path for path in (tmp_path / "again").glob("*") if path.name != "run"]


@pytest.mark.parametrize(
    "path", ["../x", "/etc/x", "log/../../x", "run/admin.key", "strange/x", "log/./x", "log//x", ""]
)
def test_a_manifest_leads_nowhere_else(settings: Settings, tmp_path: Path, path: str) -> None:
    there = open_place(str(tmp_path / "backups"))
    done = backed_up(settings, there)
    manifest = read_manifest(there, done.name)
    changed = msgspec.structs.replace(manifest, files=manifest.files | {path: manifest.files["plan.json"]})
    there.write(f"backups/{done.name}.json", msgspec.json.encode(changed))
    with pytest.raises(DataError, match="no file of a home"):
        restored(tmp_path / "again", there)


def test_what_must_not_be_backed_up_or_restored(settings: Settings, tmp_path: Path) -> None:
    there = open_place(str(tmp_path / "backups"))
    with pytest.raises(ConfigurationError, match="nothing to back up"):
        backed_up(read_settings(home=tmp_path / "empty"), there)
    backed_up(settings, there)
    with pytest.raises(ConfigurationError, match="holds something already"):
        restore(settings, there, quiet)
    with pytest.raises(ConfigurationError, match="has no backup 'x'; there are: 2"):
        restored(tmp_path / "again", there, name="x")
    other = make(tmp_path / "other")
    (other.log / "identity.json").unlink()
    make_identity(other.log, Identity("2" * 32, "other"))
    with pytest.raises(ConfigurationError, match="backups of another home"):
        backed_up(other, there)
    min(settings.log.rglob("*.parquet")).unlink()
    with pytest.raises(LogHoleError):
        backed_up(settings, there)
    assert len(manifests(there)) == 1


def test_an_audit_log_that_is_there_goes_on(settings: Settings, tmp_path: Path) -> None:
    there = open_place(str(tmp_path / "backups"))
    with recorded(settings, "encore test", {}):
        pass
    backed_up(settings, there)
    again, _ = restored(tmp_path / "again", there)
    assert [entry.what for entry in open_audit_log(again).read(9).entries] == ["encore test"]
    left = read_settings(home=tmp_path / "left")
    left.audit_log.mkdir(parents=True)
    (left.audit_log / "changes.jsonl").write_text("")
    restore(left, there, quiet)
    assert open_audit_log(left).read(9).entries == []
    assert rows(left).equals(rows(settings))


def test_a_cut_of_a_log_that_grows_and_is_compacted_is_whole(settings: Settings, tmp_path: Path) -> None:
    there, stop = open_place(str(tmp_path / "backups")), threading.Event()
    log = EventLog(settings.log)
    [source] = log.sources()

    def grow() -> None:
        for first in count(30, 2):
            if stop.wait(0.005):
                return
            as_log(log, events(first, 2))
            log.compact(source, grace_s=0)

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        names = [backed_up(settings, there).name for _ in range(5)]
    finally:
        stop.set()
        thread.join()
    all_rows = rows(settings).column("event_id").to_pylist()
    before = 0
    for number, name in enumerate(names):
        again, found = restored(tmp_path / f"again-{number}", there, name=name)
        assert found.events >= max(before, 30)
        before = found.events
        assert set(rows(again).column("event_id").to_pylist()) <= set(all_rows)
        assert EventLog(again.log).holes() == []


@pytest.mark.long
@pytest.mark.integration
def test_models_answer_and_states_are_equal_after_it(
    tmp_path: Path, store: Store, redis_client: "Redis[bytes]"
) -> None:
    settings = make(tmp_path / "home", redis_host=store.host, redis_port=store.port)
    empty_database(settings.mlflow / "mlflow.db")
    lifecycle = open_lifecycle(settings)
    for seed in range(2):
        lifecycle.register(tiny_model(plan().names, seed))
    lifecycle.promote(TARGET, "1")
    materialize(settings, quiet)

    def states() -> dict[bytes, Any]:
        return {key: redis_client.hgetall(key) for key in redis_client.keys("*encore") if b":" not in key}

    before, counts = states(), OnlineStates(redis_client).counts()
    assert sum(counts.values()) == 7
    there = open_place(str(tmp_path / "backups"))
    stop = threading.Event()

    def move() -> None:
        while not stop.is_set():
            lifecycle.promote(TARGET, "2")
            lifecycle.roll_back(TARGET)

    thread = threading.Thread(target=move)
    thread.start()
    try:
        backed_up(settings, there)
    finally:
        stop.set()
        thread.join()
    settings.home.rename(tmp_path / "lost")
    redis_client.flushall()
    again = read_settings(home=tmp_path / "again", redis_host=store.host, redis_port=store.port)
    restore(again, there, quiet)
    with sqlite3.connect(again.mlflow / "mlflow.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    [champion] = [version for version in list_versions(again, TARGET) if "champion" in version.aliases]
    assert champion.name == open_lifecycle(again).registry.resolve(TARGET), "database and published files go together"
    assert open_lifecycle(again).promote(TARGET, "2").after == tiny_model(plan().names, 1).metadata.version
    assert materialize(again, quiet) == counts
    assert states() == before


def test_storage_that_is_away_leaves_home_and_backups_as_they_were(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    there = open_place(str(tmp_path / "file" / "backups"))
    with pytest.raises(UnavailableError, match="cannot be"):
        backed_up(settings, there)
    assert not (settings.run / "backup-cut").exists()


def test_the_page_says_what_works(settings: Settings, tmp_path: Path) -> None:
    """Every command of docs/operations.md, Back up and restore, in its order."""
    text = (ROOT / "docs" / "operations.md").read_text().partition("## Back up and restore")[2].partition("\n## ")[0]
    (block,) = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = [line.partition("  #")[0].split() for line in block.splitlines()]
    assert [line[1] for line in lines if line[0] == "encore"] == ["backup", "restore"]
    for line in lines:
        elsewhere = line[0].startswith("ENCORE_HOME=")
        words = [word.replace("/backups", str(tmp_path / "backups")) for word in line[1 + elsewhere :]]
        done = SystemHere(tmp_path / "again" if elsewhere else settings.home).run(*words)
        assert done.returncode == 0, done.stderr
    assert "30 events" in done.stdout
    assert rows(read_settings(home=tmp_path / "again")).num_rows == 30
