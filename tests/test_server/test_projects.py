"""Projects in folders: which settings hold, what commands work for, and two of them side by side."""

import json
import re
import threading
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from background import in_background
from polling import poll_until
from project_folder import make
from redis import Redis
from system import SystemHere

from data.drafts.project import project_files
from data.drafts.shop import plain_shop
from data.errors import ConfigurationError
from data.log.event_log import EventLog
from data.project import DEFAULT
from events.producer.options import ProduceOptions
from features.plan.cache import load_plan
from features.state.states import EntityKey
from features.state.values import EntityValues
from server.jobs.build import apply_features
from server.jobs.produce import run_producer
from server.jobs.stream import run_worker
from server.jobs.verification import run_verification
from server.process.kafka_broker import KafkaBroker
from server.process.store import Store
from server.redis.editions import states_of
from server.settings import environment_of, read_settings


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("ENCORE_HOME", "API_PORT", "ENCORE_CLOCK", "ENCORE_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    toml = 'version = 1\nname = "library"\n[settings]\nENCORE_CLOCK = "events"\nAPI_PORT = 8123\nKAFKA_TLS = true\n'
    return make(tmp_path / "books", encore_toml=toml)


def test_a_folder_brings_its_name_its_home_and_its_settings(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCORE_PROJECT", str(library))
    found = read_settings()
    assert (found.project, found.home, found.declared.folder) == ("library", library / ".encore", library)
    assert (found.clock, found.api_port, found.kafka_tls) == ("events", 8123, True)
    assert found.kafka_names == ("library-events", "library-predictions", "library-stream")
    monkeypatch.setenv("API_PORT", "8200")
    monkeypatch.setenv("ENCORE_HOME", "/elsewhere/of/it")
    found = read_settings(clock="wall")
    assert (found.clock, found.api_port, str(found.home)) == ("wall", 8200, "/elsewhere/of/it")


def test_a_child_works_for_the_same_folder(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCORE_PROJECT", str(library))
    told = environment_of(read_settings())
    assert told["ENCORE_PROJECT"] == str(library)
    monkeypatch.chdir(library.parent.parent)
    monkeypatch.setenv("ENCORE_PROJECT", told["ENCORE_PROJECT"])
    assert read_settings().declared.schema == read_settings().declared.schema


def test_a_name_is_the_packages_own_shop_unless_such_a_folder_is_here(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENCORE_PROJECT", "books")
    monkeypatch.chdir("/")
    assert (read_settings().project, read_settings().declared) == ("books", DEFAULT)
    monkeypatch.chdir(library.parent)
    assert (read_settings().project, read_settings().declared.folder) == ("library", library)
    monkeypatch.setenv("ENCORE_PROJECT", "./boks")
    with pytest.raises(
        ConfigurationError, match=r"no project, for it has no encore\.toml; `encore init boks` makes one"
    ):
        read_settings()
    monkeypatch.setenv("ENCORE_PROJECT", "My books")
    with pytest.raises(ConfigurationError, match=r"neither a folder with an encore\.toml nor a name"):
        read_settings()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('REDIS_PASSWORD = "x"', "REDIS_PASSWORD is a secret, and belongs in the environment"),
        ('ENCORE_PROJECT = "x"', "ENCORE_PROJECT is no setting of a project"),
        ('ENCORE_PORTS = "x"', "ENCORE_PORTS is no setting of a project"),
        ("API_PORT = 70000", "API_PORT in .*/encore.toml: input should be less than or equal to 65535"),
    ],
)
def test_a_wrong_setting_of_a_project_names_its_file(
    line: str, told: str, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(library, encore_toml=f'version = 1\nname = "library"\n[settings]\n{line}\n')
    monkeypatch.setenv("ENCORE_PROJECT", str(library))
    with pytest.raises(ConfigurationError, match=told) as raised:
        read_settings()
    assert "encore.toml" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.long
@pytest.mark.integration
def test_init_drafts_a_project_that_commands_work_for(tmp_path: Path) -> None:
    system = SystemHere(tmp_path / "home")
    folder, file = tmp_path / "Lese Ecke", tmp_path / "loans.csv"
    file.write_text("at,reader_id,book_id,fee\n2025-01-01T10:00:00Z,r1,b1,0.50\n2025-01-02T10:00:00Z,r1,b2,1\n")
    told = json.loads(system.run("init", str(folder), "--from", str(file), "--json").stdout)
    assert (told["project"], told["files"][0]) == ("lese_ecke", "encore.toml")
    assert {column["name"]: column["role"] for column in told["columns"]}["reader_id"] == "key"
    again = system.run("init", str(folder))
    assert again.returncode == 2
    assert "there is something already" in again.stderr
    done = system.run("--project", str(folder), "import", str(file), "--map", str(folder / "mapping.toml"))
    assert done.returncode == 0, done.stderr
    assert "2 events from 2 rows" in done.stdout
    proposed = system.run("--project", str(folder), "import", "--propose", str(file)).stdout
    assert proposed.strip() == (folder / "mapping.toml").read_text().strip()
    exported = tmp_path / "events.jsonl"
    assert system.run("export", str(exported), ENCORE_PROJECT=str(folder)).returncode == 0
    assert json.loads(exported.read_text().splitlines()[0])["book_id"] == "b1"


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("generate",), "the synthetic shop has other events than it declares"),
        (("train", "--target", "repeat_purchase"), "target 'repeat_purchase' is unknown; there are again"),
        (("import", "x.csv", "--map", "rees46"), r"rees46:\d+: event.user_id: an event has no column 'user_id'"),
    ],
)
def test_what_is_the_default_shops_is_told_so(command: tuple[str, ...], told: str, library: Path) -> None:
    make(library, encore_toml='version = 1\nname = "library"\n')
    done = SystemHere(library.parent / "home").run("--project", str(library), *command)
    assert done.returncode != 0
    assert re.search(told, done.stderr), done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def events_of(file: Path, number: int) -> Path:
    lines = [
        json.dumps(
            {
                "event_id": f"e{n}",
                "event_type": "purchase",
                "timestamp": f"2025-01-{1 + n:02d}T10:00:00Z",
                "customer_id": ("ann", "bo")[n % 2],
                "item_id": "tea",
                "category": "hot",
                "amount": 1.5,
            }
        )
        for n in range(number)
    ]
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.mark.long
def test_two_projects_share_a_redis_and_a_kafka(
    tmp_path: Path, broker: KafkaBroker, store: Store, redis_client: "Redis[bytes]"
) -> None:
    """The same ids in both, and each counts its own, by states, log, batch, Feast and oracle."""
    numbers = {"one": 6, "two": 9}
    found = {}
    for name in numbers:
        folder = tmp_path / name
        folder.mkdir()
        for file, text in project_files(name, plain_shop(name), 0).items():
            (folder / file).write_text(text)
        where = {"kafka_servers": broker.servers, "redis_port": store.port, "clock": "events"}
        found[name] = read_settings(project=str(folder), **where)
        apply_features(found[name], lambda _: None)
    with ExitStack() as stack:
        for name, settings in found.items():
            stack.enter_context(in_background(partial(run_worker, settings, name="w")))
            options = ProduceOptions(
                mode="file",
                input=events_of(tmp_path / f"{name}.jsonl", numbers[name]),
                servers=broker.servers,
                topic=settings.kafka_names.events,
                schema=settings.declared.schema,
            )
            assert run_producer(settings, options, threading.Event(), lambda _: None).sent == numbers[name]
        for name, settings in found.items():
            log = EventLog(settings.log, settings.declared.schema)
            poll_until(lambda log=log, name=name: log.count() == numbers[name], 60)  # type: ignore[misc]
    for name, settings in found.items():
        states = states_of(redis_client, settings)
        assert states.counts() == {
            "customer": 2,
            "item": 1,
            "customer_item": 2,
            "category": 1,
            "customer_category": 2,
        }
        verdict = run_verification(settings, sample=3, as_of_us=None, seed=0)
        assert verdict.ok, verdict.disagreements[:3]
        assert {"batch", "state", "feast"} <= verdict.agreeing.keys()
        [tea] = states.read([EntityKey("item", ("tea",))])
        values = EntityValues(load_plan(settings.plan, settings.declared).of("item"))
        at_us = states.newest_event() or 0
        known = dict(zip(values.names, values.get(values.algebra.decode(tea.state), at_us), strict=True))
        assert known["item_purchase_count"] == numbers[name]
