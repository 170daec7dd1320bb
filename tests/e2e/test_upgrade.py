"""Homes and states of earlier versions, as their own code wrote them, are upgraded as docs/operations.md says."""

import base64
import json
import re
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from system import SystemHere

from data.log.event_log import EventLog
from model.registry.published import Registry
from server.process.store import Store
from server.settings import read_settings

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
RELEASES = sorted((ROOT / "tests" / "samples" / "releases").glob("*.tar.xz"))
TEXT = (ROOT / "docs" / "operations.md").read_text().partition("## Upgrade without downtime")[2]
LINES = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)[0].splitlines()
TARGET = "purchase_intent"
EVENTS = 2401


def fill(client: Any, keys: Sequence[Any]) -> None:
    """Put keys into Redis as they were."""
    for key, kind, value in keys:
        name = base64.b64decode(key)
        match kind:
            case "hash":
                fields = {base64.b64decode(field): base64.b64decode(one) for field, one in value.items()}
                client.hset(name, mapping=fields)
            case "zset":
                client.zadd(name, {base64.b64decode(member): score for member, score in value.items()})
            case _:
                client.set(name, base64.b64decode(value))


def states(client: Any) -> dict[bytes, Any]:
    """The states of the first edition, all that an older version reads."""
    return {key: client.hgetall(key) for key in client.keys("*encore") if client.type(key) == b"hash"}


@pytest.fixture(params=RELEASES, ids=lambda path: path.name.partition(".")[0])
def system(request: pytest.FixtureRequest, tmp_path: Path, store: Store, redis_client: "Redis[bytes]") -> SystemHere:
    """The home and the states of a release."""
    with tarfile.open(request.param) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # from Python 3.11.4 on
        archive.extractall(tmp_path)
    fill(redis_client, json.loads((tmp_path / "redis.json").read_text()))
    made = SystemHere(tmp_path / "home")
    made._environment |= {"REDIS_HOST": store.host, "REDIS_PORT": str(store.port)}  # noqa: SLF001 - our own
    return made


def test_there_are_samples() -> None:
    assert len(RELEASES) == 2


def test_it_is_upgraded_as_the_page_says(system: SystemHere, tmp_path: Path, redis_client: "Redis[bytes]") -> None:
    settings = read_settings(home=system.home)
    before = states(redis_client)
    assert len(before) == 360
    assert EventLog(settings.log).count() == EVENTS
    for line in LINES:
        words = [word.replace("/backups", str(tmp_path / "backups")) for word in line.split()[1:]]
        done = system.run(*words)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        if words[:2] != ["rollout", "finish"]:
            now = states(redis_client)
            assert {key: now.get(key) for key in before} == before, f"an older version goes on after {line}"
        if words[:2] == ["rollout", "start"]:
            refused = system.run("rollout", "back")
            assert (refused.returncode, "of an older Encore" in refused.stderr) == (2, True)
    assert not states(redis_client).keys() & before.keys()
    assert EventLog(settings.log).count() == EVENTS
    [version] = system.json("model", "list", "--target", TARGET)
    assert version["aliases"] == ["champion"]
    assert system.run("model", "promote", "1", "--target", TARGET).returncode == 0
    assert Registry(settings.models).load(TARGET).metadata.version == version["name"]


def test_a_backup_of_it_is_a_home_of_today(system: SystemHere, tmp_path: Path) -> None:
    place = str(tmp_path / "backups")
    assert system.run("backup", place).returncode == 0
    again = SystemHere(tmp_path / "again")
    done = again.run("restore", place)
    assert done.returncode == 0, done.stderr
    assert f"{EVENTS:,} events" in done.stdout
    assert again.json("model", "list", "--target", TARGET)[0]["aliases"] == ["champion"]
