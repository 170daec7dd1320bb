"""The audit log names whoever changes something, what they were given and what changed, and never a secret."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from event_streams import Act, act, as_log, place
from mlflow_database import empty_database
from polling import poll_until
from redis import Redis
from serving import TestClient, make_app, make_home, plan, tiny_model
from system import System, SystemHere
from typer.core import TyperGroup

from data.clock import ManualClock
from data.errors import ConfigurationError
from data.log.event_log import EventLog
from data.units import HOUR_US, MICROS
from model.registry.lifecycle import Lifecycle
from server.api_keys import make_key
from server.audit_log.changes import Asker, hashed, note, note_settings, open_audit_log, recorded, this_user
from server.audit_log.entries import MOST_LINE, AuditLog, Entry, Hidden
from server.cli import app
from server.cli.operate.changing import CHANGES
from server.jobs.modelling import open_lifecycle
from server.process.store import Store
from server.settings import Settings, read_settings

TARGET = "repeat_purchase"

LOOKS = {
    "audit-log", "doctor", "evaluate", "evaluate-live", "export", "export-person", "init", "late", "log check",
    "model compare", "model list", "model show", "plan", "replay", "rollout status", "settings", "status", "verify",
    "why",
}  # fmt: skip
"""Commands that change nothing of a home: they look, report, or write a file that somebody names."""

PARTS = {"console", "infra", "mlflow", "monitor", "produce", "serve", "stream", "translate", "ui", "up"}
"""Commands that are parts of a running system. What `up` builds, it has other commands build."""


def commands(group: Any, path: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, f"{path}{name} ")
        else:
            yield f"{path}{name}"


def test_it_is_known_of_every_command_whether_it_changes_something() -> None:
    found = set(commands(typer.main.get_group(app)))
    assert found == LOOKS | PARTS | set(CHANGES), "name a new one in `CHANGES`, or here"
    assert not set(CHANGES) & (LOOKS | PARTS)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A home with a plan."""
    return read_settings(home=make_home(tmp_path / "home"))


def entries(settings: Settings, last: int = 100) -> list[Entry]:
    found = open_audit_log(settings).read(last)
    assert found.unreadable == 0
    return found.entries


def test_a_change_has_a_beginning_an_end_and_what_differs(settings: Settings) -> None:
    clock = ManualClock(1_800_000_000 * MICROS)
    with recorded(settings, "encore test", {"flag": 3}, clock=clock):
        [begun] = entries(settings)
        assert (begun.state, begun.changed) == ("begun", {}), "of what is killed, this stays"
        settings.plan.unlink()
        note(states=12)
    [done] = entries(settings)
    assert (done.id, done.at, done.who) == (begun.id, "2027-01-15T08:00:00.000000+00:00", this_user())
    assert (done.what, done.given, done.noted) == ("encore test", {"flag": "3"}, {"states": "12"})
    assert done.state == "done"
    assert {name: (one.before, one.after) for name, one in done.changed.items()} == {"plan": (plan().hash, None)}


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (ConfigurationError("no such flag"), "refused"),
        (OSError("disk"), "failed"),
        (KeyboardInterrupt(), "interrupted"),
        (typer.Exit(1), "failed"),
        (typer.Exit(0), "done"),
    ],
)
def test_how_it_ended(settings: Settings, error: BaseException, state: str) -> None:
    with pytest.raises(type(error)), recorded(settings, "encore test", {}):
        raise error
    [entry] = entries(settings)
    assert entry.state == state
    assert bool(entry.error) == (state != "done")


def test_what_changes_nothing_and_is_none_of_ours_leaves_no_line(settings: Settings, tmp_path: Path) -> None:
    with recorded(settings, "encore model follow", {}, if_changed=True):
        pass
    assert entries(settings) == []
    with recorded(settings, "encore retention", {}, if_changed=True):
        note(models="one")
    with recorded(settings, "encore model follow", {}, if_changed=True):
        settings.plan.unlink()
    assert [entry.what for entry in entries(settings)] == ["encore retention", "encore model follow"]
    for folder in (tmp_path / "absent", tmp_path / "theirs"):
        if folder.name == "theirs":
            folder.mkdir()
            (folder / "thesis.tex").touch()
        with recorded(read_settings(home=folder), "encore clean", {}):
            pass
    assert not (tmp_path / "absent").exists()
    assert [path.name for path in (tmp_path / "theirs").iterdir()] == ["thesis.tex"]


def test_a_change_that_cannot_be_recorded_is_not_made(settings: Settings) -> None:
    settings.audit_log.write_text("a file, where the folder should be")
    done = []
    with pytest.raises(OSError), recorded(settings, "encore test", {}):  # noqa: PT011 - whichever the system says
        done.append(True)
    assert done == []


def test_a_secret_never_gets_in(tmp_path: Path) -> None:
    secret, key = make_key("shop")
    settings = read_settings(
        home=make_home(tmp_path / "home"),
        redis_password="hunter22",
        api_keys=str(key),
        mlflow_uri="https://me:pass1234@mlflow.example.org",
        schema_registry="https://sr:pass5678@registry.example.org",
    )
    told = "hunter22 https://u:token99@host/x?sig=abcdef&x=1 s3://key:word77@bucket/x"
    error = ConfigurationError(f"wrong: {told} https://me:pass1234@mlflow.example.org {key}")
    given = {"file": told, "hunter22": told}
    with pytest.raises(ConfigurationError), recorded(settings, f"encore {told}", given, by=Asker(told, told)):
        raise error
    with recorded(settings, "encore test", {}):
        note(about=told)
    note_settings(settings)
    kept = b"".join(path.read_bytes() for path in settings.audit_log.iterdir()).decode()
    assert "https://host/x s3://bucket/x" in kept
    for one in ("hunter22", "token99", "abcdef", "word77", "pass1234", "pass5678", key.sha256, secret):
        assert one not in kept, one


def test_lines_are_bounded_and_of_one_line(settings: Settings) -> None:
    with recorded(settings, "x" * 10_000, {f"n{n}": "ü\n" * 5_000 for n in range(500)}, by=Asker("\x1b[31m\n" * 99)):
        note(**{f"n{n}": "y" * 9_000 for n in range(500)})
    lines = (settings.audit_log / "changes.jsonl").read_bytes().splitlines()
    assert len(lines) == 2
    assert max(map(len, lines)) <= MOST_LINE
    assert "\x1b" not in json.loads(lines[0])["who"]


def test_it_turns_and_keeps_what_is_newest(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "log", most_bytes=2_000, most_files=3)
    for number in range(100):
        entry = Entry(id=f"{number:04d}", at="", who="me", what="encore test")
        log.record(entry)
        log.record(Entry(id=entry.id, at="", who="me", what="encore test", state="done"))
    assert len(list(log.folder.glob("*.jsonl"))) == 3
    found = log.read(1_000)
    ids = [entry.id for entry in found.entries]
    assert ids == [f"{number:04d}" for number in range(100 - len(ids), 100)]
    assert 20 < len(ids) < 100
    assert {entry.state for entry in found.entries} == {"done"}
    assert [entry.id for entry in log.read(2).entries] == ["0098", "0099"]


def test_a_line_cut_short_costs_that_line_alone(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "log")
    log.record(Entry(id="1", at="", who="me", what="a"))
    with (log.folder / "changes.jsonl").open("ab") as file:
        file.write(b'{"id": "2", "at": "20')
    log.record(Entry(id="3", at="", who="me", what="c"))
    found = log.read(10)
    assert ([entry.id for entry in found.entries], found.unreadable) == (["1", "3"], 1)


def test_a_log_of_which_nothing_can_be_read_is_not_one_of_nothing(tmp_path: Path) -> None:
    here = SystemHere(tmp_path / "home")
    assert "nothing was changed" in here.run("audit-log").stdout
    log = open_audit_log(read_settings(home=tmp_path / "home"))
    log.folder.mkdir(parents=True, exist_ok=True)
    (log.folder / "changes.jsonl").write_bytes(b"\xff\x00\n" + b"[" * 5_000)
    shown = here.run("audit-log")
    assert "2 lines of it cannot be read" in shown.stdout
    assert "nothing was changed" not in shown.stdout


def test_processes_write_whole_lines(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "log", most_bytes=5_000, most_files=100)

    def write(who: str) -> None:
        for number in range(50):
            log.record(Entry(id=f"{who}{number}", at="", who=who, what="encore test"))

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = log.read(1_000)
    assert (len(found.entries), found.unreadable) == (200, 0)


def test_keys_made_and_revoked_are_told_when_a_server_starts(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    (_, first), (_, second) = make_key("shop", "score"), make_key("boss", "admin")
    for keys in (f"{first}", f"{first}", f"{first},{second}", f"{second}"):
        note_settings(read_settings(home=home, api_keys=keys))
    made = [entry.changed for entry in entries(read_settings(home=home))]
    assert len(made) == 3, "nothing is said where nothing changed"
    assert made[0]["key shop"].after == f"score, for ever, {first.sha256[:8]}"
    assert list(made[1]) == ["key boss"]
    assert (made[2]["key shop"].before, made[2]["key shop"].after) == (made[0]["key shop"].after, None)


def test_who_asks_is_handed_on() -> None:
    for asker in (Asker("key boss", "POST /models/{target}/promote"), Asker("oidc:a through b", "GET /x"), Asker("me")):
        assert Asker.parse(str(asker)) == asker
    assert hashed("u17") == hashed("u17") != hashed("u18")
    assert Hidden()("a\nb") == "a\\nb"


@pytest.fixture
def shop(tmp_path: Path, store: Store, redis_client: "Redis[bytes]") -> System:
    """A system over the store, of which nothing else runs, with a log and two models."""
    home = make_home(tmp_path / "home")
    as_log(EventLog(home / "log"), place([act(Act("view", f"u{n % 3}", "p", n * HOUR_US), f"e{n}") for n in range(9)]))
    settings = read_settings(home=home)
    empty_database(settings.mlflow / "mlflow.db")
    lifecycle = open_lifecycle(settings)
    for seed in range(2):
        lifecycle.register(tiny_model(plan().names, seed))
    system = SystemHere(home)
    system._environment |= {"REDIS_HOST": store.host, "REDIS_PORT": str(store.port)}  # noqa: SLF001 - our own
    return system


EVERY = [
    (["generate"], "refused"),
    (["import", "missing.csv", "--map", "rees46"], "refused"),
    (["features"], "done"),
    (["train", "--target", "no_such"], "refused"),
    (["forget", "no_key=u17", "--yes"], "refused"),
    (["retention"], ""),
    (["materialize"], "done"),
    (["rebuild"], "done"),
    (["rollout", "start"], "done"),
    (["rollout", "finish"], "refused"),
    (["rollout", "back"], "refused"),
    (["model", "promote", "1"], "done"),
    (["model", "promote", "2", "--as", "challenger", "--share", "0.1"], "done"),
    (["model", "withdraw"], "done"),
    (["model", "promote", "2"], "done"),
    (["model", "rollback"], "done"),
    (["model", "follow", "--once"], ""),
    (["retrain", "--target", "no_such"], "refused"),
    (["uplift", "missing.csv", "--map", "missing.toml"], "refused"),
    (["log", "accept-loss", "--yes"], "done"),
    (["log", "iceberg"], "done"),
    (["log", "partials"], ""),  # of so short a log none are made
    (["backup", "ftp://nowhere"], "refused"),
    (["restore", "ftp://nowhere"], "refused"),
    (["key", "storefront", "--role", "score"], "done"),
]


@pytest.mark.long
def test_every_changing_command_leaves_a_line(shop: System) -> None:
    settings = read_settings(home=shop.home)
    tried = set()
    for command, state in EVERY:
        before = len(entries(settings))
        done = shop.run(*command)
        found = entries(settings)[before:]
        name = " ".join(command[:2]) if command[0] in {"model", "rollout", "log"} else command[0]
        tried.add(name)
        assert [(entry.what, entry.state) for entry in found] == ([(f"encore {name}", state)] if state else []), (
            done.stderr
        )
        assert all(entry.who == this_user() for entry in found)
    assert tried == set(CHANGES) - {"clean"}
    named: dict[str, list[Entry]] = {}
    for entry in entries(settings):
        named.setdefault(entry.what, []).append(entry)
    first, second = (tiny_model(plan().names, seed).metadata.version for seed in range(2))
    promoted = named["encore model promote"]
    assert [entry.given["version"] for entry in promoted] == ["1", "2", "2"]
    assert promoted[1].changed[f"model {TARGET} challenger"].after == f"{second} 10%"
    champion = promoted[2].changed[f"model {TARGET} champion"]
    assert (champion.before, champion.after) == (first, second)
    assert "states" in named["encore rebuild"][0].changed
    assert named["encore key"][0].given == {"name": "storefront", "role": "score"}
    [forgotten] = named["encore forget"]
    assert (forgotten.given, forgotten.error) == ({"person": hashed("no_key=u17")}, "ConfigurationError")
    shown = shop.run("audit-log", "--last", "2").stdout
    assert "encore key" in shown
    assert "encore generate" not in shown
    assert json.loads(shop.run("audit-log", "--last", "3", "--json").stdout)["unreadable"] == 0


@pytest.mark.integration  # a process, since this one works in the home
def test_it_outlives_what_it_tells_of(settings: Settings) -> None:
    system = System(settings.home)
    told = system.run("clean", "--yes")
    assert f"left as it is: the audit log in {settings.audit_log}" in told.stdout, told.stderr
    assert [path.name for path in settings.home.iterdir()] == ["audit-log"]
    [last] = entries(settings)
    assert (last.what, last.state, last.changed["plan"].after) == ("encore clean", "done", None)


@pytest.fixture
def lifecycle(tmp_path: Path, store: Store) -> Lifecycle:
    settings = read_settings(home=make_home(tmp_path / "home"))
    empty_database(settings.mlflow / "mlflow.db")
    lifecycle = open_lifecycle(settings)
    for seed in range(2):
        lifecycle.register(tiny_model(plan().names, seed))
    lifecycle.promote(TARGET, "1")
    return lifecycle


@pytest.mark.long
def test_every_changing_route_leaves_a_line_of_who_asked(lifecycle: Lifecycle, tmp_path: Path, store: Store) -> None:
    application = make_app(tmp_path / "home", store.host, store.port)
    asks = {"/predict", "/predict/batch", "/rank", "/predict/what-if"}
    changing = [
        path for path, methods in application.openapi()["paths"].items() if set(methods) - {"get"} and path not in asks
    ]
    model = "/models/{target}"
    bodies: dict[str, Any] = {
        "/privacy/forget": {"person": {"no_key": "u17"}},
        f"{model}/promote": {"version": "2"},
        f"{model}/rollback": None,
        f"{model}/withdraw": None,
        f"{model}/retrain": {"if_needed": True},
    }
    settings = read_settings(home=tmp_path / "home")
    with TestClient(application, base_url="http://127.0.0.1", client=("127.0.0.1", 50_000)) as api:
        key = {"X-API-Key": settings.home_key.read_text().strip()}
        for path in changing:
            asked, body = path.replace("{target}", TARGET), bodies[path]
            assert api.post(asked, json=body).status_code == 403, path
            assert api.post(asked, json=body, headers=key).status_code in {200, 202, 409}, path
        poll_until(lambda: len({entry.through for entry in entries(settings)}) == len(changing))
    found = {entry.through: entry for entry in entries(settings)}
    assert set(found) == {f"POST {path}" for path in changing}
    assert {entry.who for entry in found.values()} == {"key home"}, "and not the user whose process the server is"
    champion = found["POST /models/{target}/promote"].changed[f"model {TARGET} champion"]
    assert None not in {champion.before, champion.after}


def test_administrators_alone_read_it(tmp_path: Path, store: Store, redis_client: "Redis[bytes]") -> None:
    home = make_home(tmp_path / "home")
    (operator, one), (admin, other) = make_key("operator", "operate"), make_key("boss", "admin")
    with recorded(read_settings(home=home), "encore test", {}):
        pass
    from server.api.app import create_app

    settings = read_settings(
        home=home, redis_host=store.host, redis_port=store.port, predictions_topic="off", api_keys=f"{one},{other}"
    )
    with TestClient(create_app(settings), base_url="http://127.0.0.1", client=("127.0.0.1", 50_000)) as api:
        assert api.get("/audit-log").status_code == 401
        refused = api.get("/audit-log", headers={"X-API-Key": operator})
        assert (refused.status_code, "needs admin" in refused.json()["detail"]) == (403, True)
        found = api.get("/audit-log", params={"last": 5}, headers={"X-API-Key": admin}).json()
        assert [entry["what"] for entry in found["entries"]] == ["encore test"]
        assert api.get("/audit-log", params={"last": 0}, headers={"X-API-Key": admin}).status_code == 422
    with TestClient(make_app(home, store.host, store.port), base_url="http://127.0.0.1") as anybody:
        assert anybody.get("/audit-log").status_code == 403
        key = (home / "run" / "admin.key").read_text().strip()
        assert anybody.get("/audit-log", headers={"X-API-Key": key}).status_code == 200
