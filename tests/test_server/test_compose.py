"""docker-compose.yml and the Dockerfile, checked without an engine: what they name must exist in the code."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import server.process.probe
from server.cli import app
from server.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
ONE_SHOT = {"init"}
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMMANDS: Mapping[str, Any] = typer.main.get_group(app).commands
VARIABLES = {str(field.validation_alias) for field in Settings.model_fields.values()}


def test_what_runs() -> None:
    assert set(SERVICES) == {
        "kafka",
        "redis",
        "kafdrop",
        "init",
        "stream",
        "api",
        "monitor",
        "ui",
        "console",
        "producer",
    }
    assert set(OURS) == {"init", "stream", "api", "monitor", "ui", "console", "producer"}


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned(name: str) -> None:
    assert re.fullmatch(r"[a-z/]+:\d+\.\d+\.\d+[a-z0-9.-]*", SERVICES[name]["image"])


def test_our_image_has_our_version() -> None:
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    assert {service["image"] for service in OURS.values()} == {f"encore:{version[1]}"}


@pytest.mark.parametrize("name", OURS)
def test_settings_are_known_and_valid(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {key: _interpolated(str(value)) for key, value in OURS[name]["environment"].items()}
    assert set(environment) <= VARIABLES
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    settings = Settings()
    assert settings.home == Path("/data")
    assert settings.kafka_servers.split(":")[0] in SERVICES
    assert settings.redis_host in SERVICES


def test_only_settings_are_asked_of_the_host() -> None:
    asked = set(re.findall(r"(?<!\$)\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))
    assert asked
    assert asked <= VARIABLES


@pytest.mark.parametrize("name", OURS)
def test_commands_and_flags_exist(name: str) -> None:
    command, *flags = re.findall(r"encore ([a-z]+)((?: .*)?)", " ".join(OURS[name]["command"]))[0]
    known = {
        option for parameter in COMMANDS[command].params for option in (*parameter.opts, *parameter.secondary_opts)
    }
    assert set(re.findall(r"--[a-z-]+", flags[0])) <= known


@pytest.mark.parametrize("name", [name for name in SERVICES if name not in ONE_SHOT])
def test_what_lasts_has_a_health_check_and_restarts(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] in {"CMD", "CMD-SHELL"}
    assert {"interval", "timeout", "retries"} <= check.keys()
    assert SERVICES[name]["restart"] == "unless-stopped"


def test_what_runs_once_does_not_restart() -> None:
    assert {SERVICES[name]["restart"] for name in ONE_SHOT} == {"no"}


def test_health_checks_ask_what_is_there() -> None:
    api, ui = (OURS[name]["healthcheck"]["test"][-1] for name in ("api", "ui"))
    assert f":{OURS['api']['environment']['API_PORT']}/health" in api
    assert f":{OURS['ui']['environment']['FEAST_UI_PORT']}/" in ui
    probes = re.findall(r"server\.process\.probe[ ',]+(\w+)", str(SERVICES))
    assert sorted(probes) == ["monitor", "traffic", "worker"]
    for probe in probes:
        with pytest.raises(SystemExit) as stopped:
            server.process.probe.main([probe, "--help"])
        assert stopped.value.code == 0


def test_everything_waits_for_what_it_needs() -> None:
    for name, service in SERVICES.items():
        for needed, how in service.get("depends_on", {}).items():
            expected = "service_completed_successfully" if needed in ONE_SHOT else "service_healthy"
            assert how["condition"] == expected, f"{name} waits for {needed}"
    needs = {name: _all_needs(name) for name in SERVICES}
    assert needs["init"] == {"redis"}
    assert needs["stream"] == {"kafka", "redis", "init"}
    assert needs["producer"] == {"stream", "kafka", "redis", "init"}
    assert needs["api"] == {"redis", "init"}


def test_workers_can_be_scaled() -> None:
    assert not {"container_name", "ports", "hostname"} & OURS["stream"].keys()
    assert "$$HOSTNAME" in OURS["stream"]["command"][-1]
    assert not any("container_name" in service for service in SERVICES.values())


def test_ports_are_published_to_this_machine_alone() -> None:
    published = {}
    for name, service in SERVICES.items():
        for port in service.get("ports", []):
            host, outside, inside = _interpolated(port).split(":")
            assert host == "127.0.0.1"
            assert outside == inside
            published[name] = int(inside)
    assert published == {"kafka": 9092, "redis": 6379, "kafdrop": 9000, "api": 8000, "ui": 8888, "console": 8501}


def test_state_is_in_named_volumes() -> None:
    mounted = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert mounted == set(COMPOSE["volumes"])
    assert all("encore-data:/data" in service["volumes"] for service in OURS.values())


def test_redis_keeps_its_data() -> None:
    command = SERVICES["redis"]["command"]
    assert command[command.index("--appendonly") + 1] == "yes"


def test_kafka_tells_each_side_its_own_address() -> None:
    kafka = SERVICES["kafka"]["environment"]
    advertised = dict(listener.split("://") for listener in kafka["KAFKA_ADVERTISED_LISTENERS"].split(","))
    listeners = dict(listener.split("://") for listener in kafka["KAFKA_LISTENERS"].split(","))
    inside = advertised[kafka["KAFKA_INTER_BROKER_LISTENER_NAME"]]
    assert {service["environment"]["KAFKA_SERVERS"] for service in OURS.values()} == {inside}
    assert SERVICES["kafdrop"]["environment"]["KAFKA_BROKERCONNECT"] == inside
    assert "localhost:9092" in advertised.values()
    for name, address in advertised.items():
        assert listeners[name].split(":")[-1] == address.split(":")[-1]
    voter = kafka["KAFKA_CONTROLLER_QUORUM_VOTERS"].removeprefix(f"{kafka['KAFKA_NODE_ID']}@")
    assert listeners[kafka["KAFKA_CONTROLLER_LISTENER_NAMES"]] == voter
    named = {pair.split(":")[0] for pair in kafka["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(",")}
    assert named == set(listeners)


def test_the_image_is_built_in_stages_and_runs_as_nobody_special() -> None:
    stages = re.findall(r"^FROM (\S+) AS (\w+)$", DOCKERFILE, re.MULTILINE)
    assert [name for _, name in stages] == ["build", "run"]
    assert len({image for image, _ in stages}) == 1, "a virtual environment moves only between equal Pythons"
    assert re.fullmatch(r"python:3\.\d+\.\d+-[a-z-]+", stages[0][0])
    assert {service["build"]["target"] for service in OURS.values()} == {"run"}
    run = DOCKERFILE[DOCKERFILE.index(" AS run") :]
    users = re.findall(r"^USER (\w+)$", run, re.MULTILINE)
    assert users == ["encore"]
    assert f"-o {users[0]}" in run
    assert re.search(r"uv==\d+\.\d+\.\d+", DOCKERFILE)


def test_what_the_image_copies_exists_and_is_let_through() -> None:
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    }
    let_through = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    assert copied == let_through
    assert [source for source in copied if not (ROOT / source).exists()] == []
    packages = re.search(r"^packages = \[(.+)\]$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert packages
    assert set(re.findall(r'"(\w+)"', packages[1])) <= copied


def _interpolated(value: str) -> str:
    """The value where the host sets nothing."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


def _all_needs(name: str) -> set[str]:
    direct = set(SERVICES[name].get("depends_on", {}))
    return direct.union(*map(_all_needs, direct))
